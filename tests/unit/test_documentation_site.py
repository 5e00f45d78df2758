"""The documentation builds as a site without a warning: links and anchors lead somewhere, every key is explained."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from provisioner.site import schema

ROOT = Path(__file__).resolve().parents[2]
_ELSEWHERE = re.compile(r"""(?:src|srcset)=["']?(?:https?:)?//|<link[^>]+rel=["']?(?:stylesheet|preconnect)[^>]+//""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("site")
    words = ("build", "--strict", "-f", str(ROOT / "mkdocs.yml"), "-d", str(built))
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", *words], capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == 0, done.stderr
    return built


def test_every_key_of_hosts_toml_is_explained(site: Path) -> None:
    page = html.unescape((site / "hosts-toml" / "index.html").read_text())
    rows = re.findall(
        r"<tr>\s*<td><code>(\w+)</code></td>\s*<td>(.*?)</td>\s*<td>(.*?)</td>\s*<td>(.*?)</td>", page, re.S
    )
    tables = schema.tables()
    holders = {name.strip("[]").partition(".")[2] for name in tables} - {"", "ssh"}
    keys = [key for name, table in tables.items() if name != "[hosts.ssh]" for key in table if key not in holders]
    assert sorted(key for key, *_ in rows) == sorted(keys)
    for key, values, default, meaning in rows:
        assert values, key
        assert default, key
        assert meaning, key


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    for page in pages:
        found = _ELSEWHERE.search(page.read_text())
        assert found is None, (page, found)


def test_files_that_pages_link_to_come_along(site: Path) -> None:
    assert (site / "files" / "hosts.toml").read_text() == (ROOT / "hosts.toml").read_text()
    assert (site / "files" / "l2" / "rbac.yaml").read_text() == (ROOT / "l2" / "rbac.yaml").read_text()
