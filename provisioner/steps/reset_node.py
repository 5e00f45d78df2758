"""Reset a node: `kubeadm reset`, then the pod network and packet filter rules that kubeadm leaves behind.

Packages, images and the NFS export stay, and so do packet filter rules that are not the cluster's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from provisioner.engine import Change, Scope, Step
from provisioner.errors import HostError
from provisioner.kube import Cluster, kubeadm_drift, kubeadm_state
from provisioner.site import Site
from provisioner.ssh import FactQuery, Host, jobs
from provisioner.steps import flannel, pod_routes, vip
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
    vip.DROP_IN,
)
# Links of the CNI plugins, flannel and kube-proxy; chains of these, the kubelet and the step pod-routes.
LINKS = ("cni0", "flannel.1", "kube-ipvs0")
CHAINS = "KUBE-|FLANNEL-|CNI-|PROVISIONER-MASQ$"
# keepalived stays installed, as all packages do; its configuration is ours where the drop-in is.
RELEASE = (
    f"if [ -e {vip.DROP_IN} ]; then\n"
    f"  systemctl disable --quiet --now {vip.UNIT} || true\n"
    f"  rm -f {vip.CONFIG} {vip.DROP_IN}\n"
    "  systemctl daemon-reload\n"
    "fi\n"
)
# Drop a line of iptables-save that defines or fills such a chain, or jumps to one. Comments, in quotes if they contain
# more than a word, may say anything.
_OTHERS = (
    'awk \'{ bare = $0; gsub(/"([^"\\\\]|\\\\.)*"/, "", bare); drop = 0; count = split(bare, word, " ")\n'
    f'  name = "^({CHAINS})"\n'
    '  if (substr(bare, 1, 1) == ":") drop = (substr(word[1], 2) ~ name)\n'
    '  if (word[1] == "-A") drop = (word[2] ~ name)\n'
    '  for (i = 3; i < count; i++) if ((word[i] == "-j" || word[i] == "-g") && word[i + 1] ~ name) drop = 1\n'
    "  if (!drop) print }'"
)


def step(
    names: Collection[str],
    name: str = "leave",
    after: tuple[str, ...] = (),
    removed: Collection[str] = (),
    *,
    other_cluster: bool = False,
) -> Step:
    """Return the step for these hosts; `name` distinguishes several in one run.

    removed: all hosts that this run resets, if `names` are only some of them. other_cluster: also reset a host that is
    a node of another cluster.
    """
    return Step(
        name=name,
        summary="no longer a node (kubeadm reset)",
        scope=Scope.ALL,
        changes=lambda host, cluster, site: changes(
            host, cluster, site, removed or names, other_cluster=other_cluster
        ),
        query=lambda site: FactQuery(files=(kubeadm_state.CA,), exists=TRACES),
        undone_by=after,
        only_on=tuple(names),
    )


def changes(
    host: Host, cluster: Cluster, site: Site, names: Collection[str], *, other_cluster: bool = False
) -> Iterator[Change]:
    """Yield the reset of a host that has any trace of a node. Raises HostError if it would orphan other nodes."""
    if not any(kubeadm_state.exists(host, path) for path in TRACES):
        return
    _refuse_to_orphan(host, site, names)
    if not other_cluster:
        _refuse_other_cluster(host, cluster, site)
    yield Change(
        "kubeadm reset: delete pods, certificates"
        + (", etcd's data" if host.spec.is_control_plane else "")
        + " and the pod network",
        lambda: _reset(host, cluster, site, last=_is_last(host, site, names)),
    )


def script(pod_cidr: str, gateways: Collection[str], *, last: bool = False) -> str:
    """Return the shell commands; each succeeds if there is nothing to do. last: of the control planes.

    kubeadm comes first, since it needs the CNI configuration to terminate the pods. By its own last message
    (cmd/kubeadm/app/cmd/reset.go) it leaves CNI configuration, packet filter rules and kubeconfig files. It also needs
    the API, so a vip goes to another control plane before, and from the last one after it.
    """
    before, after = ("", RELEASE) if last else (RELEASE, "")
    return (
        f"{before}{kubeadm_state.RESET}{after}"
        f"systemctl disable --now {pod_routes.UNIT} 2>/dev/null || true\n"
        f"rm -f {pod_routes.UNIT_FILE} {pod_routes.SCRIPT} {pod_routes.CNI} {flannel.CNI}\n"
        "systemctl daemon-reload\n"
        "rm -rf /run/flannel /var/lib/cni/networks /var/lib/cni/flannel\n"
        f"{network_script(pod_cidr, gateways)}"
        f"rm -f {kubeadm_state.INIT_STARTED} {kubeadm_state.JOIN_STARTED}\n"
    )


def network_script(pod_cidr: str, gateways: Collection[str]) -> str:
    """Return the part that deletes the cluster's links, routes and packet filter rules, and no others.

    gateways: the addresses of the hosts. A route to pods leads to one of them, or through a link that is deleted; any
    other route in the pod network is the operator's.
    """
    return (
        f"for link in {' '.join(LINKS)}; do\n"
        '  if ip link show "$link" >/dev/null 2>&1; then ip link delete "$link"; fi\n'
        "done\n"
        f"for gateway in {' '.join(gateways)}; do\n"
        f'  ip route flush root {pod_cidr} via "$gateway"\n'
        "done\n"
        "for family in iptables ip6tables; do\n"
        '  command -v "$family-save" >/dev/null || continue\n'
        '  rules=$("$family-save")\n'
        f"  others=$(printf '%s\\n' \"$rules\" | {_OTHERS})\n"
        '  if [ "$others" != "$rules" ]; then printf \'%s\\n\' "$others" | "$family-restore"; fi\n'
        "done\n"
        "if command -v nft >/dev/null; then\n"
        "  for family in ip ip6; do nft delete table $family kube-proxy 2>/dev/null || true; done\n"
        "fi\n"
    )


def _reset(host: Host, cluster: Cluster, site: Site, *, last: bool) -> None:
    commands = script(site.cluster.pod_cidr, [spec.address for spec in site.hosts], last=last)
    # A pod with a volume on a dead NFS server takes minutes to terminate.
    jobs.run(host, "kubeadm-reset", commands, timeout=600)
    if host.spec.is_control_plane:
        cluster.disconnect()


def _is_last(host: Host, site: Site, names: Collection[str]) -> bool:
    """Return whether a run that resets `names` leaves no other control plane: the first one comes last."""
    return host.name == site.first.name and {spec.name for spec in site.control_planes} <= set(names)


def _refuse_other_cluster(host: Host, cluster: Cluster, site: Site) -> None:
    """Raise HostError if the host is a node of a cluster that hosts.toml does not describe: another CA or name."""
    flag = f"provisioner reset --limit {host.name} --other-cluster"
    own = host.facts.files[kubeadm_state.CA].content
    first = host.fleet.get(site.first.name)
    if own and first is not None and first is not host and site.first.name in host.reachable_facts():
        its = first.facts.files[kubeadm_state.CA].content
        if its and its.strip() != own.strip():
            raise HostError(
                host.name,
                f"is a node of another cluster than {site.first.name} (its CA differs); nothing was changed",
                f"if hosts.toml is right and you do not need that cluster: {flag}",
            )
    name = kubeadm_drift.cluster_name(cluster) if own else ""
    if name and name != site.cluster.name:
        raise HostError(
            host.name,
            f'the cluster is named "{name}", but "{site.cluster.name}" in hosts.toml; nothing was changed',
            f"use the hosts.toml of that cluster; if you do not need it: {flag}",
        )


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
