"""Somebody edits nodes and objects by hand: one plan tells all of it and nothing else, one apply mends it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from provisioner.lab import lifecycle
from tests.e2e import drive

pytestmark = pytest.mark.drill
PKI = "/etc/kubernetes/pki"
READY = "kubectl --kubeconfig /etc/kubernetes/admin.conf get --raw /readyz"
WAITS = re.compile(r"[a-z-]+: wait for (DaemonSet|Deployment|node) ")
# (what is done on a host as root, the host, what the plan says of it)
ON_HOSTS = (
    ("rm /etc/modules-load.d/provisioner.conf", "worker", "prepare: write /etc/modules-load.d/provisioner.conf"),
    ("echo '/swap none swap sw 0 0' >>/etc/fstab", "worker", "prepare: comment swap out in /etc/fstab"),
    ("echo >>/etc/sysctl.d/90-provisioner.conf", "worker", "prepare: change /etc/sysctl.d/90-provisioner.conf"),
    ("rm /etc/crictl.yaml", "worker", "containerd: write /etc/crictl.yaml"),
    ("apt-mark unhold kubelet", "worker", "kubernetes: hold kubelet, kubeadm, kubectl"),
    (
        "echo 'maxPods: 50' >>/var/lib/kubelet/config.yaml; systemctl restart kubelet",
        "worker",
        "kubeadm-files: change /var/lib/kubelet/config.yaml, restart the kubelet",
    ),
    (
        "sed -i 's/ARGS=\"/ARGS=\"--v=3 /' /var/lib/kubelet/kubeadm-flags.env",
        "worker",
        "kubeadm-files: change /var/lib/kubelet/kubeadm-flags.env, restart the kubelet",
    ),
    (
        "sed -i 's/^    - kube-scheduler$/&\\n    - --v=3/' /etc/kubernetes/manifests/kube-scheduler.yaml",
        "master",
        "kubeadm-files: change /etc/kubernetes/manifests/kube-scheduler.yaml",
    ),
    (
        "sed -i 's/^    - kube-apiserver$/&\\n    - --profiling=false/' /etc/kubernetes/manifests/kube-apiserver.yaml",
        "master",
        "kubeadm-files: change /etc/kubernetes/manifests/kube-apiserver.yaml",
    ),
    ("exportfs -o rw 192.168.56.77:/srv/nfs", "master", "nfs: export /srv/nfs to"),
    ("chmod 0700 /srv/nfs/nfs-01", "master", "nfs: create directories for 1 volume"),
)
# (arguments of kubectl, what the plan says of it)
BY_KUBECTL = (
    (
        "-n kube-system set image daemonset/kube-proxy kube-proxy=registry.k8s.io/kube-proxy:v1.2.3",
        "kubeadm-objects: apply DaemonSet kube-system/kube-proxy",
    ),
    (
        "-n kube-system set env deployment/coredns SOME=thing",
        "kubeadm-objects: apply Deployment kube-system/coredns",
    ),
    (
        """-n kube-system patch configmap coredns --type merge -p '{"data": {"Corefile": ".:53 {\\nerrors\\n}"}}'""",
        "kubeadm-objects: apply ConfigMap kube-system/coredns",
    ),
    (
        "-n kube-system annotate --overwrite daemonset/kube-proxy note=mine",
        "",  # what others add to metadata is not drift
    ),
    (
        """-n kube-public patch configmap cluster-info --type merge -p '{"data": {"kubeconfig": "clusters: []"}}'""",
        "kubeadm-objects: restore ConfigMap kube-public/cluster-info",
    ),
    ("taint node master node-role.kubernetes.io/control-plane-", "nodes: taint master with"),
    (
        "-n metallb-system patch ipaddresspool POOL --type merge -p "
        """'{"spec": {"addresses": ["192.168.56.200-192.168.56.229"]}}'""",
        "pools: apply IPAddressPool metallb-system/POOL",
    ),
    (
        "-n metallb-system delete l2advertisement POOL",
        "pools: apply L2Advertisement metallb-system/POOL",
    ),
    (
        "-n metallb-system set image deployment/controller controller=quay.io/metallb/controller:v0.0.1",
        "metallb: apply Deployment metallb-system/controller",
    ),
    ("delete storageclass nfs", "storage: apply StorageClass nfs"),
    (
        """-n kube-system patch configmap kubelet-config --type merge -p '{"data": {"kubelet": "maxPods: 60"}}'""",
        "kubeadm-objects: restore ConfigMap kube-system/kubelet-config",
    ),
    ("-n course scale deployment/np-pods --replicas 1", "workloads: apply Deployment course/np-pods"),
)


def planned() -> tuple[list[str], float]:
    """Return the lines of a plan as "step: summary", and its duration in seconds."""
    ran = drive.operator("plan", quiet=True)
    assert ran.status in (0, 2), ran.text[-4000:]
    lines = [f"{one['step']}: {one['text']}" for one in ran.events if one["kind"] == "pending"]
    assert bool(lines) == (ran.status == 2), ran.text[-4000:]
    assert not [one for one in ran.events if one["kind"] in ("waiting", "failed")], ran.text[-4000:]
    return lines, ran.seconds


def expire_soon(name: str, authority: str) -> None:
    """Sign a certificate of kubeadm's anew, as if it had been made a year ago."""
    files = [f"{authority}.crt", f"{authority}.key", f"{name}.crt"]
    pem = [drive.ssh("master", f"cat {PKI}/{file}").text.encode() for file in files]
    signer, old = x509.load_pem_x509_certificate(pem[0]), x509.load_pem_x509_certificate(pem[2])
    key = serialization.load_pem_private_key(pem[1], None)
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(signer.subject, old.subject, old.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=360))
    made = made.not_valid_after(now + timedelta(days=5))
    for extension in old.extensions:
        made = made.add_extension(extension.value, extension.critical)
    assert isinstance(key, rsa.RSAPrivateKey)
    text = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    written = drive.ssh("master", f"cat >{PKI}/{name}.crt <<'END'\n{text}END\n")
    assert written.status == 0, written.text


def test_one_plan_tells_all_differences_and_one_apply_mends_them() -> None:
    """Several of them are on the same node, and an earlier step hides none of them."""
    before, usual = planned()
    assert before == []
    worker = f"worker{lifecycle.find_up(drive.LAB).workers}"
    pool = json.loads(drive.kubectl("-n metallb-system get ipaddresspools -o json"))["items"][0]["metadata"]["name"]
    expected = [said for _, _, said in ON_HOSTS]
    for arguments, said in BY_KUBECTL:
        drive.kubectl(arguments.replace("POOL", pool))
        expected.append(said.replace("POOL", pool))
    for command, where, _ in ON_HOSTS:
        ran = drive.ssh(worker if where == "worker" else "master", command)
        assert ran.status == 0, ran.text
    expire_soon("front-proxy-client", "front-proxy-ca")
    expected.append("kubeadm-files: renew certificate front-proxy-client")
    drive.until("the API to answer", lambda: drive.ssh("master", READY).status == 0, 120)

    lines, seconds = planned()
    wanted = tuple(filter(None, expected))
    assert not [said for said in wanted if not any(line.startswith(said) for line in lines)], "\n".join(lines)
    # What is not ready yet because of a difference is told, too, as what it is.
    assert not [line for line in lines if not line.startswith(wanted) and not WAITS.match(line)]
    drive.say(f"{len(wanted)} differences in {seconds:.1f} s; without any, {usual:.1f} s")

    applied = drive.operator("apply", "-y")
    assert applied.status == 0, applied.text[-4000:]
    after, _ = planned()
    assert after == []
