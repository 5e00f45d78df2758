"""Kubelet serving certificates, requested with real node credentials and signed by the real signer."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from provisioner.errors import ClusterError
from provisioner.kube import Cluster
from provisioner.site import Site
from provisioner.ssh import Host, HostNic
from provisioner.ssh.command import CommandResult
from provisioner.steps import kubelet_certificates as step
from tests.integration.kube.apiserver import ControlPlane, issue

pytestmark = pytest.mark.integration

API = "certificates.k8s.io/v1"


def request_certificate(
    control_plane: ControlPlane, name: str, node: str, addresses: list[str], signer: str = step.SIGNER
) -> None:
    """Request a serving certificate as the kubelet of `node` does, with its credentials."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [(NameOID.ORGANIZATION_NAME, "system:nodes"), (NameOID.COMMON_NAME, f"system:node:{node}")]
    names: list[x509.GeneralName] = [x509.DNSName(node)]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(*pair) for pair in subject]))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    kubelet = issue(f"system:node:{node}", by=control_plane.ca, organization="system:nodes")
    body = {
        "apiVersion": API,
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "request": base64.b64encode(request.public_bytes(Encoding.PEM)).decode(),
            "signerName": signer,
            "usages": ["digital signature", "key encipherment", "server auth"],
        },
    }
    status, said = control_plane.ask("POST", f"/apis/{API}/certificatesigningrequests", body, user=kubelet)
    assert status == 201, said


def machine(name: str, address: str, answers: list[int]) -> Host:
    """Return a host whose `test -e` of its certificate exits with these statuses in turn."""
    nic = HostNic("eth1", "02:00:00:00:00:01", True, (f"{address}/24",))

    def run(command: str, **_: Any) -> CommandResult:
        assert command == f"test -e {step.SERVING}"
        return CommandResult("", "", answers.pop(0), 0.0)

    return cast(
        Host,
        SimpleNamespace(
            name=name,
            spec=SimpleNamespace(address=address),
            facts=SimpleNamespace(nics=(nic,), files={}),
            run=run,
        ),
    )


def signed(cluster: Cluster, name: str) -> str:
    request = cluster.get("CertificateSigningRequest", name, None, API)
    assert request is not None
    return str(request.get("status", {}).get("certificate", ""))


def test_only_a_nodes_own_request_is_approved_and_signed(
    control_plane: ControlPlane, cluster: Cluster, site: Site
) -> None:
    request_certificate(control_plane, "own", "worker1", ["192.0.2.11"])
    request_certificate(control_plane, "of-another-node", "worker2", ["192.0.2.12"])
    request_certificate(control_plane, "greedy", "worker1", ["192.0.2.11", "192.0.2.10"])
    host = machine("worker1", "192.0.2.11", [1, 0])
    assert [request["metadata"]["name"] for request in step.pending(cluster, host)] == ["own"]
    (change,) = step.changes(host, cluster, site)
    change.do()
    cluster.wait("the signer", lambda: signed(cluster, "own"), 30)
    certificate = x509.load_pem_x509_certificate(base64.b64decode(signed(cluster, "own")))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.11"]
    for name in ("of-another-node", "greedy"):
        request = cluster.get("CertificateSigningRequest", name, None, API)
        assert request is not None
        assert "conditions" not in request["status"]
    assert step.pending(cluster, host) == [], "an answered request is not pending"
    for name in ("own", "of-another-node", "greedy"):
        cluster.delete("CertificateSigningRequest", name, None, API)


def test_approval_is_idempotent(control_plane: ControlPlane, cluster: Cluster) -> None:
    request_certificate(control_plane, "twice", "worker3", ["192.0.2.13"])
    request = cluster.get("CertificateSigningRequest", "twice", None, API)
    assert request is not None
    step.approve(cluster, request)
    step.approve(cluster, request)
    found = cluster.get("CertificateSigningRequest", "twice", None, API)
    assert found is not None
    assert [condition["type"] for condition in found["status"]["conditions"]] == ["Approved"]
    cluster.delete("CertificateSigningRequest", "twice", None, API)


def test_a_kubelet_without_a_request_is_an_error(
    control_plane: ControlPlane, impatient: Site, connect: Callable[..., Cluster]
) -> None:
    hasty = impatient.cluster.model_copy(update={"timeout_scale": 0.03})
    short = connect(control_plane.kubeconfig(), at=impatient.model_copy(update={"cluster": hasty}))
    host = machine("worker9", "192.0.2.19", [1] * 1000)
    (change,) = step.changes(host, short, impatient)
    with pytest.raises(ClusterError, match="for the serving certificate of worker9's kubelet") as raised:
        change.do()
    assert raised.value.tail == "system:node:worker9 has sent no request to the API"
