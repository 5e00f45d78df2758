"""Take a machine out of its cluster: `kubeadm reset`, and the parts of the pod network that it leaves to others.

Packages, images and the NFS export stay, and so does every rule of the packet filter that is not the cluster's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from provisioner.engine import Change, Scope, Step
from provisioner.errors import HostError
from provisioner.kube import Cluster, kubeadm_state
from provisioner.site import Site
from provisioner.ssh import FactQuery, Host, jobs
from provisioner.steps import flannel, pod_routes

# What a node has and a machine has not; one of them is enough.
TRACES = (
    kubeadm_state.INIT_STARTED,
    kubeadm_state.JOIN_STARTED,
    kubeadm_state.KUBELET_CONF,
    kubeadm_state.BOOTSTRAP_CONF,
    kubeadm_state.ADMIN_CONF,
    kubeadm_state.CA,
    kubeadm_state.ETCD,
    pod_routes.CNI,
    flannel.CNI,
    pod_routes.UNIT_FILE,
    pod_routes.SCRIPT,
)
# Links of the CNI plugins, flannel and kube-proxy; chains of these, the kubelet and the bridge step, by their names.
LINKS = ("cni0", "flannel.1", "kube-ipvs0")
CHAINS = "KUBE-|FLANNEL-|CNI-|PROVISIONER-MASQ"


def step(
    names: Collection[str], name: str = "leave", after: tuple[str, ...] = (), together: Collection[str] = ()
) -> Step:
    """Return the step for these hosts; `name` tells apart those of a run that has several.

    together: all hosts that leave in the same run, where these are some of them.
    """
    return Step(
        name=name,
        summary="kubeadm reset: no longer a node",
        scope=Scope.ALL,
        changes=lambda host, cluster, site: changes(host, cluster, site, together or names),
        query=lambda site: FactQuery(exists=TRACES),
        after=after,
        only_on=tuple(names),
    )


def changes(host: Host, cluster: Cluster, site: Site, names: Collection[str]) -> Iterator[Change]:
    """Yield the reset of a host that has anything of a node. Raises HostError where it would orphan others."""
    if not any(kubeadm_state.exists(host, path) for path in TRACES):
        return
    _refuse_to_orphan(host, site, names)
    yield Change(
        "kubeadm reset: end its pods, take away its certificates"
        + (", etcd's data" if host.spec.is_control_plane else "")
        + " and its pod network",
        lambda: _reset(host, cluster, site),
    )


def script(pod_cidr: str) -> str:
    """Return the shell commands, each fine where there is nothing to do.

    kubeadm first: it ends the pods, which takes the CNI configuration. Source of what it leaves: its own last words
    (cmd/kubeadm/app/cmd/reset.go): CNI configuration, packet filter rules, kubeconfig files.
    """
    return (
        f"{kubeadm_state.RESET}"
        f"systemctl disable --now {pod_routes.UNIT} 2>/dev/null || true\n"
        f"rm -f {pod_routes.UNIT_FILE} {pod_routes.SCRIPT} {pod_routes.CNI} {flannel.CNI}\n"
        "systemctl daemon-reload\n"
        "rm -rf /run/flannel /var/lib/cni/networks /var/lib/cni/flannel\n"
        f"{network_script(pod_cidr)}"
        f"rm -f {kubeadm_state.INIT_STARTED} {kubeadm_state.JOIN_STARTED}\n"
    )


def network_script(pod_cidr: str) -> str:
    """Return the part of it about links, routes and packet filter: the cluster's go, all others stay."""
    return (
        f"for link in {' '.join(LINKS)}; do\n"
        '  if ip link show "$link" >/dev/null 2>&1; then ip link delete "$link"; fi\n'
        "done\n"
        f"ip route flush root {pod_cidr}\n"
        "for family in iptables ip6tables; do\n"
        '  command -v "$family-save" >/dev/null || continue\n'
        '  rules=$("$family-save")\n'
        f"  if printf '%s\\n' \"$rules\" | grep -qE '{CHAINS}'; then\n"
        f"    printf '%s\\n' \"$rules\" | grep -vE '{CHAINS}' | \"$family-restore\"\n"
        "  fi\n"
        "done\n"
        "if command -v nft >/dev/null; then\n"
        "  for family in ip ip6; do nft delete table $family kube-proxy 2>/dev/null || true; done\n"
        "fi\n"
    )


def _reset(host: Host, cluster: Cluster, site: Site) -> None:
    # A pod with a volume from a server that is gone takes its time.
    jobs.run(host, "kubeadm-reset", script(site.cluster.pod_cidr), timeout=600)
    if host.spec.is_control_plane:
        cluster.forget()


def _refuse_to_orphan(host: Host, site: Site, names: Collection[str]) -> None:
    """Raise where the last control plane would go while other hosts are nodes of it and stay."""
    if not {spec.name for spec in site.control_planes} <= set(names):
        return
    known = host.reachable_facts()
    stay = [
        spec.name
        for spec in site.hosts
        if spec.name not in names and spec.name in known and known[spec.name].files[kubeadm_state.KUBELET_CONF].exists
    ]
    if stay and host.spec.is_control_plane:
        raise HostError(
            host.name,
            f"is the last control plane, and {', '.join(stay)} {'is' if len(stay) == 1 else 'are'} still a node of it",
            f"provisioner reset takes all hosts out, provisioner reset --limit {','.join([*names, *stay])} these",
        )
