"""The real kubeadm reads every field of the documents that are built for it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from provisioner.catalogue import pause_image
from provisioner.kube import kubeadm
from tests import hosts_toml
from tests.integration.kube.apiserver import EDITION, programs
from tests.integration.kube.reaching import HOSTS

pytestmark = pytest.mark.integration

FULL = """
[kubeadm]
api_server = { "audit-log-maxage" = "7" }
controller_manager = { "leader-elect" = "false" }
scheduler = { "leader-elect" = "false" }
etcd = { "snapshot-count" = "5000" }
kubelet = { "v" = "2" }
kubelet_configuration = { maxPods = 50 }
key_algorithm = "ECDSA-P256"
init_timeout = "9m"
"""


def arguments(of: kubeadm.Document) -> dict[str, str]:
    """Return extra arguments of any API version: v1beta4 has a list of name and value."""
    given = of["kubeletExtraArgs"]
    return given if isinstance(given, dict) else {each["name"]: each["value"] for each in given}


def read(documents: list[kubeadm.Document], tmp_path: Path, *command: str) -> str:
    """Have kubeadm read a configuration; return its stdout. Fail on its warnings about unknown fields."""
    path = tmp_path / "kubeadm.yaml"
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    done = subprocess.run(
        [programs() / "kubeadm", *command, f"--{'old-' if 'migrate' in command else ''}config={path}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if "unknown field" in line or "error unmarshaling" in line]
    assert warnings == []
    return done.stdout


@pytest.mark.parametrize("more", ["", FULL], ids=["as shipped", "everything set"])
def test_init(tmp_path: Path, more: str) -> None:
    site = hosts_toml.load(tmp_path, HOSTS + more)
    documents = kubeadm.init_documents(site, site.first)
    images = read(documents, tmp_path, "config", "images", "list").split()
    assert f"registry.k8s.io/kube-apiserver:v{EDITION.kubernetes}" in images
    assert pause_image(EDITION.kubernetes) in images, "containerd is configured with another sandbox image"
    said = yaml.safe_load_all(read(documents, tmp_path, "config", "migrate"))
    found = {document["kind"]: document for document in said}
    assert found["InitConfiguration"]["localAPIEndpoint"]["advertiseAddress"] == "192.0.2.10"
    assert arguments(found["InitConfiguration"]["nodeRegistration"])["node-ip"] == "192.0.2.10"
    (token,) = found["InitConfiguration"]["bootstrapTokens"]
    assert token["ttl"] == kubeadm.TOKEN_LIFETIME
    if "timeouts" in found["InitConfiguration"]:  # from v1beta4
        timeout = found["InitConfiguration"]["timeouts"]["controlPlaneComponentHealthCheck"]
    else:
        timeout = found["ClusterConfiguration"]["apiServer"]["timeoutForControlPlane"]
    assert timeout == ("9m0s" if more else "4m0s")


@pytest.mark.parametrize(("more", "kind"), [("", RSAPrivateKey), (FULL, EllipticCurvePrivateKey)])
def test_keys_have_the_configured_algorithm(tmp_path: Path, more: str, kind: type) -> None:
    site = hosts_toml.load(tmp_path, HOSTS + more)
    documents = kubeadm.init_documents(site, site.first)
    documents[1]["certificatesDir"] = str(tmp_path / "pki")
    read(documents, tmp_path, "init", "phase", "certs", "ca")
    assert isinstance(load_pem_private_key((tmp_path / "pki/ca.key").read_bytes(), None), kind)


@pytest.mark.parametrize("leads", [False, True], ids=["worker", "control plane"])
def test_join(tmp_path: Path, leads: bool) -> None:
    text = HOSTS
    if leads:
        text = text.replace('roles = ["worker"]', 'roles = ["control-plane"]')
        text = text.replace("[[hosts]]", 'endpoint = "192.0.2.9:6443"\n[[hosts]]', 1)
    site = hosts_toml.load(tmp_path, text)
    document = kubeadm.join_document(
        site,
        site.host("worker1"),
        token="abcdef.0123456789abcdef",
        ca_hash=f"sha256:{'0' * 64}",
        certificate_key="1" * 64 if leads else "",
    )
    (found,) = yaml.safe_load_all(read([document], tmp_path, "config", "migrate"))
    assert found["discovery"]["bootstrapToken"]["apiServerEndpoint"] == site.endpoint
    assert found["discovery"]["bootstrapToken"]["token"] == "abcdef.0123456789abcdef"
    assert arguments(found["nodeRegistration"])["node-ip"] == "192.0.2.11"
    assert ("controlPlane" in found) is leads


def liveness(of: str) -> dict[str, int]:
    """Return the failureThreshold of each static pod's liveness probe that kubeadm writes.

    of: a directory, see WRITE. kubeadm only writes to /etc/kubernetes, so it runs with a private /etc.
    """
    made = subprocess.run(
        ["unshare", "--mount", "sh", "-euc", WRITE, "sh", of, programs() / "kubeadm"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    pods = yaml.safe_load_all(made.stdout[made.stdout.index("apiVersion:") :])
    containers = [pod["spec"]["containers"][0] for pod in pods if pod]
    return {one["name"]: one["livenessProbe"]["failureThreshold"] for one in containers}


# $1: a directory with kubeadm.yaml, patches and flag; $2: kubeadm.
WRITE = """
mkdir "$1/own"
mount -t tmpfs none "$1/own"
mkdir "$1/own/upper" "$1/own/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/own/upper,workdir=$1/own/work" /etc
for phase in 'control-plane all' 'etcd local'; do
  "$2" init phase $phase --config "$1/kubeadm.yaml" $(cat "$1/flag") >/dev/null
done
for name in /etc/kubernetes/manifests/*.yaml; do cat "$name"; echo ---; done
"""


@pytest.mark.parametrize(("scale", "threshold"), [(1.0, kubeadm.FAILURE_THRESHOLD), (8.0, 64)])
def test_the_probes_of_static_pods_are_scaled(tmp_path: Path, scale: float, threshold: int) -> None:
    if os.geteuid() != 0:
        pytest.skip("a private /etc needs root")
    site = hosts_toml.load(tmp_path, HOSTS.replace("[cluster]", f"[cluster]\ntimeout_scale = {scale}", 1))
    (tmp_path / "patches").mkdir()
    for path, content in kubeadm.patches(site).items():
        (tmp_path / "patches" / Path(path).name).write_text(content)
    text = yaml.safe_dump_all(kubeadm.init_documents(site, site.first), sort_keys=False)
    (tmp_path / "kubeadm.yaml").write_text(text.replace(kubeadm.PATCHES, f"{tmp_path}/patches"))
    (tmp_path / "flag").write_text(kubeadm.patches_flag(site).replace(kubeadm.PATCHES, f"{tmp_path}/patches"))
    assert liveness(str(tmp_path)) == dict.fromkeys(kubeadm.STATIC_PODS, threshold)


def test_kubeadm_reports_an_unknown_field(tmp_path: Path) -> None:
    """Otherwise the tests above could not fail."""
    site = hosts_toml.load(tmp_path, HOSTS)
    documents = kubeadm.init_documents(site, site.first)
    documents[0]["nonsense"] = True
    with pytest.raises(AssertionError, match="nonsense"):
        read(documents, tmp_path, "config", "images", "list")
