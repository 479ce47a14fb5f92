"""Where blocks of prompts are decoded: in this process; by other workers once a backend for them is added."""
