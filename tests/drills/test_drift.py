"""Somebody edits nodes and objects by hand: one plan tells all of it and nothing else, one apply mends it."""

from __future__ import annotations

import json
import re

import pytest

from provisioner.lab import lifecycle
from tests.e2e import drive

pytestmark = pytest.mark.drill
PKI = "/etc/kubernetes/pki"
# A certificate of kubeadm's that ends within a week, signed by the cluster's CA as the old one was.
SHORT = (
    f"cd {PKI}; openssl req -new -key front-proxy-client.key -subj /CN=front-proxy-client -out /tmp/r.csr; "
    "openssl x509 -req -in /tmp/r.csr -CA front-proxy-ca.crt -CAkey front-proxy-ca.key -days 6 -set_serial 77 "
    "-out front-proxy-client.crt"
)
READY = "kubectl --kubeconfig /etc/kubernetes/admin.conf get --raw /readyz"
WAITS = re.compile(r"[a-z-]+: wait for (DaemonSet|Deployment|node) ")
# (what is done on a host as root, the host, what the plan says of it)
ON_HOSTS = (
    ("rm /etc/modules-load.d/provisioner.conf", "worker", "prepare: write /etc/modules-load.d/provisioner.conf"),
    ("echo '/swap none swap sw 0 0' >>/etc/fstab", "worker", "prepare: comment swap out in /etc/fstab"),
    ("echo >>/etc/sysctl.d/90-provisioner.conf", "worker", "prepare: change /etc/sysctl.d/90-provisioner.conf"),
    ("rm /etc/crictl.yaml", "worker", "containerd: write /etc/crictl.yaml"),
    ("apt-mark unhold kubelet", "worker", "kubernetes: hold kubeadm, kubelet, kubectl|hold kubelet, kubeadm, kubectl"),
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
    (SHORT, "master", "kubeadm-files: renew certificate front-proxy-client"),
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
        """-n kube-system patch configmap coredns --type merge -p '{"data": {"Corefile": ".:53 {\\n    errors\\n}\\n"}}'""",
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
    drive.until("the API to answer", lambda: drive.ssh("master", READY).status == 0, 120)

    lines, seconds = planned()
    wanted = [re.compile(re.escape(said).replace(r"\|", "|")) for said in expected if said]
    assert not [one.pattern for one in wanted if not any(map(one.match, lines))], lines
    # What is not ready yet because of a difference is told, too, as what it is.
    assert not [line for line in lines if not WAITS.match(line) and not any(one.match(line) for one in wanted)]
    drive.say(f"{len(wanted)} differences in {seconds:.1f} s; without any, {usual:.1f} s")

    applied = drive.operator("apply", "-y")
    assert applied.status == 0, applied.text[-4000:]
    after, _ = planned()
    assert after == []
