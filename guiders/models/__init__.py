"""What a model is here: its weights, tokenizer, template and vocabulary, and what a prompt may be."""
