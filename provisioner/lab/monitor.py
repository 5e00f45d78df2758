"""Control a running QEMU through its monitor socket (QMP, docs/interop/qmp-spec of QEMU)."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from provisioner.errors import ProvisionerError


class Monitor:
    """A connection to one QEMU process."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        self._connection = connection
        self._lines = connection.makefile("r", encoding="utf-8")
        self._name = name
        self._read()  # the greeting
        self.command("qmp_capabilities")

    def command(self, command: str, **arguments: object) -> Any:
        """Execute a QMP command and return its result; raises ProvisionerError if QEMU refuses it."""
        request = json.dumps({"execute": command, "arguments": arguments}) + "\n"
        try:
            self._connection.sendall(request.encode())
        except BrokenPipeError as error:
            raise self._exited() from error
        while True:
            response = self._read()
            if "error" in response:
                raise ProvisionerError(f"{self._name}: QEMU refused {command}: {response['error']['desc']}")
            if "return" in response:
                return response["return"]

    def human(self, line: str) -> str:
        """Execute a line of the human monitor (`savevm`, `loadvm`) and return what it prints."""
        return str(self.command("human-monitor-command", **{"command-line": line})).strip()

    def close(self) -> None:
        """Close the connection; QEMU keeps running."""
        self._lines.close()

    def _read(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except ConnectionResetError as error:
            raise self._exited() from error
        except TimeoutError as error:
            raise ProvisionerError(
                f"{self._name}: QEMU did not answer in time", "power it off: provisioner lab down"
            ) from error
        if not line:
            raise self._exited()
        response: dict[str, Any] = json.loads(line)
        return response

    def _exited(self) -> ProvisionerError:
        return ProvisionerError(f"{self._name}: its QEMU process has exited", "see its serial.log; provisioner lab up")


@contextmanager
def connect(path: Path, name: str, timeout: float = 60.0) -> Iterator[Monitor]:
    """Connect to the monitor of the VM `name`; `timeout` (s) applies to each response."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(str(path))
        except OSError as error:
            raise ProvisionerError(
                f"{name}: cannot reach its QEMU process ({error})", "start it again: provisioner lab up"
            ) from error
        with closing(Monitor(connection, name)) as qmp:
            yield qmp
