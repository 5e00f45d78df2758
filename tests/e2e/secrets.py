"""Look for tokens and keys where they must not be: logs, argument lists, world-readable files."""

from __future__ import annotations

import re

from tests.e2e import drive

TOKEN = re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")
KEY = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----|client-key-data: \S|\"token-secret\": \"[a-z0-9]"
    r"|\bsecret: [A-Za-z0-9+/]{43}="  # of an EncryptionConfiguration
)
# Where provisioner writes, without the packages' files; /var/lib/kubelet holds pods' Secrets.
PLACES = "/etc /var/lib/provisioner /var/lib/kubelet /var/log /run/provisioner /tmp /var/tmp /home /root"


def none_in_logs() -> None:
    """Check that every log is readable by its owner only and has no secret."""
    logs = [*drive.LOGS.glob("*.log")]
    assert any("apply" in path.name for path in logs), "there must be logs"
    for path in logs:
        text = path.read_text(errors="replace")
        assert not TOKEN.search(text), f"{path}: {TOKEN.search(text)}"
        assert not KEY.search(text), f"{path} holds a key"
        assert path.stat().st_mode & 0o077 == 0, f"{path} can be read by others"


def none_in_arguments(host: str) -> None:
    """Check the argument lists of all processes of a node."""
    argv = drive.ssh(host, "cat /proc/[0-9]*/cmdline | tr \\\\0 \\\\n")
    assert argv.status == 0, argv.text
    assert not TOKEN.search(argv.text), f"{host}: a token in an argument list"


def none_readable(host: str) -> None:
    """Check the files that an unprivileged user of the node can read."""
    found = drive.ssh(
        host,
        f"find {PLACES} -xdev -type f -perm -o=r -size -300k "
        '-exec grep -lE "PRIVATE KEY-----|client-key-data: .|token: [a-z0-9]{6}\\.[a-z0-9]{16}'
        '|secret: [A-Za-z0-9+/]{43}=" {} + '
        "2>/dev/null || true",
    )
    readable = [line for line in found.text.splitlines() if not _in_a_closed_folder(host, line)]
    assert readable == [], f"{host}: {readable}"


def _in_a_closed_folder(host: str, path: str) -> bool:
    return drive.ssh(host, f'su -s /bin/sh nobody -c "cat {path} >/dev/null 2>&1"').status != 0
