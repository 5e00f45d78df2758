"""Unit tests of unit."""
