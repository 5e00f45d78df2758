"""Draw docs/report.png anew, from the tests' sample: python -m tests.integration.page.draw"""

from __future__ import annotations

import tempfile
from pathlib import Path

from provisioner.page import render
from tests.integration.page.browser import running
from tests.unit.page import sample

WIDTH, HEIGHT = 1100, 1960
PICTURE = Path(__file__).parents[3] / "docs/report.png"


def main() -> None:
    """Draw the first part of the page."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "report.html").write_text(render(sample.document(folder / "data")))
        with running(folder) as browser:
            browser.open(folder / "report.html", WIDTH)
            PICTURE.write_bytes(browser.picture(height=HEIGHT))


if __name__ == "__main__":
    main()
