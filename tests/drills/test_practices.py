"""Every command of docs/ko/practices.md runs on the master, from the first to the last, as typed by a reader."""

from __future__ import annotations

import re

import pytest

from tests.e2e import drive

pytestmark = pytest.mark.drill
PAGE = drive.ROOT / "docs" / "ko" / "practices.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# What a reader sees on the way, in order.
SEEN = (
    "np-svc",
    "30000",
    "np-svc-v2",
    "lb-hname-svc",
    "hello / hello",
    "annyeong",
    "Bound",
    "mine",
    'namespace "practice" deleted',
)


def test_every_command_of_the_practices_works() -> None:
    """One shell runs all blocks, and ends at the first command that fails."""
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert len(blocks) > 30
    clean = "kubectl --kubeconfig /etc/kubernetes/admin.conf delete namespace practice --ignore-not-found"
    cleaned = drive.ssh("master", f"rm -rf /root/practice; {clean}")
    assert cleaned.status == 0, cleaned.text
    script = "set -e; mkdir -p /root/practice; cd /root/practice\n" + "\n".join(
        f"echo '--- {number}'\n{block}" for number, block in enumerate(blocks, 1)
    )
    written = drive.ssh("master", f"cat > /root/practices.sh <<'END-OF-PAGE'\n{script}\nEND-OF-PAGE\n")
    assert written.status == 0, written.text
    ran = drive.ssh("master", "timeout 3000 bash /root/practices.sh")
    assert ran.status == 0, ran.text[-3000:]
    position = 0
    for words in SEEN:
        found = ran.text.find(words, position)
        assert found >= 0, f"{words!r} is not in the output after {ran.text[position - 200 : position]!r}"
        position = found
    plan = drive.operator("plan")
    assert plan.status == 0, plan.text[-3000:]
