"""Unit tests of scan."""
