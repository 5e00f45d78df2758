"""Join the other hosts with kubeadm, each with a bootstrap token for this one join."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import yaml

from provisioner.engine import Change, Scope, Step
from provisioner.errors import ClusterError, HostError
from provisioner.kube import Cluster, Object, kubeadm, kubeadm_state
from provisioner.site import Site
from provisioner.ssh import FactQuery, Host
from provisioner.steps import hardening

JOIN_CONFIG = "/run/provisioner/kubeadm-join.yaml"
# kubeadm's client reports these for a request that took more than its 10 s, which cannot be configured, and for one
# that an API server or etcd dropped, as they do when etcd elects another leader while a member joins.
_PASSING = ("context deadline exceeded", ": EOF", "etcdserver: ")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the join of a host that is not a node yet, preceded by a reset if an earlier join was interrupted."""
    node = cluster.nodes().get(host.name)  # raises if the API does not answer: silence is not absence
    interrupted = kubeadm_state.exists(host, kubeadm_state.JOIN_STARTED)
    joined = kubeadm_state.exists(host, kubeadm_state.KUBELET_CONF)
    if joined:
        _refuse_other_cluster(host, cluster)
    if joined and node is not None and (not interrupted or _finished(host, node)):
        if interrupted:
            yield Change(
                "record that kubeadm join has finished", lambda: kubeadm_state.unmark(host, kubeadm_state.JOIN_STARTED)
            )
        else:
            _refuse_other_role(host, node)
        return
    if interrupted or joined or kubeadm_state.exists(host, kubeadm_state.BOOTSTRAP_CONF):
        half = interrupted or not joined
        yield Change(
            "clean up after " + ("an interrupted kubeadm join" if half else "a node that was deleted from the API"),
            lambda: kubeadm_state.reset(host, kubeadm_state.JOIN_STARTED),
        )
    role = "control plane" if host.spec.is_control_plane else "worker"
    yield Change(f"kubeadm join as {role}", lambda: _join_in_turn(host, cluster, site))


def _join_in_turn(host: Host, cluster: Cluster, site: Site) -> None:
    """Join workers in parallel; control planes, and on a slow site all hosts, one at a time.

    etcd accepts one new member at a time, and all control planes share the Secret with the uploaded certificates. On a
    slow site two joins at once exceed kubeadm's request timeout of ten seconds.
    """
    alone = host.spec.is_control_plane or site.slow
    with host.fleet[site.first.name].lock if alone else nullcontext():
        try:
            _join(host, cluster, site)
        except HostError as error:
            if not any(words in error.tail for words in _PASSING):
                raise
            host.report.emit(
                "note", "the API did not answer kubeadm in time: cleaning up and joining once more", host=host.name
            )
            kubeadm_state.reset(host, kubeadm_state.JOIN_STARTED)
            _join(host, cluster, site)


def _join(host: Host, cluster: Cluster, site: Site) -> None:
    site = hardening.in_force(host, cluster, site)
    token = f"{_random(6)}.{_random(16)}"
    key = _upload_certificates(host, site) if host.spec.is_control_plane else ""
    pin = ca_hash(host.fleet[site.first.name])
    document = kubeadm.join_document(site, host.spec, token=token, ca_hash=pin, certificate_key=key)
    flag = ""
    if host.spec.is_control_plane:
        flag = kubeadm.patches_flag(site)
        for path, content in kubeadm.patches(site).items():
            host.put(path, content)
        hardening.lay_down(host, site)
    cluster.apply(token_secret(token, site.timeout(900)))
    try:
        host.put(JOIN_CONFIG, yaml.safe_dump(document, sort_keys=False), mode=0o600, secret=True)
        kubeadm_state.run_marked(
            host,
            "kubeadm-join",
            kubeadm_state.JOIN_STARTED,
            # Removes the file with the token even if kubeadm fails.
            f"trap 'rm -f {JOIN_CONFIG}' EXIT\nkubeadm join --config {JOIN_CONFIG}{flag}",
            timeout=900,
        )
    finally:
        cluster.delete("Secret", f"bootstrap-token-{token[:6]}", "kube-system")
    cluster.wait(f"node {host.name} to register", lambda: cluster.get("Node", host.name), 120)


def token_secret(token: str, lifetime: float) -> Object:
    """Return the Secret that makes `token` a bootstrap token for `lifetime` seconds.

    Source: kubernetes.io, "Authenticating with Bootstrap Tokens", Bootstrap Token Secret Format.
    """
    identity, secret = token.split(".")
    expires = datetime.now(UTC) + timedelta(seconds=lifetime)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"bootstrap-token-{identity}", "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": identity,
            "token-secret": secret,
            "expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "usage-bootstrap-authentication": "true",
            "usage-bootstrap-signing": "true",
            "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
            "description": "one join by provisioner",
        },
    }


def ca_hash(first: Host) -> str:
    """Return the cluster CA's hash for discovery-token-ca-cert-hash: SHA-256 of its SubjectPublicKeyInfo (RFC 7469).

    Uses openssl on the control plane, as kubeadm's documentation does: kubeadm's CA has the serial number 0, which
    Python's cryptography deprecates.
    """
    command = (
        f"key=$(openssl x509 -pubkey -noout -in {kubeadm_state.CA})\n"
        "printf '%s\\n' \"$key\" | openssl pkey -pubin -outform der | sha256sum"
    )
    output = first.run(command).stdout
    digest = re.match(r"[0-9a-f]{64}\b", output)
    if digest is None:
        raise HostError(
            first.name,
            "openssl and sha256sum printed no hash of the cluster's CA",
            f"look at it: provisioner ssh {first.name} -- sudo openssl x509 -noout -text -in {kubeadm_state.CA}",
            tail=output,
        )
    return f"sha256:{digest[0]}"


def _ca(cluster: Cluster) -> bytes:
    config = cluster.kubeconfig()
    if config is None:
        raise ClusterError("there is no cluster to join", "provisioner apply")
    return base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"])


def _refuse_other_cluster(host: Host, cluster: Cluster) -> None:
    found = host.facts.files.get(kubeadm_state.CA)
    if found is None or not found.content or found.content.strip() == _ca(cluster).decode().strip():
        return
    raise HostError(
        host.name,
        "is a node of another cluster (its CA differs)",
        f"to move it to this one: provisioner reset --limit {host.name} --other-cluster, then provisioner apply",
    )


def _refuse_other_role(host: Host, node: Object) -> None:
    """Raise HostError for a node that joined in another role than hosts.toml has; kubeadm cannot change the role."""
    is_one = any(key in node["metadata"].get("labels", {}) for key in kubeadm.CONTROL_PLANE_KEYS)
    if is_one == host.spec.is_control_plane:
        return
    role, configured = ("a control plane", "a worker") if is_one else ("a worker", "a control plane")
    raise HostError(
        host.name,
        f"is {role} of the cluster, but {configured} in hosts.toml",
        f"restore its roles, or reset and join it again: provisioner node rebuild {host.name}",
    )


def _finished(host: Host, node: Object) -> bool:
    """Return whether the join finished, by the label that it sets last."""
    labels = node["metadata"].get("labels", {})
    if host.spec.is_control_plane:
        return any(label.startswith("node-role.kubernetes.io/") for label in labels)
    return "kubernetes.io/hostname" in labels


def _upload_certificates(host: Host, site: Site) -> str:
    """Upload the control plane certificates to a Secret, as `kubeadm init --upload-certs` does; return their key."""
    first = host.fleet[site.first.name]
    key = secrets.token_hex(32)
    document = {
        "apiVersion": kubeadm.api_version(site),
        "kind": "InitConfiguration",
        "certificateKey": key,
        # From 1.36.1 on the phases of init talk to this one, by default the address on the NIC of the default route.
        "localAPIEndpoint": kubeadm.local_endpoint(site.first),
    }
    path = "/run/provisioner/upload-certs.yaml"
    text = yaml.safe_dump_all([document, kubeadm.cluster_configuration(site)], sort_keys=False)
    first.put(path, text, mode=0o600, secret=True)
    first.run(
        f"trap 'rm -f {path}' EXIT; kubeadm init phase upload-certs --upload-certs --config {path}",
        secret=True,
        timeout=120,
    )
    return key


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


STEP = Step(
    name="join",
    summary="kubeadm join on the other hosts",
    scope=Scope.JOINING,
    changes=changes,
    query=lambda site: (
        hardening.query(site)
        | FactQuery(
            files=(kubeadm_state.CA,),
            exists=(kubeadm_state.JOIN_STARTED, kubeadm_state.KUBELET_CONF, kubeadm_state.BOOTSTRAP_CONF),
        )
    ),
    after=("control-plane",),
)
