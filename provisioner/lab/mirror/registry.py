"""Debian's docker-registry: run it on a storage directory and push to it over its HTTP API."""

import http.client
import json
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from provisioner.errors import ProvisionerError
from provisioner.lab.mirror.oci import MANIFEST_TYPE, Blob
from provisioner.lab.mirror.requirements import find_program


@contextmanager
def running(storage: Path, address: str, port: int, *, readonly: bool) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a registry on `storage` and yield its process and TCP port once it listens; port 0 means any free port.

    The kernel kills it when this process ends.
    """
    settings: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(storage)},
            "maintenance": {"readonly": {"enabled": readonly}, "uploadpurging": {"enabled": False}},
        },
        "http": {"addr": f"{address}:{port}"},
    }
    registry = find_program("docker-registry")
    if registry is None:
        raise ProvisionerError("docker-registry is not installed", "apt-get install docker-registry")
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", registry, "serve", "/dev/stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    assert process.stdin is not None
    assert process.stderr is not None
    drain = threading.Thread(target=_drain, args=(process.stderr, sys.stderr if readonly else None), daemon=True)
    try:
        with process.stdin as configuration:
            json.dump(settings, configuration)  # JSON is YAML
        bound = _listening(process.stderr)
        drain.start()
        yield process, bound
    finally:
        process.terminate()
        process.wait()
        if drain.is_alive():
            drain.join()
        process.stderr.close()


def _listening(log: IO[str]) -> int:
    """Read the registry's log up to the line with its address; return the port."""
    lines: list[str] = []
    for line in log:
        lines.append(line)
        if "listening on " in line:
            address = line.partition("listening on ")[2].partition('"')[0]
            return int(address.rpartition(":")[2].strip().rstrip(","))
    raise ProvisionerError(
        f"docker-registry did not start:\n{''.join(lines[-5:])}",
        "see that the port is free and the address is in this network namespace",
    )


def _drain(log: IO[str], echo: IO[str] | None) -> None:
    for line in log:
        if echo is not None:
            echo.write(line)


class Client:
    """Push to a registry on 127.0.0.1 (OCI distribution specification 1.0)."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._holders: dict[str, str] = {}  # digest -> repository with that blob

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def push_blob(self, repository: str, blob: Blob, content: Path | bytes) -> None:
        """Push a blob, or mount it from another repository that this client has pushed it to."""
        start = f"/v2/{repository}/blobs/uploads/"
        if holder := self._holders.get(blob.digest):
            start += "?" + urllib.parse.urlencode({"mount": blob.digest, "from": holder})
        status, location = self._request("POST", start)
        if status == 202:
            upload = urllib.parse.urlsplit(location)
            query = f"{upload.query}&" if upload.query else ""
            target = f"{upload.path}?{query}digest={urllib.parse.quote(blob.digest)}"
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
            if isinstance(content, Path):
                with open(content, "rb") as data:
                    self._request("PUT", target, data, headers)
            else:
                self._request("PUT", target, content, headers)
        self._holders[blob.digest] = repository

    def push_manifest(self, repository: str, tag: str, manifest: bytes) -> None:
        """Push a manifest under a tag; its blobs must have been pushed."""
        self._request("PUT", f"/v2/{repository}/manifests/{tag}", manifest, {"Content-Type": MANIFEST_TYPE})

    def _request(
        self, method: str, path: str, body: bytes | IO[bytes] | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        self._connection.request(method, path, body, headers or {})
        response = self._connection.getresponse()
        text = response.read()
        if response.status not in (201, 202):
            raise ProvisionerError(
                f"the registry answered {method} {path} with {response.status}: {text[:300]!r}", "build again"
            )
        return response.status, response.headers.get("Location", "")
