"""The block of what will be there, at the top of a plan for blank machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.cli import preview
from provisioner.engine import Change, Forecast
from provisioner.engine.runner import Outcome
from tests.unit.steps.doubles import HOSTS, site_at

FIRST = Forecast(0.0, 0, ())


@pytest.mark.parametrize(
    ("step", "summary", "expected"),
    [
        ("control-plane", "kubeadm init (Kubernetes 1.37.2)", True),
        ("control-plane", "record that kubeadm init has finished", False),
        ("join", "kubeadm join as worker", False),
    ],
)
def test_only_a_plan_that_creates_the_cluster_begins_with_it(step: str, summary: str, expected: bool) -> None:
    outcome = Outcome(changes=[(step, "master", Change(summary, lambda: None))])
    assert preview.creates_cluster(outcome) is expected


def test_every_part_has_its_version_and_where_it_is(tmp_path: Path) -> None:
    site = site_at(
        tmp_path,
        'kubernetes = "1.37.2"',
        rest='[nfs]\nclients = ["10.9.0.0/24"]\n[workloads]\nenabled = ["nodeport"]\n[metallb]\nversion = "0.16.1"\n'
        '[ingress]\ncontroller = "traefik"\n',
        hosts=HOSTS,
    )
    found = dict(preview.parts(site, FIRST))
    assert found["master"] == "192.168.56.10, control-plane"
    assert found["Kubernetes"] == "1.37.2, API at 192.168.56.10:6443, services 10.96.0.0/16"
    assert found["containerd"] == "2.x from Docker's packages"
    assert found["pod network"].startswith("flannel 0.")
    assert found["NFS"].startswith("master:/srv/nfs to 192.168.56.10, ")
    assert found["NFS"].endswith("10.9.0.0/24; 8 volumes of 1Gi")
    assert found["ingress"].startswith("traefik ")
    assert found["workloads"] == "nodeport"
    assert next(iter(preview.lines("lab", found.items()))) == "cluster lab will be"


def test_what_the_site_has_not_is_left_out(tmp_path: Path) -> None:
    off = "".join(f"[{table}]\nenabled = false\n" for table in ("nfs", "metallb", "metrics", "ingress"))
    site = site_at(tmp_path, 'kubernetes = "1.20.2"', rest=f"{off}[workloads]\nenabled = []\n", hosts=HOSTS)
    assert list(dict(preview.parts(site, FIRST))) == [
        "master",
        "worker1",
        "worker2",
        "Kubernetes",
        "containerd",
        "pod network",
        "takes",
    ]


@pytest.mark.parametrize(
    ("forecast", "text"),
    [
        (Forecast(3.0, 0, ("prepare", "join")), "not known before a first run here"),
        (Forecast(236.0, 12, ()), "about 4 min, as in earlier runs of these steps here"),
        (Forecast(121.0, 9, ("vip", "join")), "more than 2 min; no run here yet of vip, join"),
    ],
)
def test_how_long_it_takes_comes_from_earlier_runs_or_is_not_said(
    tmp_path: Path, forecast: Forecast, text: str
) -> None:
    site = site_at(tmp_path, 'kubernetes = "1.20.2"', rest="", hosts=HOSTS)
    assert dict(preview.parts(site, forecast))["takes"] == text
