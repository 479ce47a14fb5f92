"""JSON schemas: every prompt asks for a text that is valid under a schema of its own."""
