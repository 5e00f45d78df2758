"""What kubeadm wrote on a node: the kubelet's files, static pods and certificates, compared with its dry run."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from provisioner.errors import HostError, NotYet
from provisioner.kube import kubeadm_state
from provisioner.ssh import File
from provisioner.ssh.facts import Unit
from provisioner.steps import kubeadm_files, static_pods
from provisioner.steps.kubeadm_files import CONFIG, FLAGS, STEP, UNIT
from tests.unit.steps.doubles import RecordingHost, carry_out, drain, fleet_for, present, running, site_at, summaries

KUBELET = "kind: KubeletConfiguration\nmaxPods: 110\n"
ARGUMENTS = 'KUBELET_KUBEADM_ARGS="--node-ip=192.168.56.10"\n'
NOW = 1_800_000_000.0  # by the hosts' clocks
TAINTS = "--register-with-taints=node-role.kubernetes.io/control-plane=:NoSchedule"


def manifest(name: str, *arguments: str) -> str:
    """Return a static pod's manifest as kubeadm writes it."""
    container = {"command": [name, *arguments], "image": f"registry.k8s.io/{name}:v1.37.2", "name": name}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [container]}})


MANIFESTS = {f"{name}.yaml": manifest(name, "--v=2") for name in static_pods.NAMES}
RENDERED = {"config.yaml": KUBELET, "kubeadm-flags.env": ARGUMENTS, **MANIFESTS}


def output(files: dict[str, str], clients: dict[str, bytes] | None = None) -> str:
    """Return what the rendering script prints."""
    parts = [f"@part file {name}\n{text}\n" for name, text in files.items()]
    parts += [f"@part client {name}\n{base64.b64encode(pem).decode()}\n" for name, pem in (clients or {}).items()]
    return "".join([*parts, "@part end -\n"])


def certificate(days: float, period: float = 365) -> bytes:
    """Return a certificate that ends some days after NOW."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    ends = datetime.fromtimestamp(NOW, UTC) + timedelta(days=days)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(ends - timedelta(days=period)).not_valid_after(ends)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def host(tmp_path: Path) -> RecordingHost:
    """Return a control plane as kubeadm made it."""
    host = fleet_for(STEP, site_at(tmp_path, 'kubernetes = "1.37.2"'))["master"]
    host.says["init phase"] = output(RENDERED)
    files = {CONFIG: KUBELET, FLAGS: ARGUMENTS, kubeadm_state.KUBELET_CONF: ""}
    files |= {f"{static_pods.MANIFESTS}/{name}": text for name, text in MANIFESTS.items()}
    return host.know(files={path: present(text) for path, text in files.items()}, units={UNIT: running()})


def test_a_node_as_kubeadm_made_it(host: RecordingHost) -> None:
    assert summaries(STEP, host) == []
    assert len(host.commands) == 1


@pytest.mark.parametrize(
    "file",
    [
        {kubeadm_state.KUBELET_CONF: File(exists=False)},
        {kubeadm_state.INIT_STARTED: present()},
        {kubeadm_state.JOIN_STARTED: present()},
    ],
    ids=["blank", "in init", "in join"],
)
def test_a_host_that_is_no_node_yet_cannot_be_looked_at(host: RecordingHost, file: dict[str, File]) -> None:
    with pytest.raises(NotYet, match="master is not a node yet"):
        drain(STEP, host.know(files=file))


@pytest.mark.parametrize(
    ("path", "text", "summary"),
    [
        (CONFIG, KUBELET.replace("110", "50"), f"change {CONFIG}, restart the kubelet"),
        (CONFIG, "", f"write {CONFIG}, restart the kubelet"),
        (CONFIG, "a: [", f"change {CONFIG}, restart the kubelet"),
        (FLAGS, ARGUMENTS.replace("10", "11"), f"change {FLAGS}, restart the kubelet"),
        (FLAGS, ARGUMENTS.replace('="', '="--v=4 '), f"change {FLAGS}, restart the kubelet"),
        (FLAGS, "KUBELET_KUBEADM_ARGS=\"it's", f"change {FLAGS}, restart the kubelet"),
    ],
)
def test_what_somebody_edited_for_a_kubelet(host: RecordingHost, path: str, text: str, summary: str) -> None:
    host.know(files={path: present(text)})
    assert carry_out(STEP, host) == [summary]
    assert host.files == {path: (RENDERED[path.rpartition("/")[2]], 0o644)}
    assert "systemctl restart kubelet.service" in host.commands[-1]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (CONFIG, "maxPods: 110\nkind: KubeletConfiguration\n"),
        (FLAGS, f'KUBELET_KUBEADM_ARGS="--node-ip=192.168.56.10 {TAINTS}"\n'),
    ],
)
def test_what_means_the_same_is_no_difference(host: RecordingHost, path: str, text: str) -> None:
    """A joined control plane has its taint among the flags, which only count when it registers."""
    assert summaries(STEP, host.know(files={path: present(text)})) == []


def test_the_taints_of_the_registration_stay(host: RecordingHost) -> None:
    host.know(files={FLAGS: present(f'KUBELET_KUBEADM_ARGS="--v=4 {TAINTS}"\n')})
    carry_out(STEP, host)
    assert host.files[FLAGS][0] == f'KUBELET_KUBEADM_ARGS="{TAINTS} --node-ip=192.168.56.10"\n'


@pytest.mark.parametrize(
    ("unit", "mtime", "expected"),
    [
        (running(since=200), 201, ["restart the kubelet"]),
        (running(since=200), 200, []),
        (Unit(active=False, enabled=True), 100, ["start the kubelet"]),
    ],
    ids=["old file in use", "read", "stopped"],
)
def test_a_kubelet_that_has_not_read_its_file_or_is_down(
    host: RecordingHost, unit: Unit, mtime: float, expected: list[str]
) -> None:
    host.know(units={UNIT: unit}, files={CONFIG: present(KUBELET, mtime=mtime)})
    assert summaries(STEP, host) == expected


def test_a_static_pod_is_changed_where_the_kubelet_does_not_look_and_waited_for(host: RecordingHost) -> None:
    path = f"{static_pods.MANIFESTS}/kube-scheduler.yaml"
    host.know(files={path: present(manifest("kube-scheduler", "--v=2", "--profiling=false"))})
    assert carry_out(STEP, host) == [f"change {path}"]
    beside = "/etc/kubernetes/kube-scheduler.new.yaml"
    assert host.files == {beside: (MANIFESTS["kube-scheduler.yaml"], 0o600)}
    assert f"mv -f {beside} {path}" in host.commands[-1]
    assert "https://127.0.0.1:10259/healthz" in host.commands[-1]


def test_a_manifest_that_does_not_come_up_is_put_back(host: RecordingHost, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{static_pods.MANIFESTS}/kube-apiserver.yaml"
    old = manifest("kube-apiserver", "--v=3")
    (change,) = drain(STEP, host.know(files={path: present(old)}))

    def fails(*_: object, **__: object) -> None:
        raise HostError("master", "exit status 1", tail="kube-apiserver did not come up again")

    monkeypatch.setattr(host, "run", fails)
    with pytest.raises(HostError, match="the old one is back") as raised:
        change.do()
    assert host.files[path] == (old, 0o600)
    assert raised.value.tail == "kube-apiserver did not come up again"


def test_the_members_of_etcd_are_not_what_a_dry_run_knows(host: RecordingHost) -> None:
    members = ("--initial-cluster-state=existing", "--initial-cluster=a=https://a:2380,b=https://b:2380")
    host.says["init phase"] = output({**RENDERED, "etcd.yaml": manifest("etcd", "--initial-cluster=a=https://a:2380")})
    path = f"{static_pods.MANIFESTS}/etcd.yaml"
    assert summaries(STEP, host.know(files={path: present(manifest("etcd", *members))})) == []
    host.know(files={path: present(manifest("etcd", "--snapshot-count=5", *members))})
    carry_out(STEP, host)
    (text, _) = host.files["/etc/kubernetes/etcd.new.yaml"]
    assert yaml.safe_load(text)["spec"]["containers"][0]["command"] == ["etcd", *members]


def test_certificates_that_expire_soon_are_renewed_and_a_ca_is_not(host: RecordingHost) -> None:
    pki = kubeadm_files.PKI
    files = {
        f"{pki}/apiserver.crt": certificate(29),
        f"{pki}/etcd/server.crt": certificate(-1),
        f"{pki}/front-proxy-client.crt": certificate(31),
        f"{pki}/etcd/peer.crt": certificate(5, period=10),
        f"{pki}/ca.crt": certificate(3, period=3650),
    }
    host.know(files={path: present(pem.decode()) for path, pem in files.items()})
    host.says["init phase"] = output(RENDERED, {"admin.conf": certificate(2), "scheduler.conf": certificate(300)})
    by_hand, renewal = drain(STEP, host)
    assert by_hand.summary == "ca expires on 2027-01-18"
    assert "Manual Rotation" in by_hand.by_hand
    assert renewal.summary == "renew certificate admin.conf, apiserver, etcd-server (expires on 2027-01-14)"
    renewal.do()
    renewed, *restarts = host.commands[1:]
    assert renewed.splitlines() == [
        f"kubeadm certs renew {name}" for name in ("admin.conf", "apiserver", "etcd-server")
    ]
    assert len(restarts) == len(static_pods.NAMES)
    assert all("crictl stop" in command for command in restarts)


def test_a_worker_has_neither_static_pods_nor_certificates_of_kubeadm(tmp_path: Path) -> None:
    worker = fleet_for(STEP, site_at(tmp_path, 'kubernetes = "1.37.2"'))["worker1"]
    worker.says["init phase"] = output({"config.yaml": KUBELET})
    worker.know(files={CONFIG: present("x: 1"), kubeadm_state.KUBELET_CONF: present()}, units={UNIT: running()})
    assert summaries(STEP, worker) == [f"change {CONFIG}, restart the kubelet"]


def test_a_manifest_with_an_empty_argument_is_one_that_differs(host: RecordingHost) -> None:
    path = f"{static_pods.MANIFESTS}/etcd.yaml"
    text = yaml.safe_dump({"spec": {"containers": [{"command": ["etcd", None]}]}})
    assert summaries(STEP, host.know(files={path: present(text)})) == [f"change {path}"]


def test_the_order_of_flags_is_no_difference(host: RecordingHost) -> None:
    """On an etcd member that joins, kubeadm has the flags of hosts.toml last; a restart would be for nothing."""
    path = f"{static_pods.MANIFESTS}/etcd.yaml"
    host.says["init phase"] = output({**RENDERED, "etcd.yaml": manifest("etcd", "--a=1", "--v=2", "--x=3")})
    assert summaries(STEP, host.know(files={path: present(manifest("etcd", "--x=3", "--a=1", "--v=2"))})) == []
    assert summaries(STEP, host.know(files={path: present(manifest("etcd", "--x=3", "--a=1"))})) == [f"change {path}"]
