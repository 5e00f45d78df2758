"""Unit tests of election."""
