"""Drills: what may happen to a cluster that stands, done to the lab's and watched."""
