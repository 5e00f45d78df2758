"""Verdicts staged with real programs: nodes are network namespaces on a bridge, announcers are the real ones."""
