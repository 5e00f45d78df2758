"""The story of a failover: recordings in, timelines, verdicts and pictures out."""
