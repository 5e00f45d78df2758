"""A command's output lies in its log, a failure shows the end of it, a long one is heard of."""

import time
from pathlib import Path

import pytest

from provisioner.errors import ProvisionerError
from tests.mirror import progress


def test_output_is_returned_and_errors_are_logged(tmp_path: Path) -> None:
    log = tmp_path / "logs/log"
    assert progress.output(["sh", "-c", "echo out; echo err >&2"], log) == "out\n"
    assert log.read_text() == "+ sh -c echo out; echo err >&2\nerr\n"


def test_failure_names_status_last_lines_and_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(ProvisionerError) as caught:
        progress.run(["sh", "-c", "echo no space left; exit 3"], log)
    assert "sh ended with status 3" in str(caught.value)
    assert "no space left" in str(caught.value)
    assert str(log) in str(caught.value)


def test_a_long_command_shows_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.05)
    # It ends only once it has been heard of.
    gate = tmp_path / "gate"
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        if "compiling" in text:
            gate.touch()

    monkeypatch.setattr(progress, "say", say)
    progress.run(["sh", "-c", f"echo compiling; until [ -e {gate} ]; do :; done"], tmp_path / "log")
    assert said[-1].strip() == "log: compiling"


def test_an_interrupted_build_ends_its_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.05)

    def interrupt(text: str) -> None:
        if (tmp_path / "pid").exists():
            raise KeyboardInterrupt(text)

    monkeypatch.setattr(progress, "say", interrupt)
    # The grandchild is what a compiler is to make; it must be gone once the interruption is through.
    script = f"sh -c 'echo $$ > {tmp_path}/half; mv {tmp_path}/half {tmp_path}/pid; exec tail -f /dev/null' & wait"
    with pytest.raises(KeyboardInterrupt):
        progress.run(["sh", "-c", script], tmp_path / "log")
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < deadline, f"process {pid} outlives the build"


def test_what_runs_beside_each_other(tmp_path: Path) -> None:
    """Each of two waits for the other, so that they end only together; results keep their order."""

    def task(own: str, other: str) -> Path:
        script = f"touch {tmp_path}/{own}; until [ -e {tmp_path}/{other} ]; do :; done"
        progress.run(["sh", "-c", script], tmp_path / f"{own}.log")
        return tmp_path / own

    made = progress.beside([lambda: task("a", "b"), lambda: task("b", "a"), lambda: tmp_path], lanes=2)
    assert made == [tmp_path / "a", tmp_path / "b", tmp_path]


def test_one_failure_ends_the_others_and_is_the_one_told_of(tmp_path: Path) -> None:
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

    with pytest.raises(ProvisionerError, match="sh ended with status 3"):
        progress.beside([long, failing, later], lanes=2)
    assert not alive(int((tmp_path / "pid").read_text()))
    assert begun == []
    progress.run(["true"], tmp_path / "log")  # and the next build runs its commands again


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
