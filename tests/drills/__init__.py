"""Drills: faults and changes on the lab's running cluster."""
