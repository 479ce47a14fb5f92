"""What is kept of a run: its folder, lines, manifest and judgements."""
