"""The cluster's side of a diagnosis, read from the API and over SSH; read-only."""

__all__ = ["collector", "offline"]
