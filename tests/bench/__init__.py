"""Figures as ratios in one run, since a slow or busy machine slows both sides alike: `make bench`."""
