"""Serve a built mirror in the foreground: files on port 80, images on port 5000."""

import http.server
import json
import signal
import threading
from functools import partial
from pathlib import Path
from types import FrameType

from provisioner.errors import ProvisionerError
from provisioner.lab.mirror import registry

HTTP_PORT = 80
REGISTRY_PORT = 5000


class _Files(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # apt reuses its connection


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


def serve(directory: Path, address: str) -> None:
    """Serve `directory`/www as files and `directory`/registry as an image registry until SIGTERM or SIGINT.

    Print a line of JSON with "ready" once both ports listen. address: an IPv4 address in this network namespace.
    Raises ProvisionerError if a port is taken or the registry exits.
    """
    handler = partial(_Files, directory=str(directory / "www"))
    try:
        server = _Server((address, HTTP_PORT), handler)
    except OSError as error:
        raise ProvisionerError(
            f"cannot listen on {address}:{HTTP_PORT}: {error.strerror}",
            "run it as root in the network namespace that has this address",
        ) from error
    stopped = threading.Event()
    with server, registry.running(directory / "registry", address, REGISTRY_PORT, readonly=True) as (process, _):

        def stop(number: int, frame: FrameType | None) -> None:
            del number, frame
            stopped.set()
            process.terminate()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ready = {"ready": True, "files": f"http://{address}/", "images": f"http://{address}:{REGISTRY_PORT}/"}
        print(json.dumps(ready), flush=True)
        process.wait()
        server.shutdown()
    if not stopped.is_set():
        raise ProvisionerError(f"docker-registry exited with status {process.returncode}", "see its output above")
