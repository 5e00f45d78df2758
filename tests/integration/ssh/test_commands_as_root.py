"""Commands as root, with and without a sudo password; no secret in argv, log or error."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.errors import HostError
from provisioner.ssh import channel
from tests.integration.ssh.conftest import MakeSite, Open
from tests.integration.ssh.nodes import SUDO_PASSWORD, Machine, wait_for

SECRET = "s3cr3t-0f-th3-t3st"


@pytest.fixture
def careful(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """A site whose user needs a sudo password, which is in an environment variable."""
    monkeypatch.setenv("SUDO_PW", SUDO_PASSWORD)
    return lambda **more: make_site(user="careful", sudo_password="env:SUDO_PW", **more)


def test_without_a_password(make_site: MakeSite, open_site: Open) -> None:
    one = open_site(make_site())["one"]
    assert one.run("id -un").stdout == "root\n"
    assert one.run("id -un", root=False).stdout == "plain\n"
    assert one.run("cat", stdin="in\n").stdout == "in\n"


def test_root_needs_no_sudo(make_site: MakeSite, open_site: Open) -> None:
    assert open_site(make_site(user="root"))["one"].run("echo ${SUDO_USER-none}; id -un").stdout == "none\nroot\n"


def test_a_password_does_not_reach_the_commands_stdin(careful: Callable[..., object], open_site: Open) -> None:
    one = open_site(careful())["one"]
    assert one.run("id -un").stdout == "root\n"
    assert one.run("cat", stdin="in\n").stdout == "in\n"
    assert one.run("cat", stdin=None).stdout == ""
    one.put("/etc/demo", "content\n")
    assert one.run("cat /etc/demo").stdout == "content\n"


def test_a_password_is_not_sent_if_sudo_needs_none(
    make_site: MakeSite, open_site: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_PW", SUDO_PASSWORD)
    one = open_site(make_site(sudo_password="env:SUDO_PW"))["one"]
    assert one.run("cat", stdin="in\n").stdout == "in\n"
    assert one.run("cat").stdout == ""


@pytest.mark.parametrize(
    ("user", "source", "message"),
    [
        ("careful", "none", r"one: sudo needs a password; set sudo_password under \[ssh\]"),
        ("careful", "env:WRONG_PW", r"one: sudo rejected the password; check it"),
        ("nobodys", "env:SUDO_PW", r"one: nobodys is not allowed to use sudo"),
        ("nobodys", "none", r"one: (sudo needs a password|nobodys is not allowed to use sudo)"),
    ],
)
def test_a_missing_or_wrong_password_stops_before_anything_runs(
    make_site: MakeSite,
    open_site: Open,
    monkeypatch: pytest.MonkeyPatch,
    machines: dict[str, Machine],
    user: str,
    source: str,
    message: str,
) -> None:
    monkeypatch.setenv("SUDO_PW", SUDO_PASSWORD)
    monkeypatch.setenv("WRONG_PW", "not the password")
    opened = open_site(make_site(user=user, sudo_password=source))
    with pytest.raises(HostError, match=message) as caught:
        opened["one"].run("touch /etc/ran")
    if source == "env:WRONG_PW":
        assert "1 incorrect password attempt" in caught.value.tail  # three would lock some accounts
    with pytest.raises(HostError, match=message):
        _ = opened["one"].facts
    assert machines["one"].sh("ls /etc/ran 2>&1; true").startswith("ls: cannot access")
    assert "not the password" not in opened.log + str(opened.events)


def test_no_secret_in_any_argv_nor_in_the_log(
    careful: Callable[..., object], open_site: Open, machines: dict[str, Machine]
) -> None:
    opened = open_site(careful())
    one, machine = opened["one"], machines["one"]
    command = f"x={SECRET}; touch /run/here; cat >/dev/null; while [ -e /run/here ]; do sleep 0.05; done; echo $x"
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(one.run(command, stdin=SECRET, secret=True).stdout))
    thread.start()
    try:
        wait_for(lambda: "here" in machine.sh("ls /run"), "the command")
        argv = machine.arguments()
    finally:
        machine.sh("rm -f /run/here")
        thread.join()
    assert answers == [f"{SECRET}\n"]
    assert "sudo" in argv
    assert SECRET not in argv
    assert SUDO_PASSWORD not in argv
    one.put("/etc/secret", f"{SECRET}\n", mode=0o600, secret=True)
    one.put("/etc/secret", f"{SECRET}\n", mode=0o600)
    with pytest.raises(HostError) as caught:
        one.run(f"echo {SECRET}; echo {SECRET} >&2; exit 3", secret=True)
    said = opened.log + str(opened.events) + str(caught.value) + caught.value.command + caught.value.tail
    assert "exit status 3" in said
    assert SECRET not in said
    assert SUDO_PASSWORD not in said


def test_a_failed_command_is_reported_with_its_output(make_site: MakeSite, open_site: Open) -> None:
    opened = open_site(make_site())
    with pytest.raises(HostError) as caught:
        opened["one"].run("echo first\nls /no/such/folder\necho never")
    error = caught.value
    assert str(error).startswith("one: `echo first` failed with exit status 2: ls: cannot access '/no/such/folder'")
    assert error.tail.splitlines()[0] == "first"
    assert "never" not in error.tail
    assert opened["one"].run("exit 7", check=False).status == 7
    assert "ls /no/such/folder" in opened.log


def test_a_command_that_times_out_is_killed_on_the_host(
    make_site: MakeSite, open_site: Open, machines: dict[str, Machine]
) -> None:
    with pytest.raises(HostError, match="timed out and was killed"):
        open_site(make_site())["one"].run("sleep 4321", timeout=1)
    wait_for(lambda: "sleep 4321" not in machines["one"].arguments(), "the end of sleep")


def test_large_input_and_output(make_site: MakeSite, open_site: Open) -> None:
    """More than any window or pipe holds, in both directions at once."""
    text = "".join(f"{number}\n" for number in range(700_000))
    assert open_site(make_site())["one"].run("tee /dev/stderr", stdin=text).stdout == text


class TestPut:
    def test_mode_owner_and_folders(self, make_site: MakeSite, open_site: Open, machines: dict[str, Machine]) -> None:
        one = open_site(make_site())["one"]
        path = "/etc/a b/c'd/file"
        one.put(path, "x\n", mode=0o640, owner="plain:daemon")
        one.put(path, "y\n", mode=0o600)
        assert machines["one"].sh('stat -c "%a %U:%G" "/etc/a b/c\'d/file"; ls -A "/etc/a b/c\'d"') == (
            "600 root:root\nfile\n"
        )
        assert machines["one"].sh('cat "/etc/a b/c\'d/file"') == "y\n"
        one.put("/etc/empty", "")
        assert machines["one"].sh("stat -c '%s %a' /etc/empty") == "0 644\n"

    def test_a_truncated_file_never_replaces_the_old_one(
        self, make_site: MakeSite, open_site: Open, machines: dict[str, Machine], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = open_site(make_site())["one"]
        one.put("/etc/cut", "old\n")
        real = channel.execute

        def half(transport: object, command: str, *, stdin: bytes, **more: object) -> channel.Output:
            return real(transport, command, stdin=stdin[: len(stdin) // 2], **more)  # type: ignore[arg-type]

        monkeypatch.setattr(channel, "execute", half)
        with pytest.raises(HostError):
            one.put("/etc/cut", "new and longer\n")
        assert machines["one"].sh("cat /etc/cut; ls -A /etc | grep cut") == "old\ncut\n"


def test_a_password_from_a_private_file(make_site: MakeSite, open_site: Open, folder: Path) -> None:
    (folder / "pw").write_text(SUDO_PASSWORD + "\n")
    (folder / "pw").chmod(0o600)
    assert open_site(make_site(user="careful", sudo_password="file:pw"))["one"].run("id -un").stdout == "root\n"
