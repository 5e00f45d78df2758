"""`l2` with nothing but a kubeconfig: a k3s-shaped cluster in a real API server, its nodes as network namespaces.

Each verdict is the one that the nodes' interfaces, as SSH would tell them, lead to, or unknown.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.kube.manifests import load
from provisioner.l2 import facts_file
from provisioner.l2.facts import Nic
from tests.integration.kube import reaching
from tests.integration.kube.apiserver import ControlPlane, until
from tests.integration.l2 import vrrp_master
from tests.integration.l2.collect.conftest import enter

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[3]
N1, N2, VIP, SILENT, LOST = "192.0.2.11", "192.0.2.12", "192.0.2.200", "192.0.2.201", "192.0.2.202"
MACS = {"n1": "52:54:00:00:00:11", "n2": "52:54:00:00:00:12"}
SERVE = """
import http.server, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 80), H).serve_forever()
"""


class Segment:
    """A bridge with this machine and two nodes; `run` starts a program in a node until the end."""

    def __init__(self) -> None:
        self.name = f"pl2-any-{os.getpid()}"
        self.running: list[subprocess.Popen[bytes]] = []

    def create(self) -> None:
        for suffix in ("me", "sw", *MACS):
            self.ip("netns", "add", f"{self.name}-{suffix}")
        for line in ("link add br0 type bridge mcast_snooping 0", "link set br0 up"):
            self.ip("-n", f"{self.name}-sw", *line.split())
        self._plug("me", "02:00:00:00:00:01", "192.0.2.1")
        for (node, mac), address in zip(MACS.items(), (N1, N2), strict=True):
            self._plug(node, mac, address)

    def _plug(self, host: str, mac: str, address: str) -> None:
        inside = ("-n", f"{self.name}-{host}")
        peer = ("peer", "name", "eth1", "netns", f"{self.name}-{host}")
        self.ip("-n", f"{self.name}-sw", "link", "add", f"to-{host}", "type", "veth", *peer)
        self.ip("-n", f"{self.name}-sw", "link", "set", f"to-{host}", "master", "br0", "up")
        self.ip(*inside, "link", "set", "lo", "up")
        self.ip(*inside, "link", "set", "eth1", "address", mac, "up")
        self.ip(*inside, "address", "add", f"{address}/24", "dev", "eth1")

    def ip(self, *words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    def run(self, node: str, code: str, *words: str) -> subprocess.Popen[bytes]:
        place = ["ip", "netns", "exec", f"{self.name}-{node}", "setpriv", "--pdeathsig", "KILL", "--"]
        started = subprocess.Popen([*place, sys.executable, "-c", code, *words], stdin=subprocess.DEVNULL)
        self.running.append(started)
        return started

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        self.running.remove(process)

    def destroy(self) -> None:
        for process in [*self.running]:
            self.stop(process)
        for suffix in ("me", "sw", *MACS):
            subprocess.run(["ip", "netns", "delete", f"{self.name}-{suffix}"], check=False)


@pytest.fixture(scope="module")
def segment() -> Iterator[Segment]:
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    made, here = Segment(), f"/proc/self/task/{threading.get_native_id()}/ns/net"
    with open(here) as home:
        try:
            made.create()
            enter(f"/run/netns/{made.name}-me")
            yield made
        finally:
            enter(f"/proc/self/fd/{home.fileno()}")
            made.destroy()


@pytest.fixture(scope="module")
def plane(segment: Segment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with reaching.running(tmp_path_factory.mktemp("control-plane")) as made:
        yield made


@pytest.fixture(scope="module")
def home(plane: ControlPlane, segment: Segment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fill the API, and return a folder with the kubeconfig of an account with l2/rbac.yaml and nothing else."""
    for item in objects():
        create(plane, item)
    for item in load(ROOT / "l2/rbac.yaml"):
        create(plane, item)
    segment.ip("-n", f"{segment.name}-n1", "address", "add", f"{VIP}/32", "dev", "eth1")
    for node in MACS:
        segment.run(node, SERVE)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    status, issued = plane.ask("POST", "/api/v1/namespaces/kube-system/serviceaccounts/l2-reader/token", request)
    assert status == 201, issued
    document = yaml.safe_load(plane.kubeconfig())
    document["users"][0]["user"] = {"token": issued["status"]["token"]}
    folder = tmp_path_factory.mktemp("home")
    (folder / ".kube").mkdir()
    (folder / ".kube/config").write_text(yaml.safe_dump(document))
    return folder


PLURALS = {
    "Node": "/api/v1/nodes",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Service": "/api/v1/namespaces/{}/services",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}


def create(plane: ControlPlane, item: dict[str, Any]) -> None:
    path, status = PLURALS[item["kind"]].format(item["metadata"].get("namespace", "")), item.pop("status", None)

    def created() -> bool:
        code, said = plane.ask("POST", path, item)
        # The account of pods is made by a controller, a moment after the namespace.
        assert code in (201, 409) or "serviceaccount" in str(said), said
        return code in (201, 409)

    until(created, f"{item['kind']} {item['metadata']['name']}")
    if status is not None:
        patch = {"status": status}
        name, content = item["metadata"]["name"], "application/merge-patch+json"
        code, said = plane.ask("PATCH", f"{path}/{name}/status", patch, content=content)
        assert code == 200, said


def objects() -> Iterator[dict[str, Any]]:
    """Yield a cluster as k3s has it, with a kube-vip and a Lease of Cilium's beside ServiceLB; no MetalLB."""
    ready = [{"type": "Ready", "status": "True", "lastHeartbeatTime": None, "lastTransitionTime": None}]
    for name, address in (("n1", N1), ("n2", N2)):
        labels = {"node.kubernetes.io/instance-type": "k3s", "kubernetes.io/hostname": name}
        addresses = [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}]
        status = {"conditions": ready, "addresses": addresses}
        yield {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "status": status}
        owned = {
            "svccontroller.k3s.cattle.io/svcname": "traefik",
            "svccontroller.k3s.cattle.io/svcnamespace": "kube-system",
        }
        yield pod(f"svclb-traefik-{name}", name, "rancher/klipper-lb:v0.4.9", owned)
    yield pod(
        "kube-vip-n1", "n1", "ghcr.io/kube-vip/kube-vip:v0.8.9", {}, env=[{"name": "svc_enable", "value": "true"}]
    )
    yield service("kube-system", "traefik", N1, N2)
    yield service("default", "vip", VIP, annotations={"kube-vip.io/vipHost": "n1"})
    yield service("default", "cil", SILENT)
    yield service("default", "lost", LOST, annotations={})
    yield lease("cilium-l2announce-default-cil", "n2")
    yield lease("plndr-cp-lock", "n1")
    config = {"ClusterConfiguration": f"controlPlaneEndpoint: {VIP}:80\n"}
    place = {"name": "kubeadm-config", "namespace": "kube-system"}
    yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": place, "data": config}


def pod(name: str, node: str, image: str, labels: dict[str, str], **container: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"nodeName": node, "containers": [{"name": "c", "image": image, **container}]}
    spec["automountServiceAccountToken"] = False
    metadata = {"name": name, "namespace": "kube-system", "labels": labels}
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


def service(namespace: str, name: str, *ips: str, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "annotations": annotations or {}}
    spec = {"type": "LoadBalancer", "ports": [{"port": 80, "targetPort": 80}]}
    status = {"loadBalancer": {"ingress": [{"ip": ip} for ip in ips]}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec, "status": status}


def lease(name: str, holder: str) -> dict[str, Any]:
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": now}
    metadata = {"name": name, "namespace": "kube-system"}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


def l2(home: Path, *words: str, plugin: bool = True) -> tuple[int, str, str]:
    """Run `kubectl l2`, or `provisioner l2`, in an empty folder with this home, and no SSH client on the path."""
    program = "from provisioner.cli.kubectl_l2 import main; main()"
    command = [sys.executable, "-c", program] if plugin else [sys.executable, "-m", "provisioner", "l2"]
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    folder = home / "empty"
    folder.mkdir(exist_ok=True)
    ended = subprocess.run(
        [*command, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    return ended.returncode, ended.stdout, ended.stderr


def verdicts(stdout: str) -> dict[str, tuple[str, str]]:
    return {one["ip"]: (one["service"], one["verdict"]) for one in json.loads(stdout)["results"]}


EXPECTED = {
    N1: ("kube-system/traefik", "OK"),
    N2: ("kube-system/traefik", "OK"),
    VIP: ("default/vip", "OK"),
    SILENT: ("default/cil", "LEASE_HOLDER_SILENT"),
    LOST: ("default/lost", "UNKNOWN"),  # which of the three announcers has it is unknown
}


def test_a_check_with_only_a_kubeconfig(home: Path) -> None:
    status, stdout, stderr = l2(home, "check", "-o", "json")
    assert verdicts(stdout) == EXPECTED, stderr
    assert status == 1
    assert "the cluster is context c of" in stderr
    assert "without SSH" in stderr
    results = {one["ip"]: one for one in json.loads(stdout)["results"]}
    assert (results[VIP]["predicted_leader"], results[VIP]["owners"][0]["node"]) == ("n1", "n1")
    assert (results[VIP]["owners"][0]["mac"], results[VIP]["owners"][0]["matched_by"]) == (MACS["n1"], "arp")
    said = json.dumps([[one["remedy"], one["command"]] for one in results.values()]).lower()
    assert "metallb" not in said
    assert "provisioner" not in said, "there is no hosts.toml to use it with"
    assert "apply" not in said


def test_the_same_verdicts_as_with_the_nodes_interfaces(home: Path) -> None:
    """A facts file with what SSH would add leads to the same verdicts."""
    assert l2(home, "collect", "-o", "facts.json", plugin=False)[0] == 0
    path = home / "empty/facts.json"
    facts = facts_file.load(path)
    nics = {
        node.name: (Nic(name="eth1", mac=MACS[node.name], addresses=(f"{node.internal_ips[0]}/24",), up=True),)
        for node in facts.nodes
    }
    known = facts.model_copy(
        update={"nodes": tuple(one.model_copy(update={"nics": nics[one.name]}) for one in facts.nodes)}
    )
    path.write_text(facts_file.dump(known))
    _, stdout, stderr = l2(home, "check", "-o", "json", "--facts", "facts.json", plugin=False)
    assert verdicts(stdout) == EXPECTED, stderr


def test_a_scan_and_a_watch_name_the_nodes(home: Path) -> None:
    _, stdout, stderr = l2(home, "scan", VIP, "-o", "json")
    (found,) = json.loads(stdout)["results"]
    assert (found["state"], found["owners"][0]["node"]) == ("right", "n1"), stderr
    _, stdout, stderr = l2(home, "watch", VIP, "--timeout", "2", "-o", "json")
    assert '"n1"' in stdout, stderr


def test_the_api_and_two_masters_of_its_address(home: Path, segment: Segment) -> None:
    status, stdout, stderr = l2(home, "check", "api", "-o", "json")
    assert (status, verdicts(stdout)) == (0, {VIP: ("default/kubernetes", "OK")}), stderr
    first = segment.run("n1", vrrp_master.PROGRAM, "eth1", N1, VIP, "150")
    try:
        _, stdout, _ = l2(home, "check", "api", "-o", "json")
        (result,) = json.loads(stdout)["results"]
        assert result["verdict"] == "OK"
        assert any("n1 (192.0.2.11, " in line and "virtual router 51" in line for line in result["evidence"])
        second = segment.run("n2", vrrp_master.PROGRAM, "eth1", N2, VIP, "100")
        try:
            status, stdout, _ = l2(home, "check", "api", "-o", "json")
            (result,) = json.loads(stdout)["results"]
            assert (status, result["verdict"]) == (1, "VRRP_TWO_MASTERS")
        finally:
            segment.stop(second)
    finally:
        segment.stop(first)
