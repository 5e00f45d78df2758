"""kubeadm join: runs once, is cleaned up after an interruption, never on a node of another cluster."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from provisioner.errors import ClusterError, HostError
from provisioner.kube import ApiState, kubeadm_state
from provisioner.site import Site, hardening
from provisioner.ssh import Host, jobs
from provisioner.ssh.command import CommandResult
from provisioner.ssh.facts import File
from provisioner.steps import join
from provisioner.steps.join import JOIN_CONFIG, STEP
from tests import hosts_toml
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import node
from tests.unit.steps.doubles import POOL, RecordingHost, carry_out, drain, fleet_for, present, site_at, summaries

JOIN, CLEAN = "kubeadm join as worker", "clean up after an interrupted kubeadm join"
GONE = "clean up after a node that was deleted from the API"
NOTE = "record that kubeadm join has finished"


def authority() -> str:
    """Return a new CA's certificate, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


OURS, THEIRS = authority(), authority()


def cluster(*nodes: str) -> FakeCluster:
    data = base64.b64encode(OURS.encode()).decode()
    config = {"clusters": [{"cluster": {"certificate-authority-data": data}}]}
    return FakeCluster(*map(node, nodes), kubeconfig=config)


@pytest.fixture
def host(tmp_path: Path) -> RecordingHost:
    return hosts_of(site_at(tmp_path, 'kubernetes = "1.20.2"'))["worker1"]


KEY = "the file with the key\n"


def hosts_of(site: Site) -> dict[str, RecordingHost]:
    hosts = fleet_for(STEP, site)
    hosts[site.first.name].says["openssl x509 -pubkey"] = f"{'0' * 64}  -\n"
    hosts[site.first.name].says["cat /etc/kubernetes/hardening/encryption.yaml"] = KEY
    return hosts


STARTED = {kubeadm_state.JOIN_STARTED: present()}
JOINED = {kubeadm_state.KUBELET_CONF: present(), kubeadm_state.CA: present(OURS)}
WAITING = {kubeadm_state.BOOTSTRAP_CONF: present(), kubeadm_state.CA: present(OURS)}


@pytest.mark.parametrize(
    ("files", "nodes", "expected"),
    [
        pytest.param({}, ["master"], [JOIN], id="blank"),
        pytest.param(JOINED, ["master", "worker1"], [], id="a node"),
        pytest.param(STARTED, ["master"], [CLEAN, JOIN], id="killed at once"),
        pytest.param({**STARTED, **WAITING}, ["master"], [CLEAN, JOIN], id="killed before the certificate"),
        pytest.param(WAITING, ["master"], [CLEAN, JOIN], id="interrupted, without a marker"),
        pytest.param({**STARTED, **JOINED}, ["master"], [CLEAN, JOIN], id="killed before registration"),
        pytest.param({**STARTED, **JOINED}, ["master", "worker1"], [NOTE], id="finished, but the marker is left"),
        pytest.param(JOINED, ["master"], [GONE, JOIN], id="kubelet.conf, but no node in the API"),
        pytest.param({}, ["master", "worker1"], [JOIN], id="a node in the API, but a reinstalled machine"),
    ],
)
def test_states(host: RecordingHost, files: dict[str, File], nodes: list[str], expected: list[str]) -> None:
    assert summaries(STEP, host.know(files=files), cluster(*nodes)) == expected


@pytest.mark.parametrize("files", [{}, STARTED, JOINED, {**STARTED, **JOINED}])
def test_a_silent_api_does_not_mean_that_there_is_no_node(host: RecordingHost, files: dict[str, File]) -> None:
    with pytest.raises(ClusterError, match="the API does not answer"):
        drain(STEP, host.know(files=files), FakeCluster(api=ApiState.UNREACHABLE))
    assert host.works == {}


@pytest.mark.parametrize("started", [{}, STARTED])
def test_a_node_of_another_cluster_is_left_alone(host: RecordingHost, started: dict[str, File]) -> None:
    host.know(files={**started, **JOINED, kubeadm_state.CA: present(THEIRS)})
    with pytest.raises(HostError, match="is a node of another cluster") as raised:
        drain(STEP, host, cluster("master"))
    assert "provisioner reset --limit worker1" in raised.value.remedy
    assert host.works == {}


def test_a_trailing_newline_is_no_difference_of_the_ca(host: RecordingHost) -> None:
    host.know(files={**JOINED, kubeadm_state.CA: present(OURS + "\n")})
    assert drain(STEP, host, cluster("master", "worker1")) == []


def test_a_control_plane_has_joined_once_its_role_label_is_set(tmp_path: Path) -> None:
    site = site_at(tmp_path, 'endpoint = "192.168.56.9:6443"', hosts=TWO_CONTROL_PLANES + POOL)
    host = fleet_for(STEP, site)["second"].know(files={**STARTED, **JOINED})
    half = cluster().hold(node("second"))
    assert summaries(STEP, host, half) == [CLEAN, "kubeadm join as control plane"]
    whole = cluster().hold(node("second", labels={"node-role.kubernetes.io/master": ""}))
    assert summaries(STEP, host, whole) == [NOTE]


def test_a_node_with_another_role_is_refused(tmp_path: Path) -> None:
    site = site_at(tmp_path, 'endpoint = "192.168.56.9:6443"', hosts=TWO_CONTROL_PLANES + POOL)
    host = fleet_for(STEP, site)["second"].know(files=JOINED)
    with pytest.raises(HostError, match=r"is a worker of the cluster, but a control plane in hosts\.toml"):
        drain(STEP, host, cluster().hold(node("second")))
    control_plane = {"node-role.kubernetes.io/control-plane": ""}
    assert drain(STEP, host, cluster().hold(node("second", labels=control_plane))) == []
    worker = fleet_for(STEP, site_at(tmp_path))["worker1"].know(files=JOINED)
    with pytest.raises(HostError, match=r"is a control plane of the cluster, but a worker in hosts\.toml"):
        drain(STEP, worker, cluster("master").hold(node("worker1", labels=control_plane)))


def test_a_join(host: RecordingHost) -> None:
    api = cluster("master")
    (change,) = drain(STEP, host, api)
    assert change.diff == "", "a diff would show the token"
    api.hold(node("worker1"))
    change.do()

    text, mode = host.files[JOIN_CONFIG]
    assert (mode, JOIN_CONFIG in host.secret) == (0o600, True)
    assert JOIN_CONFIG.startswith("/run/"), "a power cut deletes it"
    document = yaml.safe_load(text)
    token = document["discovery"]["tlsBootstrapToken"]
    (secret,) = api.applied
    assert secret["metadata"]["name"] == f"bootstrap-token-{token[:6]}"
    assert f"{secret['stringData']['token-id']}.{secret['stringData']['token-secret']}" == token
    command = host.works["kubeadm-join"]
    assert token not in command
    assert token.split(".")[1] not in command
    assert f"trap 'rm -f {JOIN_CONFIG}' EXIT\nkubeadm join --config {JOIN_CONFIG}" in command
    assert api.deleted == [("Secret", "kube-system", f"bootstrap-token-{token[:6]}")]
    assert api.waits == ["node worker1 to register"]


def test_the_token_is_deleted_when_the_join_fails(host: RecordingHost, monkeypatch: pytest.MonkeyPatch) -> None:
    api = cluster("master")

    def fail(*_: Any, **__: Any) -> None:
        raise HostError("worker1", "kubeadm join failed")

    monkeypatch.setattr(jobs, "run", fail)
    with pytest.raises(HostError, match="kubeadm join failed"):
        carry_out(STEP, host, api)
    assert len(api.deleted) == 1


def test_each_join_has_its_own_token(tmp_path: Path) -> None:
    hosts = hosts_of(site_at(tmp_path))
    api = cluster("master")
    tokens = set()
    for name in ("worker1", "worker2"):
        (change,) = drain(STEP, hosts[name], api)
        api.hold(node(name))
        change.do()
        tokens.add(yaml.safe_load(hosts[name].files[JOIN_CONFIG][0])["discovery"]["tlsBootstrapToken"])
    assert len(tokens) == 2


def test_the_token_secret_has_kubeadms_format() -> None:
    ttl, before = timedelta(seconds=600), datetime.now(UTC).replace(microsecond=0)
    secret = join.token_secret("abcdef.0123456789abcdef", 600)
    after = datetime.now(UTC)
    assert (secret["metadata"]["name"], secret["metadata"]["namespace"]) == ("bootstrap-token-abcdef", "kube-system")
    assert secret["type"] == "bootstrap.kubernetes.io/token"
    data = secret["stringData"]
    assert (data["token-id"], data["token-secret"]) == ("abcdef", "0123456789abcdef")
    assert data["auth-extra-groups"] == "system:bootstrappers:kubeadm:default-node-token"
    expires = datetime.strptime(data["expiration"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert before + ttl <= expires <= after + ttl


def test_the_ca_hash_is_that_of_its_public_key(tmp_path: Path) -> None:
    """Runs the real command on a CA with the serial number 0, like kubeadm's."""
    certificate = tmp_path / "ca.crt"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    made += ["-subj", "/CN=kubernetes", "-set_serial", "0", "-keyout", str(tmp_path / "ca.key")]
    subprocess.run([*made, "-out", str(certificate)], check=True, capture_output=True)

    def run(command: str) -> CommandResult:
        command = command.replace(kubeadm_state.CA, str(certificate))
        return CommandResult(subprocess.check_output(["sh", "-euc", command], text=True), "", 0, 0.0)

    found = join.ca_hash(cast(Host, SimpleNamespace(run=run)))
    key = load_pem_private_key((tmp_path / "ca.key").read_bytes(), None).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert found == f"sha256:{hashlib.sha256(der).hexdigest()}"


TWO_CONTROL_PLANES = "".join(
    hosts_toml.host(name, address, "control-plane")
    for name, address in (("first", "192.168.56.10"), ("second", "192.168.56.11"))
)


def test_a_further_control_plane_gets_certificates_and_their_key_stays_secret(tmp_path: Path) -> None:
    site = site_at(tmp_path, 'endpoint = "192.168.56.9:6443"', hosts=TWO_CONTROL_PLANES + POOL)
    hosts = hosts_of(site)
    api = cluster().hold(node("first"))
    (change,) = drain(STEP, hosts["second"], api)
    api.hold(node("second"))
    change.do()
    assert not hosts["first"].lock.locked()
    document = yaml.safe_load(hosts["second"].files[JOIN_CONFIG][0])
    key = document["controlPlane"]["certificateKey"]
    assert len(bytes.fromhex(key)) == 32
    first = hosts["first"]
    ((path, (text, mode)),) = first.files.items()
    assert mode == 0o600
    assert path in first.secret
    assert key in text
    # Without it kubeadm asks the API on the NIC of the default route, whose address is in no certificate.
    init = next(one for one in yaml.safe_load_all(text) if one["kind"] == "InitConfiguration")
    assert init["localAPIEndpoint"] == {"advertiseAddress": "192.168.56.10", "bindPort": 6443}
    upload = next(command for command in first.commands if "upload-certs" in command)
    assert upload in first.secret
    assert key not in upload
    assert f"rm -f {path}" in upload


def test_a_further_control_plane_gets_the_key_of_secrets_before_kubeadm_runs(tmp_path: Path) -> None:
    site = site_at(tmp_path, 'endpoint = "192.168.56.9:6443"', hosts=TWO_CONTROL_PLANES + POOL)
    hosts = hosts_of(site)
    api = cluster().hold(node("first"))
    (change,) = drain(STEP, hosts["second"], api)
    api.hold(node("second"))
    change.do()
    second = hosts["second"]
    assert second.files[hardening.ENCRYPTION] == (KEY, 0o600)
    assert hardening.ENCRYPTION in second.secret
    assert {hardening.AUDIT_POLICY, hardening.ADMISSION} <= set(second.files)
    (reading,) = [command for command in hosts["first"].commands if command.startswith("cat ")]
    assert reading in hosts["first"].secret
    assert KEY.strip() not in "".join([*second.commands, *second.works.values()])


def test_a_further_control_plane_does_not_join_where_nobody_has_the_key(tmp_path: Path) -> None:
    site = site_at(tmp_path, 'endpoint = "192.168.56.9:6443"', hosts=TWO_CONTROL_PLANES + POOL)
    hosts = hosts_of(site)
    hosts["first"].says.pop("cat /etc/kubernetes/hardening/encryption.yaml")
    (change,) = drain(STEP, hosts["second"], cluster().hold(node("first")))
    with pytest.raises(HostError, match="no other control plane has it: it holds the key of all Secrets"):
        change.do()
    assert hosts["second"].works == {}


@pytest.mark.parametrize(("role", "waits"), [("control-plane", True), ("worker", False)])
def test_control_planes_join_in_turn(tmp_path: Path, role: str, waits: bool) -> None:
    first, second = ("first", "192.168.56.10", "control-plane"), ("second", "192.168.56.11", role)
    text = hosts_toml.host(*first) + hosts_toml.host(*second) + POOL
    hosts = hosts_of(site_at(tmp_path, 'endpoint = "192.168.56.9:6443"', hosts=text))
    api = cluster().hold(node("first"))
    (change,) = drain(STEP, hosts["second"], api)
    api.hold(node("second"))
    joining = threading.Thread(target=change.do)
    with hosts["first"].lock:  # another control plane is joining
        joining.start()
        joining.join(0.5 if waits else 20)
        assert joining.is_alive() == waits
        assert bool(hosts["second"].works) != waits
    joining.join(20)
    assert hosts["second"].works


@pytest.mark.parametrize(
    ("said", "works"),
    [
        ("context deadline exceeded", True),
        ('Post "https://192.168.56.3:6443/api/v1/namespaces/kube-system/configmaps?timeout=10s": EOF', True),
        ("etcdserver: leader changed", True),
        ("unauthorized", False),
    ],
)
def test_a_join_whose_request_was_lost_is_repeated_once(
    host: RecordingHost, monkeypatch: pytest.MonkeyPatch, said: str, works: bool
) -> None:
    api = cluster("master")
    (change,) = drain(STEP, host, api)
    api.hold(node("worker1"))
    names: list[str] = []
    run = jobs.run

    def late(host: Host, name: str, command: str, *, timeout: float) -> CommandResult:
        names.append(name)
        if names.count("kubeadm-join") == 1 and name == "kubeadm-join":
            raise HostError(host.name, "`kubeadm join` failed", tail=f"error patching node: {said}\n")
        return run(host, name, command, timeout=timeout)

    monkeypatch.setattr(jobs, "run", late)
    if works:
        change.do()
        assert names == ["kubeadm-join", "kubeadm-reset", "kubeadm-join"]
    else:
        with pytest.raises(HostError):
            change.do()
        assert names == ["kubeadm-join"]
