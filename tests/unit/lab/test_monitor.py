"""The connection to QEMU's monitor, over a real socket."""

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
    """Serve a greeting, a handshake, then `answers`, and close the connection; yield the requests."""
    requests: list[str] = []
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
                requests.append(stream.readline())
                stream.write(json.dumps(line) + "\n")
                stream.flush()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield requests
    finally:
        thread.join()
        server.close()


def test_a_human_monitor_command_returns_its_output(tmp_path: Path) -> None:
    with qemu(tmp_path / "s", [{"return": "Error: no space\r\n"}]) as requests:
        with monitor.connect(tmp_path / "s", "master") as qmp:
            assert qmp.human("savevm a") == "Error: no space"
        assert json.loads(requests[1])["arguments"] == {"command-line": "savevm a"}


def test_a_refusal_names_the_machine_and_the_reason(tmp_path: Path) -> None:
    refusal: dict[str, object] = {"error": {"class": "GenericError", "desc": "not now"}}
    with (
        qemu(tmp_path / "s", [refusal]),
        monitor.connect(tmp_path / "s", "worker1") as qmp,
        pytest.raises(ProvisionerError, match="worker1: QEMU refused stop: not now"),
    ):
        qmp.command("stop")


def test_a_process_that_exits(tmp_path: Path) -> None:
    with (
        qemu(tmp_path / "s", []),
        monitor.connect(tmp_path / "s", "worker1") as qmp,
        pytest.raises(ProvisionerError, match="worker1: its QEMU process has exited"),
    ):
        qmp.command("stop")


def test_a_process_that_does_not_answer(tmp_path: Path) -> None:
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


def test_a_machine_that_is_off(tmp_path: Path) -> None:
    with pytest.raises(ProvisionerError, match="worker1: cannot reach"), monitor.connect(tmp_path / "s", "worker1"):
        pass
