"""Benchmarks (`make bench`). Results are ratios within one run: a slow or busy machine slows both sides equally."""
