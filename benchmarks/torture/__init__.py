"""Attacks on the harness, from fixed seeds: kills, faults of the file system, changed rows, bad input.

    python -m benchmarks.torture [--only kills|faults|mutations|inputs] [--count N] [--case NAME]

prints how many of each were tried and survived, and each failure with the command that repeats it;
docs/reliability.md has the table.
"""
