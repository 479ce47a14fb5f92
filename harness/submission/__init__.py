"""What a leaderboard wants to be handed in."""
