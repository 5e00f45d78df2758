"""Unit tests of l2."""
