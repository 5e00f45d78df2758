"""Unit tests of site."""
