"""Tests, and the offline mirror that the lab uses where upstream is out of reach."""
