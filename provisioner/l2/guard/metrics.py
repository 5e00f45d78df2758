"""What a guard knows as Prometheus metrics, served to this machine only.

The text format (prometheus.io, "Exposition formats") takes a few lines; a client library would come to everybody who
installs this program, for one command that few run.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from provisioner.errors import ProvisionerError
from provisioner.l2.guard.event import Event
from provisioner.l2.guard.listening import Listener
from provisioner.l2.guard.watcher import Watcher
from provisioner.l2.probe.capture import Address

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_STATES = ("unknown", "held", "silent", "conflict")
_PREFIX = "l2_guard_"


def render(watcher: Watcher, listener: Listener, events: Mapping[tuple[str, str], int]) -> str:
    """Return all metrics. events: how many of each code and severity."""
    lines: list[str] = []

    def family(name: str, kind: str, about: str, samples: list[tuple[dict[str, str], float]]) -> None:
        lines.extend([f"# HELP {_PREFIX}{name} {about}", f"# TYPE {_PREFIX}{name} {kind}"])
        for labels, value in samples:
            text = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
            lines.append(f"{_PREFIX}{name}{f'{{{text}}}' if text else ''} {value:.15g}")

    def labels(ip: Address) -> dict[str, str]:
        return {"address": str(ip), "service": watcher.known.assigned.get(ip, "")}

    watched = list(watcher.watched.items())
    family("addresses", "gauge", "Addresses that should be answered for.", [({}, len(watched))])
    family(
        "address_state",
        "gauge",
        "1 for the state that an address is in.",
        [({**labels(ip), "state": state}, one.state == state) for ip, one in watched for state in _STATES],
    )
    family(
        "address_owners",
        "gauge",
        "MACs that answer for an address.",
        [(labels(ip), len(one.conflict) or one.state == "held") for ip, one in watched],
    )
    family(
        "address_answered_timestamp_seconds",
        "gauge",
        "Unix time of the last answer for an address, 0 for none.",
        [(labels(ip), one.last) for ip, one in watched],
    )
    family("pool_addresses_in_use", "gauge", "Pool addresses in use that no Service has.", [({}, len(watcher.strays))])
    family(
        "events_total",
        "counter",
        "Events by code and severity.",
        [({"code": code, "severity": severity}, number) for (code, severity), number in sorted(events.items())],
    )
    family("frames_sent_total", "counter", "Questions sent.", [({}, listener.sent)])
    family("frames_heard_total", "counter", "Frames heard.", [({}, listener.heard)])
    family("frames_dropped_total", "counter", "Frames that the kernel dropped.", [({}, listener.dropped)])
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Server:
    """An HTTP server on 127.0.0.1 with /metrics; a port of 0 takes a free one. Raises ProvisionerError."""

    def __init__(self, port: int) -> None:
        self.events: Counter[tuple[str, str]] = Counter()
        self._text = ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = self.path.split("?")[0] == "/metrics"
                body = outer._text.encode() if found else b"see /metrics\n"
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", CONTENT_TYPE if found else "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Keep requests out of the guard's output."""

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OSError as error:
            raise ProvisionerError(
                f"cannot serve metrics on port {port}: {error.strerror}", "choose another with --metrics-port"
            ) from error
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def count(self, event: Event) -> None:
        """Count an event."""
        self.events[event.code, event.severity] += 1

    def show(self, watcher: Watcher, listener: Listener) -> None:
        """Serve the current state from now on."""
        self._text = render(watcher, listener, self.events)

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
