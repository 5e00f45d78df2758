"""Unit tests of ssh."""
