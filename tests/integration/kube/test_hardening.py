"""A real kube-apiserver reads the files that hardening writes, and does what they say."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.checks.hardening import privileged_pod, stored
from provisioner.kube import hardening as documents
from provisioner.site import Site, hardening
from tests.integration.kube import reaching
from tests.integration.kube.apiserver import ControlPlane, until

VALUE = "never-in-the-open"


@pytest.fixture(scope="module")
def hardened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Return a control plane with the flags and files of a new cluster, in a folder of the test's."""
    folder = tmp_path_factory.mktemp("hardened")
    site = reaching.load(tmp_path_factory.mktemp("site"))
    for path, text in {**documents.files(site), hardening.ENCRYPTION: documents.new_encryption()}.items():
        (folder / Path(path).name).write_text(text)
    flags = {
        name: str(folder / Path(value).name)
        if value.startswith((hardening.DIRECTORY, hardening.AUDIT_FOLDER))
        else value
        for name, value in hardening.api_server_flags(site).items()
        if name != hardening.mark("verify_kubelets")
    }
    made = ControlPlane(folder, flags=tuple(f"--{name}={value}" for name, value in flags.items()))
    try:
        made.start_etcd()
        made.start_api()
        yield made
    finally:
        made.stop()


def raw(control_plane: ControlPlane, key: str) -> bytes:
    """Return what etcd has under a key, by its JSON gateway, in the form that etcdctl prints."""
    body = json.dumps({"key": base64.b64encode(key.encode()).decode()}).encode()
    url = f"http://127.0.0.1:{control_plane.ports['etcd']}/v3/kv/range"
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as answer:
        found = stored(answer.read().decode())
    assert found is not None, f"etcd has nothing under {key}"
    return found


def create(control_plane: ControlPlane, kind: str, name: str, value: str) -> None:
    made: dict[str, Any] = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "data": {"value": value}}
    status, answer = control_plane.ask("POST", f"/api/v1/namespaces/default/{kind.lower()}s", made)
    assert status == 201, answer


def test_a_secret_is_encrypted_and_a_config_map_is_not(hardened: ControlPlane) -> None:
    encoded = base64.b64encode(VALUE.encode()).decode()
    create(hardened, "Secret", "one", encoded)
    create(hardened, "ConfigMap", "one", VALUE)
    secret = raw(hardened, "/registry/secrets/default/one")
    assert secret.startswith(documents.PREFIX.encode())
    assert VALUE.encode() not in secret
    assert VALUE.encode() in raw(hardened, "/registry/configmaps/default/one"), "or nothing is proven"
    _, answer = hardened.ask("GET", "/api/v1/namespaces/default/secrets/one")
    assert answer["data"]["value"] == encoded


def test_the_audit_log_has_who_and_not_what(hardened: ControlPlane) -> None:
    encoded = base64.b64encode(VALUE.encode()).decode()
    create(hardened, "Secret", "two", encoded)
    hardened.ask("GET", "/version")
    log = hardened.directory / Path(hardening.AUDIT_LOG).name
    until(lambda: '"name":"two"' in log.read_text(), "the line in the audit log")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (line,) = [one for one in lines if (one.get("objectRef") or {}).get("name") == "two"]
    assert (line["user"]["username"], line["verb"], line["level"]) == ("kubernetes-admin", "create", "Metadata")
    assert encoded not in log.read_text()
    assert not [one for one in lines if one["requestURI"] == "/version"]
    assert not [one for one in lines if (one.get("objectRef") or {}).get("resource") == "leases"]


def test_a_privileged_pod_is_for_system_namespaces(hardened: ControlPlane, site: Site) -> None:
    if hardening.lacking(site, "pod_security"):  # KUBERNETES=1.37 has it
        assert not [flag for flag in hardened.flags if "admission" in flag]
        return
    for name in ("fresh", "kube-system"):
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        hardened.ask("POST", "/api/v1/namespaces", namespace)
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        hardened.ask("POST", f"/api/v1/namespaces/{name}/serviceaccounts", account)
    path = "/api/v1/namespaces/{0}/pods?dryRun=All"
    status, answer = hardened.ask("POST", path.format("fresh"), privileged_pod("fresh"))
    assert (status, 'violates PodSecurity "baseline:latest"' in answer["message"]) == (403, True)
    status, answer = hardened.ask("POST", path.format("kube-system"), privileged_pod("kube-system"))
    assert status == 201, answer
