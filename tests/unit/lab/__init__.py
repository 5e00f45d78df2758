"""Unit tests of lab."""
