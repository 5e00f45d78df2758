"""What MetalLB's programs count and log.

Before 0.16 they serve their metrics by HTTP (port 7472, named monitoring), fetched through the API's pod proxy; since
then by HTTPS (9120, metricshttps) and to bearers of a token alone, fetched from the pod's own node (bearer.py).
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


@dataclass(frozen=True)
class Sample:
    """What one program of MetalLB shows. node: where it runs; text: its metrics as they came."""

    node: str
    speaker: bool
    text: str

    @property
    def counters(self) -> dict[str, Counters]:
        """Return the layer-2 counters by address. An address that is not there has never been counted."""
        found: dict[str, dict[str, int]] = {}
        for name, labels, value in _LINE.findall(self.text):
            ip = re.search(r'\bip="([^"]+)"', labels)
            if name in _COUNTERS and ip:
                found.setdefault(ip[1], {})[_COUNTERS[name]] = int(float(value))
        return {ip: Counters(**counted) for ip, counted in found.items()}

    def gauge(self, name: str) -> float | None:
        """Return a gauge without labels, None where it is not shown."""
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
    """Fetch the metrics of all pods at once. down: nodes that are not ready, whose pods are not asked."""
    questions: dict[str, Callable[[], Sample]] = {}
    for pod in pods:
        node, name = pod["spec"].get("nodeName") or "", pod["metadata"]["name"]
        if is_terminating(pod):
            continue
        if not is_ready(pod) or node in down:
            reader.note(f"{name} is not asked for its metrics: it, or its node {node or '(none)'}, is not ready")
            continue
        places = _places(pod, version)
        if any(place.secure for place in places) and reader.ask("MetalLB's counters", client.token) is None:
            continue
        questions[f"the metrics of {name}"] = _fetching(reader, pod, Sample(node, speakers, ""), places, client)
    return [sample for sample in reader.ask_all(questions).values() if sample is not None]


def metrics(found: Sequence[Sample]) -> Metrics | None:
    """Return counters by node and address; None where no speaker could be asked."""
    return {sample.node: sample.counters for sample in found if sample.speaker and sample.node} or None


def logs(reader: ApiReader, pods: Sequence[Object], down: frozenset[str]) -> Mapping[str, SpeakerLog] | None:
    """Read every speaker's last log lines for how its joining of the others ended; None where none could be read."""
    questions = {
        f"the log of {pod['metadata']['name']}": _reading(reader, pod)
        for pod in pods
        if pod["spec"].get("nodeName") and pod["spec"]["nodeName"] not in down and not is_terminating(pod)
    }
    answers = [answer for answer in reader.ask_all(questions).values() if answer is not None]
    return {node: SpeakerLog(partial_join=partial_join(text)) for node, text in answers} or None


def partial_join(text: str) -> bool | None:
    """Tell whether a speaker's last attempt to join the others was a partial one.

    It tries again each minute while one is missing (internal/speakerlist), so the last word counts, and a log
    without any means that none is missing. None: an empty log.
    """
    words = re.findall(r"partial join|memberlist join succe", text)
    if words:
        return bool(words[-1] == "partial join")
    return False if text.strip() else None


@dataclass(frozen=True)
class _Place:
    """Where a pod may serve its metrics. secure: by HTTPS, to bearers of a token."""

    port: int
    secure: bool


def _fetching(
    reader: ApiReader, pod: Object, who: Sample, places: Sequence[_Place], client: MetricsClient
) -> Callable[[], Sample]:
    metadata = pod["metadata"]

    def fetch() -> Sample:
        refused: ProvisionerError | None = None
        for place in places:
            path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}:{place.port}/proxy/metrics"
            try:
                answer: Any
                answer = client.metrics(pod, place.port) if place.secure else reader.cluster.raw(path, patience=0)
            except (ClusterError, HostError) as error:
                refused = refused or error
                continue
            if isinstance(answer, str) and "metallb_" in answer:
                return replace(who, text=answer)
        raise refused or ClusterError("what answers there is not MetalLB's metrics")

    return fetch


def _places(pod: Object, version: str | None) -> list[_Place]:
    """Return where a pod may serve its metrics, the likeliest first."""
    secure = version is not None and tuple(map(int, version.split("."))) >= (0, 16)
    found: dict[_Place, None] = {}
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or ():
            if "metrics" in port.get("name", "") or port.get("name") == "monitoring":
                found[_Place(int(port["containerPort"]), "https" in port["name"])] = None
        if port := argument(container, "port"):
            found.setdefault(_Place(int(port), secure))
    return list(found) or [_Place(9120 if secure else 7472, secure)]


def _reading(reader: ApiReader, pod: Object) -> Callable[[], tuple[str, str]]:
    metadata, spec = pod["metadata"], pod["spec"]
    container = next((each["name"] for each in spec["containers"] if "speaker" in each["name"]), "")
    query = f"tailLines={_LOG_LINES}" + (f"&container={container}" if container else "")

    def read() -> tuple[str, str]:
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/log?{query}"
        answer: Any = reader.cluster.raw(path, patience=0)
        # A log of one line of JSON comes back parsed.
        return spec["nodeName"], answer if isinstance(answer, str) else json.dumps(answer)

    return read
