"""How lm-eval and AlpacaEval are spoken to: the only rooms that import them."""
