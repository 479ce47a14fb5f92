"""Where blocks of prompts are decoded and their responses scored: in this process, or by workers on many GPUs."""
