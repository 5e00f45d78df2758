"""A failover on the wire: recorded, told as a timeline, judged."""

__all__ = ["live", "recorder", "report", "svg", "text", "timeline", "verdict"]
