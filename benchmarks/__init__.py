"""Measurements with known answers or real photos; `python -m benchmarks` runs what needs no outside data."""
