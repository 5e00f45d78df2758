"""Unit tests of mirror."""
