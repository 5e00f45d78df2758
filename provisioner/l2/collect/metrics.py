"""MetalLB's counters and logs.

Before 0.16 its pods serve metrics over HTTP (port 7472, named monitoring), fetched through the API's pod proxy; since
then over HTTPS (9120, metricshttps) with a token, fetched from the pod's node (metrics_token.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from provisioner.errors import ClusterError, HostError, ProvisionerError
from provisioner.kube import Object
from provisioner.l2.collect.api_reader import ApiReader
from provisioner.l2.collect.metrics_token import MetricsClient
from provisioner.l2.collect.speakers import argument, is_ready, is_terminating
from provisioner.l2.facts import Counters, Metrics, SpeakerLog

_LINE = re.compile(r"^(metallb_[a-z0-9_]+)(?:\{([^}]*)\})? (\S+)", re.MULTILINE)
_COUNTERS = {
    "metallb_layer2_requests_received": "requests_received",
    "metallb_layer2_responses_sent": "responses_sent",
    "metallb_layer2_gratuitous_sent": "gratuitous_sent",
}
_LOG_LINES = 500
_HEAD_BYTES = 65536
_STARTED = "speaker starting"
_RESPONDER = re.compile(r'"event": ?"(create|delete)ARPResponder", ?"interface": ?"([^"]+)"')


@dataclass(frozen=True)
class Sample:
    """The metrics of one MetalLB pod. node: where it runs; text: the metrics as received."""

    node: str
    speaker: bool
    text: str

    @property
    def counters(self) -> dict[str, Counters]:
        """Return the layer-2 counters by address. A missing address has never been counted."""
        found: dict[str, dict[str, int]] = {}
        for name, labels, value in _LINE.findall(self.text):
            ip = re.search(r'\bip="([^"]+)"', labels)
            if name in _COUNTERS and ip:
                found.setdefault(ip[1], {})[_COUNTERS[name]] = int(float(value))
        return {ip: Counters(**counted) for ip, counted in found.items()}

    def gauge(self, name: str) -> float | None:
        """Return a gauge without labels, None if it is not exposed."""
        return next((float(value) for found, _, value in _LINE.findall(self.text) if found == name), None)


def samples(
    reader: ApiReader,
    pods: Sequence[Object],
    version: str | None,
    down: frozenset[str],
    client: MetricsClient,
    *,
    speakers: bool,
) -> list[Sample]:
    """Fetch the metrics of all pods concurrently. down: nodes that are not ready, whose pods are skipped."""
    sources: dict[str, Callable[[], Sample]] = {}
    for pod in pods:
        node, name = pod["spec"].get("nodeName") or "", pod["metadata"]["name"]
        if is_terminating(pod):
            continue
        if not is_ready(pod) or node in down:
            reader.note(f"the metrics of {name}: unknown: it, or its node {node or '(none)'}, is not ready")
            continue
        ports = _ports(pod, version)
        if any(port.secure for port in ports) and reader.read("MetalLB's counters", client.token) is None:
            continue
        sources[f"the metrics of {name}"] = _fetching(reader, pod, Sample(node, speakers, ""), ports, client)
    return [sample for sample in reader.read_all(sources).values() if sample is not None]


def metrics(found: Sequence[Sample]) -> Metrics | None:
    """Return counters by node and address; None if no speaker could be read."""
    return {sample.node: sample.counters for sample in found if sample.speaker and sample.node} or None


def logs(reader: ApiReader, pods: Sequence[Object], down: frozenset[str]) -> Mapping[str, SpeakerLog] | None:
    """Read whether every speaker joined all others, from its last log lines; None if no log could be read."""
    sources = {
        f"the log of {pod['metadata']['name']}": _reading(reader, pod)
        for pod in pods
        if pod["spec"].get("nodeName") and pod["spec"]["nodeName"] not in down and not is_terminating(pod)
    }
    answers = [answer for answer in reader.read_all(sources).values() if answer is not None]
    return {
        node: SpeakerLog(partial_join=partial_join(text), interfaces=interfaces(head, text))
        for node, text, head in answers
    } or None


def partial_join(text: str) -> bool | None:
    """Return whether a speaker's last attempt to join the others was partial; None for an empty log.

    It retries each minute while one is missing (internal/speakerlist), so the last message counts, and a log without
    any means that none is missing.
    """
    words = re.findall(r"partial join|memberlist join succe", text)
    if words:
        return bool(words[-1] == "partial join")
    return False if text.strip() else None


def interfaces(head: str, tail: str) -> tuple[str, ...] | None:
    """Return the interfaces on which a speaker answers ARP requests, by its log; None if its beginning is lost.

    It logs one line when it begins and one when it ends (internal/layer2/announcer.go); it looks for new interfaces
    every ten seconds.
    """
    if _STARTED not in head:
        return None
    found: dict[str, None] = {}
    for event, name in _RESPONDER.findall(head + ("" if tail in head else tail)):
        if event == "create":
            found[name] = None
        else:
            found.pop(name, None)
    return tuple(found)


@dataclass(frozen=True)
class _MetricsPort:
    """A port where a pod may serve its metrics. secure: over HTTPS, with a token."""

    port: int
    secure: bool


def _fetching(
    reader: ApiReader, pod: Object, sample: Sample, ports: Sequence[_MetricsPort], client: MetricsClient
) -> Callable[[], Sample]:
    metadata = pod["metadata"]

    def fetch() -> Sample:
        failure: ProvisionerError | None = None
        for port in ports:
            path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}:{port.port}/proxy/metrics"
            try:
                answer: Any
                answer = client.metrics(pod, port.port) if port.secure else reader.cluster.raw(path, retry_for=0)
            except (ClusterError, HostError) as error:
                failure = failure or error
                continue
            if isinstance(answer, str) and "metallb_" in answer:
                return replace(sample, text=answer)
        raise failure or ClusterError("the answer is not MetalLB's metrics")

    return fetch


def _ports(pod: Object, version: str | None) -> list[_MetricsPort]:
    """Return the ports where a pod may serve its metrics, the likeliest first."""
    secure = version is not None and tuple(map(int, version.split("."))) >= (0, 16)
    found: dict[_MetricsPort, None] = {}
    # Of an FRR mode's pod only the speaker counts requests: frr-metrics serves BGP's under the same name.
    own = [each for each in pod["spec"]["containers"] if not each["name"].startswith(("frr", "reloader"))]
    for container in own:
        for port in container.get("ports") or ():
            if "metrics" in port.get("name", "") or port.get("name") == "monitoring":
                found[_MetricsPort(int(port["containerPort"]), "https" in port["name"])] = None
        if port := argument(container, "port"):
            found.setdefault(_MetricsPort(int(port), secure))
    return list(found) or [_MetricsPort(9120 if secure else 7472, secure)]


def _reading(reader: ApiReader, pod: Object) -> Callable[[], tuple[str, str, str]]:
    metadata, spec = pod["metadata"], pod["spec"]
    container = next((each["name"] for each in spec["containers"] if "speaker" in each["name"]), "")
    own = f"&container={container}" if container else ""

    def log(query: str) -> str:
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/log?{query}{own}"
        answer: Any = reader.cluster.raw(path, retry_for=0)
        # A log of one line of JSON comes back parsed.
        return answer if isinstance(answer, str) else json.dumps(answer)

    def read() -> tuple[str, str, str]:
        tail = log(f"tailLines={_LOG_LINES}")
        return spec["nodeName"], tail, tail if _STARTED in tail else log(f"limitBytes={_HEAD_BYTES}")

    return read
