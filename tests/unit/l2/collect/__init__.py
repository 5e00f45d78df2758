"""Unit tests of collect."""
