"""Reachability between hosts without a network: who needs what, and whose packet filter it is."""
