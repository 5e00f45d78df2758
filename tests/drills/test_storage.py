"""Volumes survive what happens to machines: a restarted server, a worker without power; strangers stay outside.

A pod appends numbered, checksummed lines to a file on NFS and says each number only after the file was closed, which
is when NFS has it on the server's disk. What was said must be there, whatever happened in between.
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
STRANGER = "192.168.56.99"
PHASE = "-o jsonpath={.status.phase}"
# Any worker will do; one that has lost its power is given up after ten seconds, not after five minutes.
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
# Somebody else, who shares nothing with the writer but fsGroup.
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
    """Run the writer and give its directory on the NFS server; afterwards remove it, its volume free for the next."""
    drive.kubectl("apply -f -", stdin=MANIFEST.replace("IMAGE", image()))
    drive.until("the writer to be made", lambda: drive.kubectl(f"-n {NAMESPACE} get pods -o name") != "")
    drive.until("the writer to write", lambda: len(said()) >= 5)
    volume = drive.kubectl(f"-n {NAMESPACE} get pvc log -o jsonpath={{.spec.volumeName}}")
    path = drive.kubectl(f"get pv {volume} -o jsonpath={{.spec.nfs.path}}")
    yield path
    drive.kubectl(f"delete namespace {NAMESPACE} --timeout=600s")
    free(volume, path)


def free(volume: str, path: str) -> None:
    """Empty a released volume and give it to whoever claims next, as docs/workloads.md says."""
    assert path.startswith("/srv/nfs/nfs-"), path
    phase = f"get pv {volume} -o jsonpath={{.status.phase}}"
    drive.until(f"{volume} to be released", lambda: drive.kubectl(phase) == "Released")
    emptied = drive.ssh("master", f"find {path} -mindepth 1 -delete")
    assert emptied.status == 0, emptied.text
    drive.kubectl(f"""patch pv {volume} --type=json -p '[{{"op": "remove", "path": "/spec/claimRef"}}]'""")
    drive.until(f"{volume} to be free", lambda: drive.kubectl(phase) != "Released")


def image() -> str:
    """Return the image that the course's pods run."""
    return drive.kubectl("-n course get deployment np-pods -o jsonpath={.spec.template.spec.containers[0].image}")


def in_pod(pod: str, script: str) -> str:
    """Run a line of shell in a pod and return what it prints."""
    return drive.kubectl(f"-n {NAMESPACE} exec {pod} -- sh -c {shlex.quote(script)}")


def owner(path: str) -> str:
    """Return user, group and mode of a file on the server, as "1000 2000 644"."""
    ran = drive.ssh("master", f"stat -c '%u %g %a' {path}")
    assert ran.status == 0, ran.text
    return ran.text.strip()


def said(pod: str = "") -> list[int]:
    """Return the numbers that the writer has acknowledged, in the order it said them."""
    name = pod or writer()["metadata"]["name"]
    return [int(line) for line in drive.kubectl(f"-n {NAMESPACE} logs {name}", unless=("waiting to start",)).split()]


@contextmanager
def listening(pod: str) -> Iterator[Callable[[], list[int]]]:
    """Follow what the writer says; give what returns the numbers that have arrived so far.

    A line that has not arrived whole does not count. What has arrived was acknowledged, whatever becomes of the
    machine, the log or the connection afterwards.
    """
    command = f"kubectl --kubeconfig /etc/kubernetes/admin.conf -n {NAMESPACE} logs -f {pod}"
    argv = [*drive.CLI, "lab", "ssh", "master", "sudo", "sh", "-c", shlex.quote(command)]
    with tempfile.NamedTemporaryFile() as heard:

        def numbers() -> list[int]:
            with open(heard.name, encoding="ascii") as file:
                lines = file.read().splitlines(keepends=True)
            return [int(line) for line in lines if line.endswith("\n")]

        with subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=heard, stderr=subprocess.DEVNULL, cwd=drive.ROOT
        ) as process:
            try:
                yield numbers
            finally:
                process.kill()


def writer() -> dict[str, dict[str, str]]:
    """Return the writer's pod that is not going away."""
    pods = json.loads(drive.kubectl(f"-n {NAMESPACE} get pods -o json"))["items"]
    (pod,) = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    found: dict[str, dict[str, str]] = pod
    return found


def written(folder: str) -> list[int]:
    """Return the numbers in the file on the server, each line's checksum verified."""
    numbers = []
    for line in drive.ssh("master", f"cat {folder}/log").text.splitlines():
        text, _, checksum = line.rpartition(" ")
        assert hashlib.sha256(text.encode()).hexdigest()[:16] == checksum, f"a torn line: {line!r}"
        numbers.append(int(text.split()[0]))
    return numbers


def test_a_pod_that_is_not_root_writes_as_itself(folder: str) -> None:
    """The file belongs to the pod's user and group."""
    assert owner(f"{folder}/log").startswith("1000 2000 ")
    groups = drive.kubectl(f"-n {NAMESPACE} exec deployment/writer -- id -G").split()
    assert "2000" in groups, "fsGroup is among the process's groups"


def test_another_user_of_the_same_group_reads_and_writes(folder: str) -> None:
    """What only owner and group may touch, a pod of another user and the same fsGroup reads, and adds to."""
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


def test_the_server_restarts_in_mid_write(folder: str) -> None:
    """The writer waits, goes on, and has lost nothing that it said; it was not restarted for it."""
    pod = writer()["metadata"]["name"]
    before = said()[-1]
    assert drive.ssh("master", "systemctl restart nfs-server").status == 0
    begun = time.monotonic()
    drive.until("the writer to go on", lambda: said()[-1] >= before + 10)
    drive.say(f"the writer went on within {time.monotonic() - begun:.0f} s of the restart")
    assert writer()["metadata"]["name"] == pod
    acknowledged, kept = said(), written(folder)
    assert kept[: len(acknowledged)] == acknowledged == list(range(acknowledged[0], acknowledged[-1] + 1))


def test_a_worker_loses_power_in_mid_write(folder: str) -> None:
    """The pod comes up elsewhere and finds every acknowledged line.

    Kubernetes may leave it for minutes on a node that is lost (seen after a snapshot was put back); so once the node
    is known to be lost, the pod is given up as its documentation says.
    """
    pod = writer()
    node, name = pod["spec"]["nodeName"], pod["metadata"]["name"]
    spec = lifecycle.find_up(drive.LAB)
    before = said()[-1]
    state = f"get node {node} --no-headers"
    give_up = f"-n {NAMESPACE} delete pod {name} --force --grace-period=0 --ignore-not-found"
    with listening(name) as numbers:
        drive.until("the writer to be heard as it writes", lambda: numbers()[-1:] > [before])
        lifecycle.power_off(spec, node)
        begun = time.monotonic()
        try:
            lost = f"{node} to be known as lost"
            drive.until(lost, lambda: drive.kubectl(state).split()[1].startswith("NotReady"))
            drive.kubectl(give_up)
            drive.until("the writer to come up elsewhere", lambda: _elsewhere(node, name))
            drive.say(f"the writer writes again, {time.monotonic() - begun:.0f} s after {node} lost its power")
            acknowledged = numbers()  # what was on its way when the power went has arrived long since
            missing = set(acknowledged) - set(written(folder))
            assert not missing, f"acknowledged and lost: {sorted(missing)}"
        finally:
            lifecycle.start(spec, node, drive.say)
    drive.until(f"{node} to be ready again", lambda: drive.kubectl(state).split()[1] == "Ready")


def test_data_outlives_claim_and_deployment(folder: str) -> None:
    """Retain: both go, the volume is Released, and the file on the server is as it was."""
    kept = written(folder)
    volume = drive.kubectl(f"-n {NAMESPACE} get pvc log -o jsonpath={{.spec.volumeName}}")
    drive.kubectl(f"-n {NAMESPACE} scale deployment/writer --replicas=0")
    drive.until("the writer to go", lambda: drive.kubectl(f"-n {NAMESPACE} get pods -o name") == "")
    drive.kubectl(f"-n {NAMESPACE} delete deployment/writer pvc/log --timeout=300s")
    phase = f"get pv {volume} -o jsonpath={{.status.phase}}"
    drive.until("the volume to be released", lambda: drive.kubectl(phase) == "Released")
    assert written(folder)[: len(kept)] == kept


def test_a_host_that_is_not_the_clusters_may_not_mount() -> None:
    """The same machine, from an address that hosts.toml does not name, is refused; from its own it is let in.

    By NFS 4.1: with the version that the volumes use, the kernel would share their connection, and their address.
    """
    share = "192.168.56.10:/srv/nfs"
    try:
        nic = drive.ssh("worker2", "ip -o -4 address | awk '/ 192.168.56.12.24/ {print $2}'").text.strip()
        disguise = f"ip address add {STRANGER}/24 dev {nic} && ip route add 192.168.56.10/32 dev {nic} src {STRANGER}"
        made = drive.ssh("worker2", f"mkdir -p /mnt/stranger && {disguise}")
        assert made.status == 0, made.text
        refused = drive.ssh("worker2", f"mount -t nfs -o nfsvers=4.1,soft,retry=0 {share} /mnt/stranger")
        assert refused.status != 0, "a stranger may mount the export"
        assert "access denied by server" in refused.text, refused.text
    finally:
        drive.ssh("worker2", f"ip route del 192.168.56.10/32; ip address del {STRANGER}/24 dev {nic}")
    mount = f"mount -t nfs -o nfsvers=4.1,soft,retry=0 {share} /mnt/stranger"
    own = drive.ssh("worker2", f"{mount} && umount /mnt/stranger")
    assert own.status == 0, own.text


def _elsewhere(node: str, name: str) -> bool:
    pods = json.loads(drive.kubectl(f"-n {NAMESPACE} get pods -o json"))["items"]
    new = [pod for pod in pods if pod["metadata"]["name"] != name and pod["spec"].get("nodeName") not in (None, node)]
    if not new or new[0]["status"].get("phase") != "Running":
        return False
    return bool(said(new[0]["metadata"]["name"]))
