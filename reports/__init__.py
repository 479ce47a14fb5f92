"""What a run comes to: statistics, report and gate, from records alone."""
