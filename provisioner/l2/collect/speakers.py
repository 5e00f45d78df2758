"""MetalLB's pods in the API: version, flags, and the state of the speaker on each node.

Manifests label them app=metallb, charts app.kubernetes.io/name=metallb; arguments override the environment, as in
MetalLB's main.go. Memberlist depends on its bind address and labels (internal/speakerlist), not on its key. No value
of an environment variable leaves this module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from provisioner.kube import Object
from provisioner.l2.facts import MetalLB

NAMESPACE = "metallb-system"
T = TypeVar("T")
SpeakerState = Literal["ready", "missing", "failing"]


@dataclass(frozen=True)
class Components:
    """MetalLB in the cluster. templates: its DaemonSets' pod templates; None: could not be read.

    wanted: how many nodes its DaemonSets should run a speaker on; None: unknown.
    """

    namespace: str
    speakers: tuple[Object, ...] | None
    controllers: tuple[Object, ...] | None
    templates: tuple[Object, ...] | None
    wanted: int | None = None


UNKNOWN = Components(NAMESPACE, None, None, None)


def components(pods: Sequence[Object] | None, daemon_sets: Sequence[Object] | None) -> Components:
    """Find MetalLB's pods among all pods, and the speakers' DaemonSets."""
    by = is_part if any(is_part(item, "speaker") for item in (*(pods or ()), *(daemon_sets or ()))) else has_image
    speakers = None if pods is None else tuple(pod for pod in pods if by(pod, "speaker"))
    controllers = None if pods is None else tuple(pod for pod in pods if by(pod, "controller"))
    owners = None if daemon_sets is None else tuple(item for item in daemon_sets if by(item, "speaker"))
    found = [*(speakers or ()), *(owners or ()), *(controllers or ())]
    return Components(
        namespace=found[0]["metadata"]["namespace"] if found else NAMESPACE,
        speakers=speakers,
        controllers=controllers,
        templates=None if owners is None else tuple(item["spec"]["template"] for item in owners),
        wanted=_wanted(owners or ()),
    )


def _wanted(daemon_sets: Sequence[Object]) -> int | None:
    """Return how many pods the DaemonSets should have; nodes that they do not select do not count."""
    numbers = [(item.get("status") or {}).get("desiredNumberScheduled") for item in daemon_sets]
    known = [number for number in numbers if number is not None]
    return sum(known) if known and len(known) == len(numbers) else None


def is_part(item: Object, component: str) -> bool:
    """Return whether an object is labeled as MetalLB's speaker or controller."""
    labels = item["metadata"].get("labels") or {}
    name = labels.get("app.kubernetes.io/name") or labels.get("app") or ""
    return name == "metallb" and component in (labels.get("app.kubernetes.io/component"), labels.get("component"))


def has_image(item: Object, component: str) -> bool:
    """Return whether a pod or DaemonSet runs an image of MetalLB's, whatever its labels are.

    A chart may be renamed (nameOverride), and distributions mirror the images: rancher/mirrored-metallb-speaker.
    """
    spec = item["spec"].get("template", item)["spec"]
    images = [container.get("image", "") for container in spec.get("containers") or ()]
    return any(re.search(rf"metallb[-/]{component}(?=$|[:@])", image) for image in images)


def metallb(found: Components, note: Callable[[str], None]) -> MetalLB:
    """Return what the pods' specs reveal; anything they differ in, or omit, stays unknown."""
    staying = [pod for pod in found.speakers or () if not is_terminating(pod)]
    specs = [item["spec"] for item in staying or found.templates or ()]
    containers = [container for spec in specs if (container := speaker_container(spec)) is not None]
    versions = {tag for container in containers if (tag := version_of(container.get("image", "")))}
    if len(versions) > 1:
        note(f"the speakers run several versions ({', '.join(sorted(versions))}), so MetalLB's version is unknown")
    elif containers and not versions:
        note("the speakers' image tag has no version, so MetalLB's version is unknown")
    return MetalLB(
        version=versions.pop() if len(versions) == 1 else None,
        namespace=found.namespace,
        memberlist=_agreed(_memberlist(container) for container in containers),
        ignore_exclude_lb=_agreed(_flag(container, "ignore-exclude-lb") for container in containers),
        load_balancer_class=_agreed(argument(container, "lb-class") or "" for container in containers),
        speakers_wanted=found.wanted,
        component_label=_component_label([*(found.speakers or ()), *(found.controllers or ())]),
    )


def _component_label(pods: Sequence[Object]) -> Literal["component", "app.kubernetes.io/component"]:
    """Return the label by which kubectl finds MetalLB's pods."""
    labels = [pod["metadata"].get("labels") or {} for pod in pods]
    charts = bool(labels) and all("app.kubernetes.io/component" in own for own in labels)
    return "app.kubernetes.io/component" if charts else "component"


def speaker_state(found: Components, node: str) -> SpeakerState | None:
    """Return the state of a node's speaker: the best of its pods, since a rollout has two for a moment."""
    if found.speakers is None:
        return None
    here = [pod for pod in found.speakers if node_of(pod) == node]
    if not here:
        return "missing"
    return "ready" if any(is_ready(pod) for pod in here) else "failing"


def node_of(pod: Object) -> str:
    """Return a pod's node, or the one it is meant for: a pending DaemonSet pod names it only in its affinity."""
    spec = pod["spec"]
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    terms = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms") or ()
    fields = [field for term in terms for field in term.get("matchFields") or () if field["key"] == "metadata.name"]
    meant = next((field["values"][0] for field in fields if field.get("values")), "")
    return str(spec.get("nodeName") or meant)


def is_ready(pod: Object) -> bool:
    """Return whether a pod has the condition Ready and is not terminating."""
    if is_terminating(pod):
        return False
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def is_terminating(pod: Object) -> bool:
    """Return whether a pod is being deleted."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def speaker_container(spec: Mapping[str, Any]) -> Object | None:
    """Return the speaker container of a pod spec, not FRR's or a proxy's."""
    containers: list[Object] = spec.get("containers") or []
    for container in containers:
        if container["name"] in ("speaker", "metallb-speaker"):
            return container
    return next((container for container in containers if "speaker" in container.get("image", "")), None)


def version_of(image: str) -> str:
    """Return the version in an image's tag, "" if there is none.

    >>> version_of("quay.io/metallb/speaker:v0.16.1@sha256:00")
    '0.16.1'
    """
    found = re.search(r":v?(\d{1,5}\.\d{1,5}\.\d{1,5})(?=$|[-@+])", image)
    return found[1] if found else ""


def argument(container: Mapping[str, Any], name: str, variable: str = "") -> str | None:
    """Return a Go program's flag, "--name=value" or "--name value", else its variable; None if neither is set.

    A variable with a value from elsewhere (a field, a Secret) is "…": set, but not read.
    """
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    for place, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag in (f"--{name}", f"-{name}"):
            following = words[place + 1] if place + 1 < len(words) else ""
            return value if equals else "" if following.startswith("-") else following
    for entry in container.get("env") or ():
        if variable and entry["name"] == variable:
            return "…" if entry.get("valueFrom") else entry.get("value") or ""
    return None


def _memberlist(container: Mapping[str, Any]) -> bool | None:
    """Return whether a speaker joins memberlist: it needs both a bind address and the other speakers' labels."""
    if container.get("envFrom"):
        return None
    bind = argument(container, "ml-bindaddr", "METALLB_ML_BIND_ADDR")
    return bool(bind and argument(container, "ml-labels", "METALLB_ML_LABELS"))


def _flag(container: Mapping[str, Any], name: str) -> bool:
    value = argument(container, name)
    return value is not None and value.lower() not in ("false", "f", "0")  # Go's strconv.ParseBool


def _agreed(values: Iterable[T | None]) -> T | None:
    """Return the value that all agree on; None if they differ, if it is unknown, or if there are none."""
    given = set(values)
    return given.pop() if len(given) == 1 else None
