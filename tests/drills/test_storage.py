"""Volumes survive a restart of the NFS server and a worker's loss of power, and other hosts cannot mount them.

A pod appends numbered lines with checksums to a file on NFS and prints each number once the file is closed, which is
when the line is on the server's disk. Every printed number must then be in the file, whatever happened.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from provisioner.lab import lifecycle
from tests.e2e import drive

pytestmark = pytest.mark.drill

NAMESPACE = "append-log"
OTHER_ADDRESS = "192.168.56.99"
PHASE = "-o jsonpath={.status.phase}"
# The pod is evicted ten seconds after its worker is lost, instead of five minutes.
MANIFEST = """
apiVersion: v1
kind: Namespace
metadata: {name: append-log}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: log, namespace: append-log}
spec:
  accessModes: [ReadWriteMany]
  storageClassName: nfs
  resources: {requests: {storage: 64Mi}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: writer, namespace: append-log}
spec:
  replicas: 1
  strategy: {type: Recreate}
  selector: {matchLabels: {app: writer}}
  template:
    metadata: {labels: {app: writer}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {runAsUser: 1000, runAsGroup: 2000, runAsNonRoot: true, fsGroup: 2000}
      tolerations:
        - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 10}
        - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 10}
      containers:
        - name: writer
          image: IMAGE
          command: [sh, -c]
          args:
            - |
              n=0
              [ -f /data/log ] && n=$(wc -l < /data/log)
              while :; do
                n=$((n + 1))
                line="$n $HOSTNAME"
                printf '%s %s\\n' "$line" "$(printf %s "$line" | sha256sum | cut -c1-16)" >> /data/log || exit 1
                echo "$n"
                sleep 0.5
              done
          volumeMounts: [{name: data, mountPath: /data}]
      volumes: [{name: data, persistentVolumeClaim: {claimName: log}}]
"""
# Shares only fsGroup with the writer.
PEER = """
apiVersion: v1
kind: Pod
metadata: {name: peer, namespace: append-log}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsUser: 3000, runAsGroup: 3000, runAsNonRoot: true, fsGroup: 2000}
  containers:
    - name: peer
      image: IMAGE
      command: [sh, -c, "trap 'exit 0' TERM; sleep 86400 & wait"]
      volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: log}}]
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[str]:
    """Return the writer's directory on the NFS server."""
    with writing() as path:
        yield path


@contextmanager
def writing() -> Iterator[str]:
    """Run the writer and yield its directory on the NFS server; remove it and release the volume afterwards."""
    drive.kubectl("apply -f -", stdin=MANIFEST.replace("IMAGE", image()))
    drive.until("the writer to be created", lambda: drive.kubectl(f"-n {NAMESPACE} get pods -o name") != "")
    drive.until("the writer to write", lambda: len(acknowledged()) >= 5)
    volume = drive.kubectl(f"-n {NAMESPACE} get pvc log -o jsonpath={{.spec.volumeName}}")
    path = drive.kubectl(f"get pv {volume} -o jsonpath={{.spec.nfs.path}}")
    yield path
    drive.kubectl(f"delete namespace {NAMESPACE} --timeout=600s")
    release(volume, path)


def release(volume: str, path: str) -> None:
    """Empty a Released volume and make it Available, as docs/workloads.md says."""
    assert path.startswith("/srv/nfs/nfs-"), path
    phase = f"get pv {volume} -o jsonpath={{.status.phase}}"
    drive.until(f"{volume} to be Released", lambda: drive.kubectl(phase) == "Released")
    emptied = drive.ssh("master", f"find {path} -mindepth 1 -delete")
    assert emptied.status == 0, emptied.text
    drive.kubectl(f"""patch pv {volume} --type=json -p '[{{"op": "remove", "path": "/spec/claimRef"}}]'""")
    drive.until(f"{volume} to be Available", lambda: drive.kubectl(phase) != "Released")


def image() -> str:
    """Return the image of the course's pods."""
    return drive.kubectl("-n course get deployment np-pods -o jsonpath={.spec.template.spec.containers[0].image}")


def in_pod(pod: str, script: str) -> str:
    """Run a shell command in a pod and return its output."""
    return drive.kubectl(f"-n {NAMESPACE} exec {pod} -- sh -c {shlex.quote(script)}")


def owner(path: str) -> str:
    """Return user, group and mode of a file on the server, as "1000 2000 644"."""
    ran = drive.ssh("master", f"stat -c '%u %g %a' {path}")
    assert ran.status == 0, ran.text
    return ran.text.strip()


def acknowledged(pod: str = "") -> list[int]:
    """Return the numbers that the writer has printed, in its order."""
    name = pod or writer()["metadata"]["name"]
    return [int(line) for line in drive.kubectl(f"-n {NAMESPACE} logs {name}", unless=("waiting to start",)).split()]


@contextmanager
def following(pod: str) -> Iterator[Callable[[], list[int]]]:
    """Follow the writer's log; yield a function that returns the numbers received so far.

    An incomplete line does not count. A received number was acknowledged, whatever happens to the machine, the log or
    the connection afterwards.
    """
    command = f"kubectl --kubeconfig /etc/kubernetes/admin.conf -n {NAMESPACE} logs -f {pod}"
    argv = [*drive.CLI, "lab", "ssh", "master", "sudo", "sh", "-c", shlex.quote(command)]
    with tempfile.NamedTemporaryFile() as log:

        def numbers() -> list[int]:
            with open(log.name, encoding="ascii") as file:
                lines = file.read().splitlines(keepends=True)
            return [int(line) for line in lines if line.endswith("\n")]

        with subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.DEVNULL, cwd=drive.ROOT
        ) as process:
            try:
                yield numbers
            finally:
                process.kill()


def writer() -> dict[str, dict[str, str]]:
    """Return the writer's pod that is not terminating."""
    pods = json.loads(drive.kubectl(f"-n {NAMESPACE} get pods -o json"))["items"]
    (pod,) = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    found: dict[str, dict[str, str]] = pod
    return found


def written(folder: str) -> list[int]:
    """Return the numbers in the file on the server, and verify the checksum of each line."""
    numbers = []
    for line in drive.ssh("master", f"cat {folder}/log").text.splitlines():
        text, _, checksum = line.rpartition(" ")
        assert hashlib.sha256(text.encode()).hexdigest()[:16] == checksum, f"corrupt line: {line!r}"
        numbers.append(int(text.split()[0]))
    return numbers


def test_an_unprivileged_pod_writes_as_its_user(folder: str) -> None:
    """The file belongs to the pod's user and group."""
    assert owner(f"{folder}/log").startswith("1000 2000 ")
    groups = drive.kubectl(f"-n {NAMESPACE} exec deployment/writer -- id -G").split()
    assert "2000" in groups, "the process has fsGroup as a group"


def test_another_user_with_the_same_fsgroup_reads_and_writes(folder: str) -> None:
    """A pod with another user and the same fsGroup reads and appends to a file with mode 660."""
    drive.kubectl("apply -f -", stdin=PEER.replace("IMAGE", image()))
    try:
        drive.until("the peer to run", lambda: drive.kubectl(f"-n {NAMESPACE} get pod peer {PHASE}") == "Running")
        in_pod("deployment/writer", "umask 007; echo of the writer > /data/shared")
        assert owner(f"{folder}/shared") == "1000 2000 660"
        assert in_pod("pod/peer", "id -u; cat /data/shared").splitlines() == ["3000", "of the writer"]
        in_pod("pod/peer", "echo of the peer >> /data/shared")
        in_pod("pod/peer", "umask 007; echo mine > /data/peer; chgrp 2000 /data/peer")
        assert in_pod("deployment/writer", "cat /data/shared /data/peer").splitlines() == [
            "of the writer",
            "of the peer",
            "mine",
        ]
        assert owner(f"{folder}/shared") == "1000 2000 660"
        assert owner(f"{folder}/peer") == "3000 2000 660"
    finally:
        drive.kubectl(f"-n {NAMESPACE} delete pod peer --timeout=300s")


def test_the_server_restarts_during_writes(folder: str) -> None:
    """The writer waits and continues without a restart, and no acknowledged line is lost."""
    pod = writer()["metadata"]["name"]
    before = acknowledged()[-1]
    assert drive.ssh("master", "systemctl restart nfs-server").status == 0
    start = time.monotonic()
    drive.until("the writer to continue", lambda: acknowledged()[-1] >= before + 10)
    drive.say(f"the writer continued within {time.monotonic() - start:.0f} s of the restart")
    assert writer()["metadata"]["name"] == pod
    printed, kept = acknowledged(), written(folder)
    assert kept[: len(printed)] == printed == list(range(printed[0], printed[-1] + 1))


def test_a_worker_loses_power_during_writes(folder: str) -> None:
    """The pod starts on another node and finds every acknowledged line.

    Kubernetes may keep a pod on a lost node for minutes (seen after a snapshot was restored); so once the node is
    NotReady, the test force-deletes the pod, as Kubernetes' documentation says.
    """
    pod = writer()
    node, name = pod["spec"]["nodeName"], pod["metadata"]["name"]
    spec = lifecycle.find_up(drive.LAB)
    before = acknowledged()[-1]
    state = f"get node {node} --no-headers"
    force_delete = f"-n {NAMESPACE} delete pod {name} --force --grace-period=0 --ignore-not-found"
    with following(name) as numbers:
        drive.until("the writer's log to be followed", lambda: numbers()[-1:] > [before])
        lifecycle.power_off(spec, node)
        start = time.monotonic()
        try:
            lost = f"{node} to be NotReady"
            drive.until(lost, lambda: drive.kubectl(state).split()[1].startswith("NotReady"))
            drive.kubectl(force_delete)
            drive.until("the writer to start elsewhere", lambda: _elsewhere(node, name))
            drive.say(f"the writer writes again, {time.monotonic() - start:.0f} s after {node} lost power")
            printed = numbers()  # by now, what was sent before the power cut has been received
            missing = set(printed) - set(written(folder))
            assert not missing, f"acknowledged but lost: {sorted(missing)}"
        finally:
            lifecycle.start(spec, node, drive.say)
    drive.until(f"{node} to be Ready", lambda: drive.kubectl(state).split()[1] == "Ready")


def test_data_outlives_claim_and_deployment(folder: str) -> None:
    """Both are deleted, the volume is Released, and the file is still on the server."""
    kept = written(folder)
    volume = drive.kubectl(f"-n {NAMESPACE} get pvc log -o jsonpath={{.spec.volumeName}}")
    drive.kubectl(f"-n {NAMESPACE} scale deployment/writer --replicas=0")
    drive.until("the writer to be deleted", lambda: drive.kubectl(f"-n {NAMESPACE} get pods -o name") == "")
    drive.kubectl(f"-n {NAMESPACE} delete deployment/writer pvc/log --timeout=300s")
    phase = f"get pv {volume} -o jsonpath={{.status.phase}}"
    drive.until("the volume to be Released", lambda: drive.kubectl(phase) == "Released")
    assert written(folder)[: len(kept)] == kept


def test_a_host_outside_hosts_toml_cannot_mount() -> None:
    """A worker is refused from an address that is not in hosts.toml, and accepted from its own.

    With NFS 4.1, because the kernel would reuse the volumes' connection, and so their address, for the same version.
    """
    share = "192.168.56.10:/srv/nfs"
    try:
        nic = drive.ssh("worker2", "ip -o -4 address | awk '/ 192.168.56.12.24/ {print $2}'").text.strip()
        route = f"192.168.56.10/32 dev {nic} src {OTHER_ADDRESS}"
        add = f"ip address add {OTHER_ADDRESS}/24 dev {nic} && ip route add {route}"
        made = drive.ssh("worker2", f"mkdir -p /mnt/other && {add}")
        assert made.status == 0, made.text
        refused = drive.ssh("worker2", f"mount -t nfs -o nfsvers=4.1,soft,retry=0 {share} /mnt/other")
        assert refused.status != 0, "the other address can mount the export"
        assert "access denied by server" in refused.text, refused.text
    finally:
        drive.ssh("worker2", f"ip route del 192.168.56.10/32; ip address del {OTHER_ADDRESS}/24 dev {nic}")
    mount = f"mount -t nfs -o nfsvers=4.1,soft,retry=0 {share} /mnt/other"
    own = drive.ssh("worker2", f"{mount} && umount /mnt/other")
    assert own.status == 0, own.text


def _elsewhere(node: str, name: str) -> bool:
    pods = json.loads(drive.kubectl(f"-n {NAMESPACE} get pods -o json"))["items"]
    new = [pod for pod in pods if pod["metadata"]["name"] != name and pod["spec"].get("nodeName") not in (None, node)]
    if not new or new[0]["status"].get("phase") != "Running":
        return False
    return bool(acknowledged(new[0]["metadata"]["name"]))
