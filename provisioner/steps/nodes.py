"""Set the nodes' labels and taints, and wait until each node is Ready."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from provisioner.engine import Change, Scope, Step
from provisioner.engine.changes import objects
from provisioner.errors import NotYet
from provisioner.kube import Cluster, Object, kubeadm
from provisioner.site import HostSpec, Site
from provisioner.site.syntax import Taint, parse_taint
from provisioner.ssh import Host
from provisioner.text import join_words

# kubeadm puts it on every control plane (cmd/kubeadm/app/phases/markcontrolplane); MetalLB honors it from 0.14.2 on.
EXCLUDE_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"
# Annotation of a node: the taints that this step set, comma-separated.
TAINTS_ANNOTATION = "provisioner/taints"


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the labels and taints that are missing, and the wait for readiness, node by node."""
    del host
    nodes = cluster.nodes()
    for spec in site.hosts:
        if spec.name not in nodes:
            continue
        # Server-side apply deletes labels that left hosts.toml, even the last one, and keeps those of others.
        labels = {"name": spec.name, "labels": dict(spec.labels)}
        yield from objects(cluster, [{"apiVersion": "v1", "kind": "Node", "metadata": labels}])
        yield from _announcing(cluster, spec, nodes[spec.name])
        yield from _taints(cluster, site, spec, nodes[spec.name])
        if not ready(nodes[spec.name]):
            yield Change(f"wait for node {spec.name} to be Ready", _waiting(cluster, spec.name), waits=True)
    missing = [spec.name for spec in site.hosts if spec.name not in nodes]
    if missing:
        raise NotYet(f"the cluster has no node {join_words(missing, 'or')}", "provisioner apply --from join")


def ready(node: Object) -> bool:
    """Return whether a node is Ready."""
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in node.get("status", {}).get("conditions", [])
    )


def with_taints(have: Iterable[Object], wanted: Collection[Taint], removed: Collection[Taint]) -> list[Object]:
    """Return a node's taints without `removed` and with `wanted`, which replace those of the same key and effect."""
    replaced = {(taint.key, taint.effect) for taint in wanted}
    kept = [one for one in have if (one["key"], one["effect"]) not in replaced and _parse(one) not in removed]
    return [*kept, *({name: value for name, value in taint._asdict().items() if value} for taint in wanted)]


def _announcing(cluster: Cluster, spec: HostSpec, node: Object) -> Iterator[Change]:
    """Yield the removal of the label by which kubeadm excludes a control plane from load balancers, and MetalLB too.

    Only where the host takes ordinary pods: its traffic has to reach them. One that hosts.toml sets itself stays.
    """
    labels = node["metadata"].get("labels") or {}
    if spec.is_control_plane and spec.is_worker and EXCLUDE_LABEL in labels and EXCLUDE_LABEL not in spec.labels:
        patch = {"metadata": {"labels": {EXCLUDE_LABEL: None}}}
        yield Change(
            f"remove label {EXCLUDE_LABEL} from {spec.name}, so that it announces external IPs",
            lambda: _merge(cluster, spec.name, patch),
            f"- label {EXCLUDE_LABEL}\n",
        )


def _merge(cluster: Cluster, name: str, patch: Mapping[str, Any]) -> None:
    cluster.merge("Node", name, patch)


def _taints(cluster: Cluster, site: Site, spec: HostSpec, node: Object) -> Iterator[Change]:
    """Yield the change that adds missing taints and removes those that this step set and hosts.toml no longer has.

    kubeadm's control-plane taint depends on the roles: it is removed if "worker" is among them, else restored.
    """
    have = {_parse(taint) for taint in node["spec"].get("taints") or ()}
    wanted, ours = spec.parsed_taints, _ours(node)
    missing = [taint for taint in wanted if taint not in have]
    obsolete = [taint for taint in ours if taint in have and taint not in wanted]
    if spec.is_control_plane:
        role = {Taint(key, "", "NoSchedule") for key in kubeadm.CONTROL_PLANE_KEYS} - set(wanted)
        if spec.is_worker:
            obsolete += sorted(role & have - set(obsolete))
        elif not role & have:
            missing.append(Taint(kubeadm.control_plane_taint(site), "", "NoSchedule"))
    parts = [f"taint {spec.name} with {', '.join(map(str, missing))}"] if missing else []
    parts += [f"remove taint {', '.join(map(str, obsolete))} from {spec.name}"] if obsolete else []
    if parts:
        yield Change(
            "; ".join(parts),
            lambda: _set_taints(
                cluster, spec.name, missing, obsolete, [one for one in (*ours, *missing) if one in wanted]
            ),
            "".join([*(f"- taint {taint}\n" for taint in obsolete), *(f"+ taint {taint}\n" for taint in missing)]),
        )


def _parse(taint: Mapping[str, str]) -> Taint:
    return Taint(taint["key"], taint.get("value", ""), taint["effect"])


def _ours(node: Object) -> list[Taint]:
    """Return the taints that this step set on the node, by its annotation; ignore what does not parse as a taint."""
    text = (node["metadata"].get("annotations") or {}).get(TAINTS_ANNOTATION, "")
    found = []
    for part in filter(None, text.split(",")):
        try:
            found.append(parse_taint(part))
        except ValueError:
            continue
    return found


def _set_taints(
    cluster: Cluster, name: str, missing: Collection[Taint], obsolete: Collection[Taint], ours: Iterable[Taint]
) -> None:
    # A merge patch replaces the whole list, so it is read again: other taints (not-ready) come and go. The annotation
    # is in the same request, so a kill cannot separate the two.
    node = cluster.get("Node", name) or {"spec": {}}
    patch = {
        "metadata": {"annotations": {TAINTS_ANNOTATION: ",".join(map(str, ours)) or None}},
        "spec": {"taints": with_taints(node["spec"].get("taints") or (), missing, obsolete)},
    }
    cluster.merge("Node", name, patch)


def _waiting(cluster: Cluster, name: str) -> Any:
    def is_ready() -> bool:
        node = cluster.get("Node", name)
        return node is not None and ready(node)

    def why() -> str:
        node = cluster.get("Node", name) or {}
        conditions = node.get("status", {}).get("conditions", [])
        lines = [f"{item['type']}={item['status']}: {item.get('message', '')}" for item in conditions]
        return "\n".join([*lines, *cluster.events("default", name)[-5:]])

    return lambda: cluster.wait(f"node {name} to be Ready", is_ready, 300, why)


STEP = Step(
    name="nodes",
    summary="labels, taints, and every node Ready",
    scope=Scope.CLUSTER,
    changes=changes,
    after=("control-plane", "network", "join", "pod-routes"),
)
