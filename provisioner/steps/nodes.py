"""Give the nodes their labels and taints, and wait until each is Ready."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from provisioner.changes import objects
from provisioner.errors import ClusterError
from provisioner.step import Change, Scope, Step

if TYPE_CHECKING:
    from provisioner.host import Host
    from provisioner.kube import Cluster
    from provisioner.objects import Object
    from provisioner.site import HostSpec, Site


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield labels, taints and readiness that are missing, node by node."""
    del host
    nodes = cluster.nodes()
    missing = [spec.name for spec in site.hosts if spec.name not in nodes]
    if missing:
        raise ClusterError(f"{', '.join(missing)}: not a node of the cluster", "provisioner apply --from join")
    for spec in site.hosts:
        # Server-side applied, so that a label taken out of hosts.toml goes (also the last one) and one set by others
        # stays.
        labels = {"name": spec.name, "labels": dict(spec.labels)}
        yield from objects(cluster, [{"apiVersion": "v1", "kind": "Node", "metadata": labels}])
        yield from _taints(cluster, spec, nodes[spec.name])
        if not ready(nodes[spec.name]):
            yield Change(f"wait for node {spec.name} to be Ready", _waiting(cluster, spec.name))


def ready(node: Object) -> bool:
    """Return whether the node's Ready condition is true."""
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in node.get("status", {}).get("conditions", [])
    )


def parse_taint(text: str) -> dict[str, str]:
    """Return {"key", "value", "effect"} of "key=value:Effect" or "key:Effect"."""
    body, effect = text.rsplit(":", 1)
    key, _, value = body.partition("=")
    return {"key": key, "value": value, "effect": effect} if value else {"key": key, "effect": effect}


def with_taints(have: list[dict[str, Any]], texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return the taints of a node with those of `texts` added; one of the same key and effect is replaced."""
    wanted = [parse_taint(text) for text in texts]
    places = {(taint["key"], taint["effect"]) for taint in wanted}
    kept = [taint for taint in have if (taint["key"], taint["effect"]) not in places]
    return [*kept, *wanted]


def _taints(cluster: Cluster, spec: HostSpec, node: Object) -> Iterator[Change]:
    have = {_identity(taint) for taint in node["spec"].get("taints") or []}
    missing = [text for text in spec.taints if _identity(parse_taint(text)) not in have]
    if missing:
        yield Change(
            f"taint {spec.name} with {', '.join(missing)}",
            lambda: _taint(cluster, spec.name, missing),
            "".join(f"+ taint {text}\n" for text in missing),
        )


def _identity(taint: Mapping[str, str]) -> tuple[str, str, str]:
    return taint["key"], taint.get("value", ""), taint["effect"]


def _taint(cluster: Cluster, name: str, texts: Sequence[str]) -> None:
    # The list is replaced as a whole, so it is read now: others (not-ready and the like) come and go meanwhile.
    node = cluster.get("Node", name) or {"spec": {}}
    cluster.merge("Node", name, {"spec": {"taints": with_taints(node["spec"].get("taints") or [], texts)}})


def _waiting(cluster: Cluster, name: str) -> Any:
    def look() -> bool:
        node = cluster.get("Node", name)
        return node is not None and ready(node)

    def why() -> str:
        node = cluster.get("Node", name) or {}
        conditions = node.get("status", {}).get("conditions", [])
        said = [f"{item['type']}={item['status']}: {item.get('message', '')}" for item in conditions]
        return "\n".join([*said, *cluster.events("default", name)[-5:]])

    return lambda: cluster.wait(f"node {name} to be Ready", look, 300, why)


STEP = Step(
    name="nodes",
    summary="labels, taints, and every node Ready",
    scope=Scope.CLUSTER,
    changes=changes,
    after=("control-plane", "network", "join", "pod-routes"),
)
