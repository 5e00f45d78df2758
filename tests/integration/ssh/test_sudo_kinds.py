"""Kinds of sudo on a real machine: requiretty, some commands only, a broken sudoers, none at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from provisioner.errors import HostError
from tests.integration.ssh.conftest import MakeSite, Open
from tests.integration.ssh.nodes import SUDO_PASSWORD, Machine


@pytest.fixture
def on_one(machines: dict[str, Machine]) -> Iterator[Callable[[str, str], None]]:
    """Run a command on the machine `one`, and one that undoes it after the test."""
    undo: list[str] = []

    def run(command: str, back: str) -> None:
        undo.append(back)
        machines["one"].sh(command)

    yield run
    for command in reversed(undo):
        machines["one"].sh(command)


KINDS = {
    "requiretty": (
        "echo 'Defaults requiretty' >/etc/sudoers.d/tty",
        "rm /etc/sudoers.d/tty",
        r"sudo insists on a terminal .requiretty.; add the line `Defaults:\w+ !requiretty` with visudo",
    ),
    "one command only": (
        "echo '%s ALL=(ALL) NOPASSWD: /usr/bin/id' >/etc/sudoers.d/{user}; mv /etc/sudoers.d/{user} /etc/sudoers.d/z",
        "echo '{rule}' >/etc/sudoers.d/{user}; rm -f /etc/sudoers.d/z",
        r"may use sudo, but not to run every command as root|sudo needs a password|is not allowed to use sudo",
    ),
    "a broken sudoers": (
        "echo 'nonsense' >/etc/sudoers; :",
        "printf 'root ALL=(ALL:ALL) ALL\\n@includedir /etc/sudoers.d\\n' >/etc/sudoers; chmod 440 /etc/sudoers",
        r"sudo",
    ),
    "no sudo": (
        "mount -t tmpfs tmpfs /opt && touch /opt/none && mount --bind /opt/none /usr/bin/sudo",
        "umount /usr/bin/sudo; umount /opt",
        r"sudo is not installed|Permission denied",
    ),
}


@pytest.mark.parametrize("password", [False, True], ids=["without a password", "with a password"])
@pytest.mark.parametrize(("break_it", "mend_it", "message"), KINDS.values(), ids=KINDS)
def test_each_kind_has_its_own_sentence(
    break_it: str,
    mend_it: str,
    message: str,
    password: bool,
    on_one: Callable[[str, str], None],
    make_site: MakeSite,
    open_site: Open,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SUDO_PW", SUDO_PASSWORD)
    user = "careful" if password else "plain"
    rule = f"{user} ALL=(ALL) {'' if password else 'NOPASSWD: '}ALL"
    fill = {"{user}": user, "{rule}": rule, "%s": user}
    for name, value in fill.items():
        break_it, mend_it = break_it.replace(name, value), mend_it.replace(name, value)
    on_one(break_it, mend_it)
    site = make_site(user=user, sudo_password="env:SUDO_PW" if password else "none")
    with pytest.raises(HostError, match=message) as caught:
        open_site(site)["one"].run("id -un")
    assert "rejected the password" not in caught.value.message
    assert caught.value.remedy
