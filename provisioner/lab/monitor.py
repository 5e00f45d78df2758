"""Talk to a running QEMU through its monitor socket (QMP, docs/interop/qmp-spec of QEMU)."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from provisioner.errors import ProvisionerError


class Monitor:
    """One conversation with one QEMU process."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        self._stream = connection.makefile("rw", encoding="utf-8")
        self._name = name
        self._read()  # the greeting
        self.command("qmp_capabilities")

    def command(self, command: str, **arguments: object) -> Any:
        """Execute a QMP command and return its answer; ProvisionerError when QEMU refuses it."""
        self._stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._stream.flush()
        while True:
            answer = self._read()
            if "error" in answer:
                raise ProvisionerError(f"{self._name}: QEMU refused {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def human(self, line: str) -> str:
        """Execute a line of the human monitor (`savevm`, `loadvm`) and return what it prints."""
        return str(self.command("human-monitor-command", **{"command-line": line})).strip()

    def _read(self) -> dict[str, Any]:
        try:
            line = self._stream.readline()
        except TimeoutError as error:
            raise ProvisionerError(
                f"{self._name}: QEMU did not answer in time", "power it off: provisioner lab down"
            ) from error
        if not line:
            raise ProvisionerError(f"{self._name}: its QEMU process ended", "see its serial.log; provisioner lab up")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def connect(path: Path, name: str, timeout: float = 60.0) -> Iterator[Monitor]:
    """Open the monitor of the VM `name`; `timeout` (s) bounds each answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(str(path))
        except OSError as error:
            raise ProvisionerError(
                f"{name}: cannot reach its QEMU process ({error})", "start it again: provisioner lab up"
            ) from error
        yield Monitor(connection, name)
