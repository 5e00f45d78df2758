"""Give the nodes their labels and taints, and wait until each is Ready."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from provisioner.engine import Change, Scope, Step
from provisioner.engine.changes import objects
from provisioner.errors import ClusterError
from provisioner.kube import Cluster, Object, kubeadm
from provisioner.site import HostSpec, Site
from provisioner.site.syntax import Taint, parse_taint
from provisioner.ssh import Host

NOTED = "provisioner/taints"  # the node's annotation that names the taints that we set, with commas between


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
        yield from _taints(cluster, site, spec, nodes[spec.name])
        if not ready(nodes[spec.name]):
            yield Change(f"wait for node {spec.name} to be Ready", _waiting(cluster, spec.name), waits=True)


def ready(node: Object) -> bool:
    """Return whether the node's Ready condition is true."""
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in node.get("status", {}).get("conditions", [])
    )


def with_taints(have: Iterable[Object], wanted: Collection[Taint], gone: Collection[Taint]) -> list[Object]:
    """Return a node's taints without those of `gone` and with those of `wanted`.

    A wanted one replaces the one of the same key and effect; all others stay as they are.
    """
    places = {(taint.key, taint.effect) for taint in wanted}
    kept = [one for one in have if (one["key"], one["effect"]) not in places and _read(one) not in gone]
    return [*kept, *({name: value for name, value in taint._asdict().items() if value} for taint in wanted)]


def _taints(cluster: Cluster, site: Site, spec: HostSpec, node: Object) -> Iterator[Change]:
    """Yield the change that sets what is missing and takes back what we set and hosts.toml names no longer.

    The roles decide about kubeadm's taint of a control plane: with "worker" among them it goes, else it comes back.
    """
    have = {_read(taint) for taint in node["spec"].get("taints") or ()}
    wanted, ours = spec.parsed_taints, _ours(node)
    missing = [taint for taint in wanted if taint not in have]
    gone = [taint for taint in ours if taint in have and taint not in wanted]
    if spec.is_control_plane:
        role = {Taint(key, "", "NoSchedule") for key in kubeadm.CONTROL_PLANE_KEYS} - set(wanted)
        if spec.is_worker:
            gone += sorted(role & have - set(gone))
        elif not role & have:
            missing.append(Taint(kubeadm.control_plane_taint(site), "", "NoSchedule"))
    parts = [f"taint {spec.name} with {', '.join(map(str, missing))}"] if missing else []
    parts += [f"take taint {', '.join(map(str, gone))} from {spec.name}"] if gone else []
    if parts:
        yield Change(
            "; ".join(parts),
            lambda: _taint(cluster, spec.name, missing, gone, [one for one in (*ours, *missing) if one in wanted]),
            "".join([*(f"- taint {taint}\n" for taint in gone), *(f"+ taint {taint}\n" for taint in missing)]),
        )


def _read(taint: Mapping[str, str]) -> Taint:
    return Taint(taint["key"], taint.get("value", ""), taint["effect"])


def _ours(node: Object) -> list[Taint]:
    """Return the taints that we set on the node; what somebody made of the annotation by hand is no taint of ours."""
    noted = (node["metadata"].get("annotations") or {}).get(NOTED, "")
    found = []
    for text in filter(None, noted.split(",")):
        try:
            found.append(parse_taint(text))
        except ValueError:
            continue
    return found


def _taint(
    cluster: Cluster, name: str, missing: Collection[Taint], gone: Collection[Taint], ours: Iterable[Taint]
) -> None:
    # The list is replaced as a whole, so it is read now: others (not-ready and the like) come and go meanwhile. What
    # is ours is noted in the same request, so that no kill can come between the two.
    node = cluster.get("Node", name) or {"spec": {}}
    patch = {
        "metadata": {"annotations": {NOTED: ",".join(map(str, ours)) or None}},
        "spec": {"taints": with_taints(node["spec"].get("taints") or (), missing, gone)},
    }
    cluster.merge("Node", name, patch)


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
