"""Prove, before kubeadm runs, that packets for the ports that hosts need of each other get through (reachability)."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner import reach
from provisioner.engine import Change, Scope, Step
from provisioner.errors import HostError
from provisioner.kube import Cluster
from provisioner.kube.kubeadm_state import KUBELET_CONF
from provisioner.site import Site
from provisioner.ssh import FactQuery, Host
from provisioner.steps.flannel import one_segment

REMEDY = "fix this, then run provisioner plan (nothing was changed)"


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield nothing. Raises one HostError with all that is in the way; once every host is a node, verify looks."""
    del cluster
    facts = host.reachable_facts()
    nodes = [name for name, each in facts.items() if each.files[KUBELET_CONF].exists]
    hosts = {name: host.fleet[name] for name in facts}
    if len(nodes) == len(facts):
        return
    vxlan = site.cluster.network == "flannel" and not one_segment(host)
    probed = reach.probe(reach.Needs(site, vxlan), hosts, nodes)
    for name, why in probed.not_tried.items():
        host.report.emit("note", f"{name}: its ports were not tried: {why}", host=name)
    if found := reach.obstacles(site, hosts, probed):
        sentences = [f"{each.host} {each.detail}; {each.remedy}" for each in found]
        raise HostError(found[0].host, "; ".join([sentences[0].partition(" ")[2], *sentences[1:]]), REMEDY)
    yield from ()


STEP = Step(
    name="reachability",
    summary="ports, packet size and losses between the hosts",
    scope=Scope.CLUSTER,
    changes=changes,
    query=lambda site: FactQuery(exists=(KUBELET_CONF,)),
    reads_only=True,
)
