"""Unit tests of watch."""
