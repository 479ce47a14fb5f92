"""Where models come from: folders, hub, the embedded ones, and loading each once."""
