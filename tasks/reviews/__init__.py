"""The embedded task: short movie reviews from a probabilistic grammar, with an exact reward and an exact fluency."""
