"""The nodes get through to each other's ports and pod networks, with packets of full size and without losses."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner import reach
from provisioner.checks.check import Check, Context, Finding, failed, passed, skipped
from provisioner.errors import Unreachable
from provisioner.ssh import HostFacts
from provisioner.steps import one_segment
from provisioner.text import join_words, pluralize

_POD_NICS = ("flannel.1", "cni0")  # of flannel's VXLAN, and the bridge of the node's pods


def run(context: Context) -> Iterator[Finding]:
    """Yield a finding for each obstacle between the nodes, and one for what gets through.

    Of a port on which something listens already, that is what answers: UDP 7946 is then not tried, nor 8472, for which
    the pod network itself is.
    """
    site = context.site
    facts: dict[str, HostFacts] = {}
    for name, host in context.hosts.items():
        try:
            facts[name] = host.facts
        except Unreachable as error:
            yield skipped(name, f"its ports were not tried: {error.message}")
    if not facts:
        return
    hosts = {name: context.hosts[name] for name in facts}
    vxlan = site.cluster.network == "flannel" and not one_segment(next(iter(hosts.values())))
    probed = reach.probe(reach.Needs(site, vxlan), hosts, list(hosts), _overlay(facts))
    for name, why in probed.not_tried.items():
        yield skipped(name, f"its ports were not tried: {why}")
    found = reach.obstacles(site, hosts, probed)
    for each in found:
        yield failed(each.code, each.host, each.detail, each.remedy)
    if not found and probed.tried:
        names = join_words(hosts) if len(hosts) < 5 else pluralize(len(hosts), "host")
        yield passed(
            "PORTS_OPEN", names, f"get through to each other's ports ({probed.tried} tried) with packets of full size"
        )


def _overlay(facts: dict[str, HostFacts]) -> list[reach.Overlay]:
    """Return the address of each node in the pod network, where it has one."""
    found = []
    for name, each in facts.items():
        nics = [nic for nic in map(each.nic, _POD_NICS) if nic is not None and nic.up and nic.addresses]
        for nic in nics[:1]:
            found.append(reach.Overlay(name, nic.addresses[0].partition("/")[0], nic.mtu))
    return found


CHECK = Check(
    "reachability",
    "The hosts get through to each other's ports, with packets of full size and without losses.",
    run,
    reads_only=True,
    without_api=True,
)
