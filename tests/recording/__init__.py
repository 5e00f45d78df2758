"""The recording in README: made on a lab by tests/e2e/test_recording.py, held to today's code by a unit test.

docs/recording has what was made: lab.cast (asciicast v2, docs.asciinema.org), lab.svg (a film of it), lab.events (the
events and findings behind it, one JSON object a line).
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "recording"
CAST, SVG, EVENTS = FOLDER / "lab.cast", FOLDER / "lab.svg", FOLDER / "lab.events"
COLUMNS, ROWS = 100, 30
