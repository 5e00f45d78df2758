"""What an apply says stands at its end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from provisioner.cli import made
from provisioner.cli.hints import INSIDE
from provisioner.cli.options import Options
from provisioner.cli.session import Session
from provisioner.errors import ClusterError, NoCluster
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import load_balancer, node, service
from tests.unit.steps.doubles import site_at


def session(tmp_path: Path, cluster: FakeCluster) -> Session:
    return cast("Session", SimpleNamespace(site=site_at(tmp_path), cluster=cluster, hosts={}))


def test_it_says_what_stands_and_where(tmp_path: Path) -> None:
    many = [load_balancer(f"web{number}", f"192.168.56.{200 + number}") for number in range(3)]
    cluster = FakeCluster(
        node("master", version="v1.37.2"),
        node("worker1", version="v1.37.2", ready="False"),
        load_balancer("none"),
        *reversed(many),
        service("inner"),
    )
    found: Any = made.event(session(tmp_path, cluster))
    assert found["title"] == "cluster lab is up"
    parts = found["parts"]
    assert parts["nodes"] == "1 of 3 Ready, Kubernetes v1.37.2: master"
    assert parts["API"] == "https://192.168.56.10:6443"
    assert parts["kubeconfig"] == "/etc/kubernetes/admin.conf on master"
    assert parts["NFS"] == "master:/srv/nfs, at 192.168.56.10"
    assert parts["pool lab"] == "192.168.56.200-192.168.56.203; 3 of 4 in use"
    assert parts["external IPs"] == [
        "192.168.56.200  course/web0",
        "192.168.56.201  course/web1",
        "192.168.56.202  course/web2",
        "no address yet  course/none",
    ]


def test_ports_are_named_and_long_lists_cut(tmp_path: Path) -> None:
    items = [service(f"web{n}", kind="LoadBalancer", given=[f"192.168.56.{200 + n}"]) for n in range(12)]
    found: Any = made.event(session(tmp_path, FakeCluster(*items)))
    lines = found["parts"]["external IPs"]
    assert lines[0] == "192.168.56.200 port 80  course/web0"
    assert lines[-1] == "4 more: kubectl get services -A"
    assert len(lines) == 9


def test_without_a_cluster_there_is_nothing_to_say(tmp_path: Path) -> None:
    cluster = FakeCluster()
    cluster.errors["Node"] = NoCluster("there is no cluster yet")
    assert made.event(session(tmp_path, cluster)) is None
    cluster.errors["Node"] = ClusterError("timed out")
    found: Any = made.event(session(tmp_path, cluster))
    assert found["parts"] == {"API": "https://192.168.56.10:6443 does not answer now: timed out"}


def test_kubectl_in_a_lab_runs_on_the_master(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(INSIDE, raising=False)
    assert made.kubectl(Options(), "master") == "provisioner kubeconfig --merge; kubectl"
    monkeypatch.setenv(INSIDE, "sudo -E provisioner")
    assert made.kubectl(Options(), "master").startswith("sudo -E provisioner lab ssh master sudo kubectl ")
