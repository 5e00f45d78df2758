"""Reset a node: `kubeadm reset`, then the pod network and packet filter rules that kubeadm leaves behind.

Packages, images and the NFS export stay, and so do packet filter rules that are not the cluster's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from provisioner.engine import Change, Scope, Step
from provisioner.errors import HostError
from provisioner.kube import Cluster, kubeadm_state
from provisioner.site import Site
from provisioner.ssh import FactQuery, Host, jobs
from provisioner.steps import flannel, pod_routes
from provisioner.text import join_words

# One of these is enough to call a machine a node.
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
# Links of the CNI plugins, flannel and kube-proxy; chains of these, the kubelet and the step pod-routes.
LINKS = ("cni0", "flannel.1", "kube-ipvs0")
CHAINS = "KUBE-|FLANNEL-|CNI-|PROVISIONER-MASQ"


def step(
    names: Collection[str], name: str = "leave", after: tuple[str, ...] = (), removed: Collection[str] = ()
) -> Step:
    """Return the step for these hosts; `name` distinguishes several in one run.

    removed: all hosts that this run resets, if `names` are only some of them.
    """
    return Step(
        name=name,
        summary="no longer a node (kubeadm reset)",
        scope=Scope.ALL,
        changes=lambda host, cluster, site: changes(host, cluster, site, removed or names),
        query=lambda site: FactQuery(exists=TRACES),
        after=after,
        only_on=tuple(names),
    )


def changes(host: Host, cluster: Cluster, site: Site, names: Collection[str]) -> Iterator[Change]:
    """Yield the reset of a host that has any trace of a node. Raises HostError if it would orphan other nodes."""
    if not any(kubeadm_state.exists(host, path) for path in TRACES):
        return
    _refuse_to_orphan(host, site, names)
    yield Change(
        "kubeadm reset: delete pods, certificates"
        + (", etcd's data" if host.spec.is_control_plane else "")
        + " and the pod network",
        lambda: _reset(host, cluster, site),
    )


def script(pod_cidr: str) -> str:
    """Return the shell commands; each succeeds if there is nothing to do.

    kubeadm comes first, since it needs the CNI configuration to terminate the pods. By its own last message
    (cmd/kubeadm/app/cmd/reset.go) it leaves CNI configuration, packet filter rules and kubeconfig files.
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
    """Return the part that deletes the cluster's links, routes and packet filter rules, and no others."""
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
    # A pod with a volume on a dead NFS server takes minutes to terminate.
    jobs.run(host, "kubeadm-reset", script(site.cluster.pod_cidr), timeout=600)
    if host.spec.is_control_plane:
        cluster.disconnect()


def _refuse_to_orphan(host: Host, site: Site, names: Collection[str]) -> None:
    """Raise HostError if the last control plane would be reset while hosts that stay are its nodes."""
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
            f"is the last control plane, and {join_words(stay)} {'is' if len(stay) == 1 else 'are'} still part of it",
            f"provisioner reset --limit {','.join([*names, *stay])} resets those too, provisioner reset all hosts",
        )
