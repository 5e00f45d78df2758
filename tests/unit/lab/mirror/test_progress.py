"""Command output goes to a log; a failure shows its last lines, and a long command its progress."""

import time
from pathlib import Path

import pytest

from provisioner.errors import ProvisionerError
from provisioner.lab.mirror import progress


def test_output_is_returned_and_errors_are_logged(tmp_path: Path) -> None:
    log = tmp_path / "logs/log"
    assert progress.output(["sh", "-c", "echo out; echo err >&2"], log) == "out\n"
    assert log.read_text() == "+ sh -c echo out; echo err >&2\nerr\n"


def test_failure_names_status_last_lines_and_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(ProvisionerError) as caught:
        progress.run(["sh", "-c", "echo no space left; exit 3"], log)
    assert "sh exited with status 3" in str(caught.value)
    assert "no space left" in str(caught.value)
    assert str(log) in str(caught.value)


def test_a_long_command_shows_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.05)
    # The command exits only after its progress was shown.
    gate = tmp_path / "gate"
    announced: list[str] = []

    def announce(text: str) -> None:
        announced.append(text)
        if "compiling" in text:
            gate.touch()

    monkeypatch.setattr(progress, "announce", announce)
    progress.run(["sh", "-c", f"echo compiling; until [ -e {gate} ]; do :; done"], tmp_path / "log")
    assert announced[-1].strip() == "log: compiling"


def test_an_interrupted_build_kills_its_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.05)

    def interrupt(text: str) -> None:
        if (tmp_path / "pid").exists():
            raise KeyboardInterrupt(text)

    monkeypatch.setattr(progress, "announce", interrupt)
    # The grandchild stands for a compiler of make; it must be gone after the interruption.
    script = f"sh -c 'echo $$ > {tmp_path}/half; mv {tmp_path}/half {tmp_path}/pid; exec tail -f /dev/null' & wait"
    with pytest.raises(KeyboardInterrupt):
        progress.run(["sh", "-c", script], tmp_path / "log")
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < deadline, f"process {pid} outlives the build"


def test_tasks_run_in_parallel(tmp_path: Path) -> None:
    """Each of two waits for the other, so both exit only if both run; results keep their order."""

    def task(own: str, other: str) -> Path:
        script = f"touch {tmp_path}/{own}; until [ -e {tmp_path}/{other} ]; do :; done"
        progress.run(["sh", "-c", script], tmp_path / f"{own}.log")
        return tmp_path / own

    made = progress.in_parallel([lambda: task("a", "b"), lambda: task("b", "a"), lambda: tmp_path], lanes=2)
    assert made == [tmp_path / "a", tmp_path / "b", tmp_path]


def test_one_failure_kills_the_other_tasks_and_is_the_one_raised(tmp_path: Path) -> None:
    begun = []

    def long() -> Path:
        progress.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec tail -f /dev/null"], tmp_path / "long.log")
        return tmp_path

    def failing() -> Path:
        progress.run(["sh", "-c", f"until [ -s {tmp_path}/pid ]; do :; done; exit 3"], tmp_path / "failing.log")
        return tmp_path

    def later() -> Path:
        begun.append("later")
        return tmp_path

    with pytest.raises(ProvisionerError, match="sh exited with status 3"):
        progress.in_parallel([long, failing, later], lanes=2)
    assert not alive(int((tmp_path / "pid").read_text()))
    assert begun == []
    progress.run(["true"], tmp_path / "log")  # a later build runs its commands again


def alive(pid: int) -> bool:
    """Return whether a process is running; a zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
