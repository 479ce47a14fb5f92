"""Controlled sentiment: movie reviews are continued from their first words (Liu et al. 2024)."""
