"""Summaries of Reddit posts (Liu et al. 2024; Stiennon et al. 2020)."""
