"""Verdicts staged for real: nodes are network namespaces on a bridge, their announcers are the real programs."""
