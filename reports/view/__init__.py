"""What the page is made of: tables, figures, samples, and what a terminal shows."""
