"""Unit tests of provisioner.l2.election."""
