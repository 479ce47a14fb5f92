"""Who compares two responses, and what that costs."""
