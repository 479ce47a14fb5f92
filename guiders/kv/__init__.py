"""What a model remembers of the tokens it has read: cache segments, attention to them, and a check of both."""
