"""Which kubelet serving certificate requests are approved: real requests, honest and forged."""

from __future__ import annotations

import base64
import ipaddress
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from provisioner.kube import Cluster, Object
from provisioner.ssh import Host, HostNic
from provisioner.steps import kubelet_certificates
from provisioner.steps.kubelet_certificates import SERVING, SIGNER, STEP, belongs, pending
from tests.unit.fake_cluster import FakeCluster
from tests.unit.steps.doubles import RecordingHost, fleet_for, present, site_at, summaries

APPROVE = "approve the kubelet's serving certificate for worker1, 192.168.56.11"
KEY = ec.generate_private_key(ec.SECP256R1())
OWN = {"192.168.56.11"}


def request(
    names: list[x509.GeneralName] | None,
    common_name: str = "system:node:worker1",
    organisations: tuple[str, ...] = ("system:nodes",),
) -> bytes:
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organisations]
    subject.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM)


def dns(name: str) -> x509.GeneralName:
    return x509.DNSName(name)


def ip(address: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(address))


HONEST = [dns("worker1"), ip("192.168.56.11")]


@pytest.mark.parametrize(
    ("pem", "expected"),
    [
        pytest.param(request(HONEST), True, id="its own name and address"),
        pytest.param(request([ip("192.168.56.11")]), True, id="address alone"),
        pytest.param(request([*HONEST, ip("fe80::1")]), False, id="an address that hosts.toml does not have"),
        pytest.param(b"-----BEGIN CERTIFICATE REQUEST-----", False, id="damaged"),
        pytest.param(request([*HONEST, ip("192.168.56.10")]), False, id="another node's address too"),
        pytest.param(request([dns("worker1"), ip("192.168.56.10")]), False, id="another node's address"),
        pytest.param(request([*HONEST, dns("master")]), False, id="another node's name too"),
        pytest.param(request([*HONEST, dns("kubernetes.default.svc")]), False, id="the API's name"),
        pytest.param(request([dns("worker1")]), False, id="no address"),
        pytest.param(request(None), False, id="no names at all"),
        pytest.param(request([*HONEST, x509.UniformResourceIdentifier("spiffe://x/y")]), False, id="a URI"),
        pytest.param(request([*HONEST, x509.RFC822Name("a@example.org")]), False, id="a mail address"),
        pytest.param(request(HONEST, "system:node:master"), False, id="another node's subject"),
        pytest.param(request(HONEST, "kubernetes-admin"), False, id="an administrator's subject"),
        pytest.param(request(HONEST, organisations=("system:masters",)), False, id="the administrators' group"),
        pytest.param(request(HONEST, organisations=("system:nodes", "system:masters")), False, id="that group too"),
    ],
)
def test_a_request_may_name_only_its_own_node(pem: bytes, expected: bool) -> None:
    assert belongs(pem, "worker1", OWN) is expected


@pytest.fixture
def host(tmp_path: Path) -> RecordingHost:
    return fleet_for(STEP, site_at(tmp_path))["worker1"]


def asked(name: str, user: str = "system:node:worker1", signer: str = SIGNER, **more: Any) -> Object:
    spec = {"signerName": signer, "username": user, "request": base64.b64encode(request(HONEST)).decode()}
    return {"kind": "CertificateSigningRequest", "metadata": {"name": name}, "spec": spec, **more}


def test_pending_requests_are_the_hosts_own_unanswered_ones(host: RecordingHost) -> None:
    cluster = FakeCluster(
        asked("own"),
        asked("own-again", status={}),
        asked("answered", status={"conditions": [{"type": "Approved"}]}),
        asked("denied", status={"conditions": [{"type": "Denied"}]}),
        asked("by-another-node", "system:node:worker2"),
        asked("by-a-person", "mallory"),
        asked("by-a-joining-machine", "system:bootstrap:abcdef"),
        asked("client", signer="kubernetes.io/kube-apiserver-client-kubelet"),
    )
    found = pending(cast(Cluster, cluster), cast(Host, host))
    assert [item["metadata"]["name"] for item in found] == ["own", "own-again"]


@pytest.mark.parametrize(
    ("certificate", "requests", "expected"),
    [
        (True, [], []),
        (True, [asked("rotation")], [APPROVE]),
        (True, [asked("by-another-node", "system:node:worker2")], []),
        (False, [], [APPROVE]),
        (False, [asked("first")], [APPROVE]),
    ],
)
def test_states(host: RecordingHost, certificate: bool, requests: list[Object], expected: list[str]) -> None:
    if certificate:
        host.know(files={SERVING: present()})
    assert summaries(STEP, host, FakeCluster(*requests)) == expected


def test_a_node_cannot_have_a_certificate_for_an_address_that_it_gave_itself(host: RecordingHost) -> None:
    """A compromised worker adds the master's address to a NIC of its own."""
    stolen = HostNic("eth1", "52:54:00:00:00:01", True, ("192.168.56.11/24", "192.168.56.10/24"))
    host.know(nics=(stolen,))
    forged = asked("forged")
    forged["spec"]["request"] = base64.b64encode(request([*HONEST, ip("192.168.56.10")])).decode()
    assert pending(cast(Cluster, FakeCluster(forged)), cast(Host, host)) == []
    assert "for worker1, 192.168.56.11, 192.168.56.10: None (approved are worker1 and 192.168.56.11 only)" in (
        kubelet_certificates._why(cast(Cluster, FakeCluster(forged)), cast(Host, host))
    )
