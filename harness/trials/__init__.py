"""What is run: trials and settings, their identity, and what they need of a machine."""
