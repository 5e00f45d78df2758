"""Create the first control plane with `kubeadm init`; clean up after an interrupted one first."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from provisioner.engine import Change, Scope, Step
from provisioner.errors import ApiForbidden, ClusterError, HostError
from provisioner.kube import ApiState, Cluster, kubeadm, kubeadm_drift, kubeadm_state
from provisioner.site import Site
from provisioner.site import hardening as site_hardening
from provisioner.ssh import FactQuery, Host
from provisioner.steps import hardening, kernel_settings, kubeadm_files
from provisioner.text import join_words

CONFIG = f"{kubeadm_state.DIRECTORY}/kubeadm-init.yaml"


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield `kubeadm init` if there is no control plane, preceded by a reset if there is half of one."""
    interrupted = kubeadm_state.exists(host, kubeadm_state.INIT_STARTED)
    has_config = kubeadm_state.exists(host, kubeadm_state.ADMIN_CONF)
    if interrupted:
        if _finished(host, cluster):
            yield Change(
                "record that kubeadm init has finished", lambda: kubeadm_state.unmark(host, kubeadm_state.INIT_STARTED)
            )
            return
        _refuse_where_others_joined(host)
        yield Change(
            "clean up after an interrupted kubeadm init",
            lambda: kubeadm_state.reset(host, kubeadm_state.INIT_STARTED),
        )
    elif has_config:
        if cluster.state() is not ApiState.READY and kubeadm_files.is_node(host):
            mends = list(kubeadm_files.mends(host, cluster, hardening.in_force(host, cluster, site)))
            yield from mends
            if not all(change.by_hand for change in mends):
                yield Change("wait for the API to answer", lambda: _wait_for_api(host, cluster, site), waits=True)
                return
        _wait_for_api(host, cluster, site)
        kubeadm_drift.refuse_differences(cluster, hardening.in_force(host, cluster, site))
        yield from hardening.differences(cluster, site)
        for sentence in hardening.notes(cluster, site):
            host.report.emit("note", sentence, host=host.name)
        return
    else:
        _refuse_second_cluster(host)
        _refuse_leftovers(host)
    for sentence in site_hardening.left_off(site):
        host.report.emit("note", sentence, host=host.name)
    site = kernel_settings.allowed(host, site)
    documents = yaml.safe_dump_all(kubeadm.init_documents(site, host.spec), sort_keys=False)
    yield Change(
        f"kubeadm init (Kubernetes {site.version}, {site.cluster.network}, pods {site.cluster.pod_cidr})",
        lambda: _init(host, cluster, site, documents),
        "".join(f"+ {line}\n" for line in documents.splitlines()),
    )


def _init(host: Host, cluster: Cluster, site: Site, documents: str) -> None:
    hardening.lay_down(host, site, create=True)
    host.put(CONFIG, documents, mode=0o600)
    for path, content in kubeadm.patches(site).items():
        host.put(path, content)
    kubeadm_state.run_marked(
        host,
        "kubeadm-init",
        kubeadm_state.INIT_STARTED,
        f"kubeadm init --config {CONFIG} --skip-token-print{kubeadm.patches_flag(site)}",
        timeout=600 + site.kubeadm.init_seconds,  # pulling images, then kubeadm's own init_timeout
    )
    cluster.disconnect()
    cluster.wait("the API to answer", cluster.reachable, 120, lambda: cluster.api_error)


def _finished(host: Host, cluster: Cluster) -> bool:
    """Return whether init finished, by the objects that it creates last: only the marker was not removed in time."""
    cluster.disconnect()
    if not kubeadm_state.exists(host, kubeadm_state.ADMIN_CONF) or cluster.state() is not ApiState.READY:
        return False
    wanted = (
        ("ConfigMap", "kubeadm-config", "kube-system", "v1"),
        ("ConfigMap", "cluster-info", "kube-public", "v1"),
        ("Deployment", "coredns", "kube-system", "apps/v1"),
        ("DaemonSet", "kube-proxy", "kube-system", "apps/v1"),
    )
    try:
        if host.name not in cluster.nodes():
            return False
        return all(cluster.get(kind, name, namespace, version) for kind, name, namespace, version in wanted)
    except ApiForbidden:  # since 1.29 admin.conf exists before its ClusterRoleBinding
        return False


def _refuse_second_cluster(host: Host) -> None:
    """Raise HostError if the cluster runs on another control plane: this one is blank, and has to join it."""
    known = host.reachable_facts()
    for spec in host.site.control_planes:
        other = host.fleet[spec.name]
        if other is not host and spec.name in known and kubeadm_state.exists(other, kubeadm_state.ADMIN_CONF):
            raise HostError(
                host.name,
                f"is not a node, but {spec.name} is a control plane of a cluster, which kubeadm init would split",
                f"put {spec.name} before {host.name} in hosts.toml, so that {host.name} joins its cluster; "
                f"if you do not need that cluster: provisioner reset --limit {spec.name}",
            )


def _refuse_where_others_joined(host: Host) -> None:
    """Raise HostError if other hosts are nodes of this control plane, which a reset would orphan."""
    joined = [
        name
        for name, other in host.fleet.items()
        if name != host.name and kubeadm_state.exists(other, kubeadm_state.KUBELET_CONF)
    ]
    if joined:
        raise HostError(
            host.name,
            f"kubeadm init was interrupted here, but {join_words(joined)} joined already",
            f"check the API server (provisioner ssh {host.name} -- sudo crictl ps -a); "
            "nothing is reset while other nodes may depend on it",
        )


def _wait_for_api(host: Host, cluster: Cluster, site: Site) -> None:
    """Wait for the API of an existing control plane; silence is an error, never a reason to create it again."""
    if cluster.state() is ApiState.READY:
        return
    try:
        cluster.wait("the API to answer", cluster.reachable, 60, lambda: cluster.api_error)
    except ClusterError as error:
        tail = host.run(
            "crictl ps -a 2>&1 | tail -n 15; journalctl -u kubelet -n 15 --no-pager -o cat", check=False
        ).stdout
        raise HostError(
            host.name,
            f"is a control plane whose API at {site.endpoint} does not answer: {cluster.api_error}",
            f"see provisioner ssh {host.name} -- sudo journalctl -u kubelet; nothing was changed",
            tail=tail,
        ) from error


def _refuse_leftovers(host: Host) -> None:
    found = [path for path in (kubeadm_state.ETCD, kubeadm_state.CA) if kubeadm_state.exists(host, path)]
    if kubeadm_state.exists(host, kubeadm_state.MANIFESTS):
        found.append("/etc/kubernetes/manifests")
    if kubeadm_state.exists(host, kubeadm_state.KUBELET_CONF):
        found.append(kubeadm_state.KUBELET_CONF)
    if found:
        raise HostError(
            host.name,
            f"has files of another or an older cluster ({', '.join(found)})",
            f"if you do not need them: provisioner reset --limit {host.name}",
        )


STEP = Step(
    name="control-plane",
    summary="kubeadm init on the first control plane",
    scope=Scope.FIRST,
    changes=changes,
    query=lambda site: (
        kubeadm_files.query(site)
        | FactQuery(
            exists=(
                kubeadm_state.INIT_STARTED,
                kubeadm_state.ADMIN_CONF,
                kubeadm_state.KUBELET_CONF,
                kubeadm_state.CA,
                kubeadm_state.ETCD,
                kubeadm_state.MANIFESTS,
            )
        )
    ),
)
