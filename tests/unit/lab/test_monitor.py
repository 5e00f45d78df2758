"""The conversation with QEMU, held with a real socket."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from provisioner.errors import ProvisionerError
from provisioner.lab import monitor


@contextmanager
def qemu(path: Path, answers: list[dict[str, object]]) -> Iterator[list[str]]:
    """A peer that greets, accepts the handshake, then gives `answers` and hangs up; yields what it was asked."""
    asked: list[str] = []
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rw") as stream:
            lines = iter([{"QMP": {}}, {"return": {}}, *answers])
            stream.write(json.dumps(next(lines)) + "\n")
            stream.flush()
            for line in lines:
                asked.append(stream.readline())
                stream.write(json.dumps(line) + "\n")
                stream.flush()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield asked
    finally:
        thread.join()
        server.close()


def test_human_line_and_its_output(tmp_path: Path) -> None:
    with qemu(tmp_path / "s", [{"return": "Error: no space\r\n"}]) as asked:
        with monitor.connect(tmp_path / "s", "master") as qmp:
            assert qmp.human("savevm a") == "Error: no space"
        assert json.loads(asked[1])["arguments"] == {"command-line": "savevm a"}


def test_refusal_names_machine_and_reason(tmp_path: Path) -> None:
    refusal: dict[str, object] = {"error": {"class": "GenericError", "desc": "not now"}}
    with (
        qemu(tmp_path / "s", [refusal]),
        monitor.connect(tmp_path / "s", "worker1") as qmp,
        pytest.raises(ProvisionerError, match="worker1: QEMU refused stop: not now"),
    ):
        qmp.command("stop")


def test_process_that_ends(tmp_path: Path) -> None:
    with (
        qemu(tmp_path / "s", []),
        monitor.connect(tmp_path / "s", "worker1") as qmp,
        pytest.raises(ProvisionerError, match="worker1: its QEMU process ended"),
    ):
        qmp.command("stop")


def test_process_that_does_not_answer(tmp_path: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s"))
    server.listen()
    try:
        with (
            pytest.raises(ProvisionerError, match="did not answer in time"),
            monitor.connect(tmp_path / "s", "worker1", timeout=0.2),
        ):
            pass
    finally:
        server.close()


def test_no_process(tmp_path: Path) -> None:
    with pytest.raises(ProvisionerError, match="worker1: cannot reach"), monitor.connect(tmp_path / "s", "worker1"):
        pass
