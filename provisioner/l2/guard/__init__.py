"""Guard a segment: hear what is said about external IPs and pools, ask gently, report what changes."""

__all__ = ["event", "history", "hooks", "known", "listening", "metrics", "runner", "sighting", "store", "watcher"]
