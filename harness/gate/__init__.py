"""What the gate compares: a run with a recorded baseline, or two versions of the code on the same models."""
