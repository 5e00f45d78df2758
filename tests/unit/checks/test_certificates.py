"""The certificates check: its script with real files and openssl, and findings by expiration date."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from provisioner.checks import Context, Finding, certificates
from provisioner.checks.certificates import CLIENT, Validity
from provisioner.errors import Unreachable
from provisioner.site import HostSpec, Site
from provisioner.ssh.command import CommandResult
from provisioner.steps.kubelet_certificates import SERVING
from tests.unit.checks.contexts import context, findings
from tests.unit.fake_cluster import FakeCluster

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
DAY = timedelta(days=1)
KEY = ec.generate_private_key(ec.SECP256R1())
SECRET = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()


def pem(remaining: timedelta, period: timedelta = 365 * DAY) -> str:
    """Return a certificate that expires after the remaining time."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    not_after = datetime.now(UTC) + remaining
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_after - period)
        .not_valid_after(not_after)
        .sign(KEY, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def kubeconfig(certificate: str) -> str:
    """Return the part of a kubeconfig with certificate and key."""
    encoded, key = (base64.b64encode(text.encode()).decode() for text in (certificate, SECRET))
    return f"users:\n- name: x\n  user:\n    client-certificate-data: {encoded}\n    client-key-data: {key}\n"


@dataclass
class Machine:
    """A host whose commands run here, in a folder in place of its root."""

    spec: HostSpec
    site: Site
    root: Path
    outputs: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.spec.name

    def run(self, command: str, **_: Any) -> CommandResult:
        for path in ("/etc/kubernetes", "/var/lib/kubelet"):
            command = command.replace(path, f"{self.root}{path}")
        done = subprocess.run(["sh", "-euc", command], capture_output=True, text=True, check=True)
        self.outputs.append(done.stdout)
        return CommandResult(done.stdout.replace(str(self.root), ""), done.stderr, 0, 0.0)

    def write(self, files: dict[str, str]) -> None:
        for path, text in files.items():
            place = Path(f"{self.root}{path}")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)


class Silent(Machine):
    def run(self, command: str, **_: Any) -> CommandResult:
        del command
        raise Unreachable(self.name, "does not answer", "check that the machine is up")


@pytest.fixture
def stage(tmp_path: Path) -> Context:
    """Return a context whose hosts have kubeadm's certificates: one year for certificates, ten for CAs."""
    hosts: dict[str, Machine] = {}
    made = context(tmp_path, FakeCluster())
    year, decade = pem(364.5 * DAY), pem(3650.5 * DAY, 3650 * DAY)
    node = {SERVING: year + SECRET, CLIENT: year + SECRET, "/etc/kubernetes/kubelet.conf": "user:\n  token: t\n"}
    plane = {
        **dict.fromkeys(("/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/pki/etcd/ca.crt"), decade),
        **dict.fromkeys(("/etc/kubernetes/pki/apiserver.crt", "/etc/kubernetes/pki/etcd/server.crt"), year),
        "/etc/kubernetes/pki/ca.key": SECRET,
        **dict.fromkeys(("/etc/kubernetes/admin.conf", "/etc/kubernetes/scheduler.conf"), kubeconfig(year)),
    }
    for spec in made.site.hosts:
        hosts[spec.name] = Machine(spec, made.site, tmp_path / spec.name)
        hosts[spec.name].write(node | (plane if spec.is_control_plane else {}))
    return Context(made.site, made.cluster, cast(Any, hosts))


def of(where: Context, name: str) -> list[Finding]:
    return [one for one in certificates.CHECK.run(where) if one.subject == name]


def machine(where: Context, name: str) -> Machine:
    return cast(Machine, where.hosts[name])


@needs_openssl
def test_a_new_cluster_passes_with_one_command_per_host_that_prints_no_key(stage: Context) -> None:
    found = findings(certificates.CHECK, stage)
    assert list(found) == ["CERTIFICATES_VALID"]
    path = Path(f"{machine(stage, 'master').root}/etc/kubernetes/pki/apiserver.crt")
    when = f"on {x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc:%Y-%m-%d}, in 364 days"
    assert [(one.ok, one.subject, one.detail) for one in found["CERTIFICATES_VALID"]] == [
        (True, "master", f"has 8 certificates, of which the first to expire is apiserver.crt {when}"),
        (True, "w1", f"has 2 certificates, of which the first to expire is {SERVING} {when}"),
        (True, "w2", f"has 2 certificates, of which the first to expire is {SERVING} {when}"),
    ]
    for name in ("master", "w1", "w2"):
        (output,) = machine(stage, name).outputs
        assert not [line for line in SECRET.splitlines() if line in output]
        assert "BEGIN" not in output


RENEWAL = "provisioner ssh master -- sudo kubeadm certs renew all; then restart its static pods: provisioner exec "
APPROVAL = "provisioner apply approves the kubelet's pending request"
JOURNAL = (
    "the kubelet should have renewed its own; see why not: provisioner ssh w1 -- sudo journalctl -u kubelet -n 30"
)
# host, path, how it is written, days that remain, code, ok, words of detail and of remedy
STATES: dict[str, tuple[str, str, Callable[[str], str], float, str, bool, str, str]] = {
    "the API server's, expired": (
        "master", "/etc/kubernetes/pki/apiserver.crt", str, -3.5, "ENDED", False,
        "has expired certificates: apiserver.crt; the first was apiserver.crt on ", RENEWAL,
    ),
    "etcd's, soon": (
        "master", "/etc/kubernetes/pki/etcd/server.crt", str, 29.5, "END_SOON", False,
        "has certificates that expire soon: etcd/server.crt; the first is etcd/server.crt on ", RENEWAL,
    ),
    "a kubeconfig's, within months": (
        "master", "/etc/kubernetes/admin.conf", kubeconfig, 30.5, "END_SOON", True,
        "has certificates that expire within months: /etc/kubernetes/admin.conf; the first is ", RENEWAL,
    ),
    "a CA's": (
        "master", "/etc/kubernetes/pki/ca.crt", str, 20.5, "END_SOON", False,
        "has certificates that expire soon: ca.crt; ", 'renew the CA by hand: kubernetes.io, "Manual Rotation',
    ),
    "not soon": ("master", "/etc/kubernetes/pki/apiserver.crt", str, 92, "VALID", True, "in 91 days", ""),
    "a serving one, pending approval": ("w1", SERVING, str, 80.5, "END_SOON", True, SERVING, APPROVAL),
    "a client's, not renewed": ("w1", CLIENT, str, 10.5, "END_SOON", False, "10 days", JOURNAL),
    "a client's, expired": ("w1", CLIENT, str, -0.5, "ENDED", False, "a day ago", "provisioner node rebuild w1"),
}  # fmt: skip


@needs_openssl
@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_an_expiring_certificate(
    stage: Context, state: tuple[str, str, Callable[[str], str], float, str, bool, str, str]
) -> None:
    name, path, written, days, code, ok, detail, remedy = state
    machine(stage, name).write({path: written(pem(days * DAY))})
    (one,) = of(stage, name)
    assert (one.code, one.ok) == (f"CERTIFICATES_{code}", ok)
    assert detail in one.detail
    assert one.remedy.startswith(remedy)
    assert bool(one.remedy) is (code != "VALID")


@needs_openssl
@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n", None])
def test_an_unreadable_certificate_fails_and_the_others_are_judged(stage: Context, text: str | None) -> None:
    if text is None:
        Path(f"{machine(stage, 'w1').root}{SERVING}").unlink()
    else:
        machine(stage, "w1").write({SERVING: text})
    unread, rest = of(stage, "w1")
    assert (unread.code, unread.ok) == ("CERTIFICATES_UNREADABLE", False)
    assert unread.detail == f"has no readable certificate at {SERVING}"
    assert unread.remedy.startswith("provisioner apply; ")
    assert rest.detail.startswith(f"has 1 certificate, of which the first to expire is {CLIENT}")


@needs_openssl
def test_a_control_plane_without_its_pki_folder_fails(stage: Context) -> None:
    shutil.rmtree(f"{machine(stage, 'master').root}/etc/kubernetes/pki")
    unread, _ = of(stage, "master")
    assert unread.detail == "has no readable certificate at *.crt and etcd/*.crt"


@needs_openssl
def test_a_host_that_is_not_a_node_has_no_finding(stage: Context) -> None:
    Path(f"{machine(stage, 'w1').root}/etc/kubernetes/kubelet.conf").unlink()
    assert of(stage, "w1") == []


@needs_openssl
def test_an_unreachable_host_fails_and_the_next_is_checked(stage: Context) -> None:
    old = machine(stage, "master")
    cast("dict[str, Machine]", stage.hosts)["master"] = Silent(old.spec, old.site, old.root)
    (one,) = of(stage, "master")
    assert (one.code, one.ok, one.remedy) == ("CERTIFICATES_UNKNOWN", False, "check that the machine is up")
    assert [one.code for one in of(stage, "w2")] == ["CERTIFICATES_VALID"]


def test_the_restart_command_puts_the_manifests_back(tmp_path: Path) -> None:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    for name in ("etcd.yaml", "kube-apiserver.yaml"):
        (manifests / name).touch()
    command = certificates.RESTART.replace("/etc/kubernetes", str(tmp_path))
    assert "sleep 20" in command
    for _ in range(2):  # and again one year later
        subprocess.run(["sh", "-euc", command.replace("sleep 20", "ls manifests")], check=True)
    assert sorted(path.name for path in manifests.iterdir()) == ["etcd.yaml", "kube-apiserver.yaml"]


NOW = datetime(2026, 11, 25, tzinfo=UTC)


@pytest.mark.parametrize(
    ("period", "remaining", "code", "ok"),
    [
        (2 * DAY, 1 * DAY, "CERTIFICATES_VALID", True),
        (2 * DAY, 0.4 * DAY, "CERTIFICATES_END_SOON", True),
        (2 * DAY, 0.1 * DAY, "CERTIFICATES_END_SOON", False),
        (2 * DAY, 0 * DAY, "CERTIFICATES_ENDED", False),
    ],
)
def test_short_lived_certificates_are_judged_by_share(
    stage: Context, period: timedelta, remaining: timedelta, code: str, ok: bool
) -> None:
    found = {CLIENT: Validity(NOW + remaining - period, NOW + remaining)}
    (one,) = certificates.judge(stage.hosts["w1"], found, NOW)
    assert (one.code, one.ok) == (code, ok)


def test_many_expiring_certificates_are_abbreviated_with_a_remedy_for_each_kind(stage: Context) -> None:
    names = ("apiserver.crt", "etcd/server.crt", "front-proxy-client.crt", "ca.crt", SERVING, CLIENT)
    found = {name: Validity(NOW - 364 * DAY, NOW + number * DAY) for number, name in enumerate(names, 1)}
    (one,) = certificates.judge(stage.hosts["master"], found, NOW)
    assert one.detail == (
        "has certificates that expire soon: apiserver.crt, etcd/server.crt, front-proxy-client.crt and 3 more; "
        "the first is apiserver.crt on 2026-11-26, in 1 day"
    )
    for part in (RENEWAL, APPROVAL, "journalctl -u kubelet", "renew the CA by hand"):
        assert part in one.remedy
