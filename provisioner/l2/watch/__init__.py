"""A failover on the wire: recorded, turned into a timeline, judged, and drawn."""

__all__ = ["chart", "chart_svg", "live", "recorder", "report", "timeline", "verdict"]
