"""A real Kubernetes control plane without nodes: etcd, kube-apiserver and kube-controller-manager on loopback."""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from provisioner.errors import ProvisionerError
from provisioner.lab.mirror import for_tests
from provisioner.lab.mirror.editions import SOURCE, edition

TIMEOUT = 90.0  # seconds; these programs start slowly on a busy machine
# The version of the programs: 1.20 by default, KUBERNETES=1.37 for the current one.
EDITION = edition(os.environ.get("KUBERNETES") or SOURCE.minor)


def programs() -> Path:
    """Return the directory of the programs that the mirror builds for tests; skip without them."""
    try:
        return for_tests.directory(EDITION)
    except ProvisionerError as error:
        pytest.skip(str(error))


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, both PEM."""

    certificate: bytes
    key: bytes

    def save(self, directory: Path, name: str) -> tuple[str, str]:
        """Write both files and return their paths."""
        paths = directory / f"{name}.crt", directory / f"{name}.key"
        paths[0].write_bytes(self.certificate)
        paths[1].write_bytes(self.key)
        return str(paths[0]), str(paths[1])


def issue(
    name: str, *, by: Pair | None = None, organization: str = "", hosts: Iterable[str] = (), server: bool = False
) -> Pair:
    """Return a new certificate, signed by `by`, or a CA without it. hosts: DNS names and addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if organization:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    subject = x509.Name(attributes)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
    )
    if by is None:
        signer = key
        builder = builder.issuer_name(subject).add_extension(
            x509.KeyUsage(True, False, True, False, False, True, True, False, False), critical=True
        )
    else:
        loaded = x509.load_pem_x509_certificate(by.certificate)
        parent = load_pem_private_key(by.key, None)
        assert isinstance(parent, ec.EllipticCurvePrivateKey)
        signer = parent
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.issuer_name(loaded.subject).add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(signer, hashes.SHA256())
    return Pair(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
    )


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], what: str, timeout: float = TIMEOUT) -> None:
    """Wait until the condition is true; fail the test with `what` at the timeout."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout:.0f} s for {what}"
        time.sleep(0.05)


@dataclass
class ControlPlane:
    """The three programs, their certificates and the administrator's kubeconfig.

    unserved: a group and version that the API server must not serve. flags: more flags of the API server.
    """

    directory: Path
    unserved: str = ""
    flags: tuple[str, ...] = ()
    ca: Pair = field(default_factory=lambda: issue("kubernetes"))
    ports: dict[str, int] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bin = programs()
        self.ports = {name: free_port() for name in ("etcd", "peer", "api", "manager")}
        self.ca.save(self.directory, "ca")
        serving = issue("kube-apiserver", by=self.ca, hosts=("kubernetes", "127.0.0.1"), server=True)
        serving.save(self.directory, "serving")
        self.admin = issue("kubernetes-admin", by=self.ca, organization="system:masters")
        accounts = ec.generate_private_key(ec.SECP256R1())
        (self.directory / "accounts.key").write_bytes(
            accounts.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )
        (self.directory / "accounts.pub").write_bytes(
            accounts.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )

    @property
    def url(self) -> str:
        """Return the API's URL."""
        return f"https://127.0.0.1:{self.ports['api']}"

    def kubeconfig(self, url: str = "", user: Pair | None = None) -> str:
        """Return an admin.conf as kubeadm writes it, for the API at `url` and another user if given."""

        def text(data: bytes) -> str:
            return base64.b64encode(data).decode()

        cluster = {"server": url or self.url, "certificate-authority-data": text(self.ca.certificate)}
        pair = user or self.admin
        credentials = {"client-certificate-data": text(pair.certificate), "client-key-data": text(pair.key)}
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "kubernetes", "cluster": cluster}],
                "users": [{"name": "kubernetes-admin", "user": credentials}],
                "contexts": [{"name": "c", "context": {"cluster": "kubernetes", "user": "kubernetes-admin"}}],
                "current-context": "c",
            }
        )

    def start(self) -> None:
        """Start all programs and wait until the API is ready."""
        self.start_etcd()
        self.start_api()
        self.start_manager()

    def start_etcd(self) -> None:
        """Start etcd."""
        client, peer = (f"http://127.0.0.1:{self.ports[name]}" for name in ("etcd", "peer"))
        self._spawn(
            "etcd",
            str(self.bin / "etcd"),
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        )
        self._until("etcd", lambda: _answers(f"{client}/health", None))

    def start_api(self) -> None:
        """Start kube-apiserver and wait for /readyz."""
        place = self.directory
        self._spawn(
            "kube-apiserver",
            str(self.bin / "kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{self.ports['etcd']}",
            "--bind-address=127.0.0.1",
            "--advertise-address=192.0.2.1",  # a loopback address is refused; this one is never contacted
            f"--secure-port={self.ports['api']}",
            *(
                ["--insecure-port=0"] if EDITION is SOURCE else ()
            ),  # 1.20 also listens without TLS by default; 1.24 no longer has the flag
            f"--tls-cert-file={place / 'serving.crt'}",
            f"--tls-private-key-file={place / 'serving.key'}",
            f"--client-ca-file={place / 'ca.crt'}",
            f"--service-account-key-file={place / 'accounts.pub'}",
            f"--service-account-signing-key-file={place / 'accounts.key'}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=Node,RBAC",
            "--enable-bootstrap-token-auth",
            "--allow-privileged",
            *([f"--runtime-config={self.unserved}=false"] if self.unserved else ()),
            *self.flags,
        )
        trust = ssl.create_default_context(cafile=str(place / "ca.crt"))
        self._until("kube-apiserver", lambda: _answers(f"{self.url}/readyz", trust))

    def start_manager(self) -> None:
        """Start kube-controller-manager, which updates objects and signs certificates as in a real cluster."""
        kubeconfig = self.directory / "admin.conf"
        kubeconfig.write_text(self.kubeconfig())
        kubeconfig.chmod(0o600)
        place = self.directory
        self._spawn(
            "kube-controller-manager",
            str(self.bin / "kube-controller-manager"),
            f"--kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.ports['manager']}",
            *(["--port=0"] if EDITION is SOURCE else ()),
            f"--cert-dir={place / 'manager'}",
            "--leader-elect=false",
            f"--service-account-private-key-file={place / 'accounts.key'}",
            f"--root-ca-file={place / 'ca.crt'}",
            f"--cluster-signing-cert-file={place / 'ca.crt'}",
            f"--cluster-signing-key-file={place / 'ca.key'}",
        )
        # It exits if the API goes away before all its controllers have started, and no kubelet restarts it. They get
        # their first objects only after the last one has started, so the work of any one shows that all run.
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self._until("kube-controller-manager", lambda: self.ask("GET", account)[0] == 200)

    def check(self) -> None:
        """Fail the test if one of the programs has exited, and say which."""
        for name, process in self.running.items():
            assert process.poll() is None, f"{name} has exited:\n{self._last_lines(name)}"

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        user: Pair | None = None,
        token: str = "",
        content: str = "application/json",
    ) -> tuple[int, Any]:
        """Send a request without provisioner, as another client would; return status and parsed JSON.

        An error can be plain text: for a group that is not served yet it is "404 page not found".
        """
        trust = ssl.create_default_context(cafile=str(self.directory / "ca.crt"))
        headers = {"Content-Type": content}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        else:
            trust.load_cert_chain(*(user or self.admin).save(self.directory, "client"))
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30, context=trust) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                said = error.read().decode()
            try:
                return error.code, json.loads(said)
            except ValueError:
                return error.code, said

    def kill(self, name: str) -> None:
        """Kill one program with SIGKILL."""
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Kill all programs."""
        for name in reversed([*self.running]):
            self.kill(name)

    def _spawn(self, name: str, *command: str) -> None:
        with open(self.directory / f"{name}.log", "ab") as log:
            # The kernel kills it when this process exits, for whatever reason.
            self.running[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
            )

    def _until(self, name: str, condition: Callable[[], bool]) -> None:
        def ready() -> bool:
            self.check()
            return condition()

        until(ready, f"{name} to answer")

    def _last_lines(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")[-1500:]


def _answers(url: str, trust: ssl.SSLContext | None) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5, context=trust) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
