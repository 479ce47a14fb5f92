"""How prompts become responses: slots, steps between boundaries, the draw, stop strings."""
