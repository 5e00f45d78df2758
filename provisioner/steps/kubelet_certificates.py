"""Approve the serving certificates that the kubelets of the site's hosts request for themselves, and no others.

What a request may name is what hosts.toml says: the host's name and its address. What a node reports of itself, such
as its NICs, is its own word: with it, a compromised node could have a certificate for the API's address.

kubeadm leaves approval to the operator. With it, metrics-server and `kubectl logs` verify the kubelet instead of
trusting whoever answers.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

from cryptography import x509
from cryptography.x509.oid import NameOID

from provisioner.engine import Change, Scope, Step
from provisioner.kube import Cluster, Object
from provisioner.site import Site
from provisioner.ssh import FactQuery, Host

SERVING = "/var/lib/kubelet/pki/kubelet-server-current.pem"
SIGNER = "kubernetes.io/kubelet-serving"
API = "certificates.k8s.io/v1"


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the approval if this host's kubelet has no serving certificate or requests a new one."""
    del site
    has_one = SERVING in host.facts.files and host.facts.files[SERVING].exists
    if has_one and not pending(cluster, host):
        return
    names = f"{host.name}, {host.spec.address}"
    yield Change(f"approve the kubelet's serving certificate for {names}", lambda: _approve(host, cluster))


def _approve(host: Host, cluster: Cluster) -> None:
    def approved() -> bool:
        # The kubelet sends new requests until one is signed, so approve whatever is pending.
        for request in pending(cluster, host):
            approve(cluster, request)
        return host.run(f"test -e {SERVING}", check=False).status == 0

    cluster.wait(f"the serving certificate of {host.name}'s kubelet", approved, 120, lambda: _why(cluster, host))


def approve(cluster: Cluster, request: Object) -> None:
    """Approve a certificate signing request."""
    condition = {
        "type": "Approved",
        "status": "True",
        "reason": "ProvisionerApprove",
        "message": "requested by a host of hosts.toml for its own name and addresses",
    }
    cluster.merge(
        "CertificateSigningRequest",
        request["metadata"]["name"],
        {"status": {"conditions": [condition]}},
        api_version=API,
        subresource="approval",
    )


def pending(cluster: Cluster, host: Host) -> list[Object]:
    """Return the host's pending requests whose names and addresses are those of hosts.toml."""
    return [
        request
        for request in cluster.list("CertificateSigningRequest", api_version=API)
        if request["spec"]["signerName"] == SIGNER
        and request["spec"].get("username") == f"system:node:{host.name}"
        and not request.get("status", {}).get("conditions")
        and belongs(base64.b64decode(request["spec"]["request"]), host.name, {host.spec.address})
    ]


def belongs(pem: bytes, name: str, addresses: set[str]) -> bool:
    """Return whether a PEM certificate request names only this node and these addresses.

    Source: kubernetes.io, "Certificate Signing Requests", rules for approvers of kubernetes.io/kubelet-serving.
    """
    request = _parse(pem)
    if request is None:
        return False
    wanted = {NameOID.COMMON_NAME: f"system:node:{name}", NameOID.ORGANIZATION_NAME: "system:nodes"}
    for oid, value in wanted.items():
        if [attribute.value for attribute in request.subject.get_attributes_for_oid(oid)] != [value]:
            return False
    names = _names(request)
    if names is None:
        return False
    if not all(isinstance(item, x509.DNSName | x509.IPAddress) for item in names):
        return False
    hosts = set(names.get_values_for_type(x509.DNSName))
    requested = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    return hosts <= {name} and bool(requested) and requested <= addresses


def _parse(pem: bytes) -> x509.CertificateSigningRequest | None:
    try:
        return x509.load_pem_x509_csr(pem)
    except ValueError:
        return None


def _names(request: x509.CertificateSigningRequest) -> x509.SubjectAlternativeName | None:
    try:
        return request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None


def _asked_for(request: Object) -> str:
    """Return the names that a request asks for, for the message about one that is not approved."""
    parsed = _parse(base64.b64decode(request["spec"]["request"]))
    names = _names(parsed) if parsed is not None else None
    return ", ".join(str(name.value) for name in names) if names is not None else "no names"


def _why(cluster: Cluster, host: Host) -> str:
    requests = cluster.list("CertificateSigningRequest", api_version=API)
    own = [item for item in requests if item["spec"].get("username") == f"system:node:{host.name}"]
    lines = [
        f"{item['metadata']['name']} {item['spec']['signerName']} for {_asked_for(item)}: {item.get('status')} "
        f"(approved are {host.name} and {host.spec.address} only)"
        for item in own
    ]
    return "\n".join(lines) or f"system:node:{host.name} has sent no request to the API"


STEP = Step(
    name="kubelet-certificates",
    summary="kubelet serving certificates, signed by the cluster's CA",
    scope=Scope.ALL,
    changes=changes,
    query=lambda site: FactQuery(exists=(SERVING,)),
    after=("control-plane", "join"),
)
