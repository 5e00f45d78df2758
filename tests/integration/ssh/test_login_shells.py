"""Login shells that print, that are not POSIX shells, or that refuse; a umask of 077."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Iterator

import pytest

from provisioner.engine import lock
from provisioner.errors import HostError, Locked
from provisioner.ssh import FactQuery, jobs
from tests.integration.ssh.conftest import MakeSite, Open, provisioner
from tests.integration.ssh.nodes import SUDO_PASSWORD, Machine, wait_for

# What the shells read before they run a command (bash when sshd starts it, zsh and fish always, tcsh always).
RC = {"bash": ".bashrc", "zsh": ".zshenv", "fish": ".config/fish/config.fish", "tcsh": ".cshrc"}
TEXT = 'it\'s 100% "$HOME" \\n \\\\ `id` !x !! ünïcode\ttab *?[a] {a,b} ~ # ; & | ‹›'
SetShell = Callable[..., None]


@pytest.fixture
def set_shell(machines: dict[str, Machine]) -> Iterator[SetShell]:
    """Give the user `plain` of the machine `one` a login shell and a startup file; undone after the test."""
    machine = machines["one"]
    home = machine.sh("echo ~plain").strip()
    files = " ".join(f"{home}/{name}" for name in RC.values())

    def set_one(shell: str, rc: str = "", user: str = "plain") -> None:
        machine.sh(f"usermod -s {shlex.quote(shell)} {user}")
        name = RC.get(shell.rpartition("/")[2])
        if rc and name:
            path = f"{home}/{name}"
            machine.sh(f"mkdir -p {home}/.config/fish; printf %s {shlex.quote(rc)} >{path}; chown -R plain {home}")

    yield set_one
    machine.sh(f"rm -f {files}; usermod -s /bin/sh plain; usermod -s /bin/sh careful")


@pytest.mark.parametrize("shell", ["/bin/bash", "/usr/bin/zsh", "/usr/bin/fish", "/bin/tcsh"])
def test_a_startup_file_that_prints_changes_nothing(
    shell: str, set_shell: SetShell, make_site: MakeSite, open_site: Open, machines: dict[str, Machine]
) -> None:
    rc = "echo Welcome\necho 'sudo: a password is required' >/dev/stderr\numask 077\n"
    set_shell(shell, rc)
    site = make_site()
    one = open_site(site, FactQuery(files=("/etc/hostname",)))["one"]
    assert one.run("id -un").stdout == "root\n"
    assert one.run(f"printf %s {shlex.quote(TEXT)}; echo err >&2").stdout == TEXT
    assert one.run("echo err >&2").stderr == "err\n"
    assert one.run("echo $#; umask").stdout == "0\n0022\n"
    assert one.run("cat", stdin=TEXT).stdout == TEXT
    assert one.run(f"printf %s {shlex.quote(TEXT)}; cat", stdin="in", secret=True).stdout == f"{TEXT}in"
    assert one.run("exit 7", check=False).status == 7
    assert one.facts.hostname == "one"
    assert jobs.busy(one) == ""
    assert jobs.run(one, "speaks", f"printf '%s\\n' {shlex.quote(TEXT)}; umask", timeout=30).stdout == (
        f"{TEXT}\n0022\n"
    )
    one.put("/etc/made by/file", TEXT)
    assert machines["one"].sh("stat -c %a '/etc/made by'; cat '/etc/made by/file'") == f"755\n{TEXT}"


@pytest.mark.parametrize("shell", ["/usr/bin/fish", "/bin/tcsh"])
def test_a_sudo_password_with_a_shell_that_is_not_posix(
    shell: str, set_shell: SetShell, make_site: MakeSite, open_site: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_PW", SUDO_PASSWORD)
    set_shell(shell, user="careful")
    one = open_site(make_site(user="careful", sudo_password="env:SUDO_PW"))["one"]
    assert one.run("id -un; cat", stdin="in\n").stdout == "root\nin\n"


@pytest.mark.parametrize(
    ("shell", "message"),
    [
        ("/usr/sbin/nologin", "plain may not run commands: its login shell or authorized_keys refuses them"),
        (
            "/bin/false",
            "no command can be run: the login shell of plain ended with exit status 1 and printed: nothing",
        ),
    ],
)
def test_a_login_shell_that_refuses_is_one_sentence(
    shell: str, message: str, set_shell: SetShell, make_site: MakeSite, open_site: Open
) -> None:
    set_shell(shell)
    with pytest.raises(HostError) as caught:
        open_site(make_site())["one"].run("true")
    assert caught.value.message == message
    assert caught.value.remedy


def test_a_startup_file_that_leaves_is_one_sentence(set_shell: SetShell, make_site: MakeSite, open_site: Open) -> None:
    set_shell("/bin/bash", "echo 'maintenance until noon'\nexit 0\n")
    with pytest.raises(HostError, match="ended with exit status 0 and printed: maintenance until noon"):
        open_site(make_site())["one"].run("true")


def test_the_lock_holds_where_a_startup_file_prints(
    set_shell: SetShell, make_site: MakeSite, open_site: Open, machines: dict[str, Machine]
) -> None:
    machines["one"].sh("rm -rf /var/lib/provisioner")
    set_shell("/bin/bash", "echo Welcome; echo held 999999\n")
    site = make_site(hosts=("one",))
    release, holding = threading.Event(), threading.Event()

    def hold() -> None:
        with lock.acquire(open_site(site)["one"], "apply"):
            holding.set()
            release.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        wait_for(holding.is_set, "the lock")
        with pytest.raises(Locked), lock.acquire(open_site(site)["one"], "apply"):
            pass
        assert "locked by" in provisioner(site, "unlock").stdout
    finally:
        release.set()
        thread.join(30)
