"""The tuple of steps: names, order, scopes and queries."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

from provisioner import steps
from provisioner.engine import Scope, Step
from provisioner.ssh import FactQuery
from provisioner.steps import STEPS
from tests import hosts_toml
from tests.unit.steps.doubles import POOL, site_at

BY_NAME = {step.name: step for step in STEPS}


def test_every_module_is_a_step_or_names_the_steps_it_belongs_to() -> None:
    in_tuple = {step.changes.__module__ for step in STEPS}
    names = {name for _, name, _ in pkgutil.iter_modules(steps.__path__)}
    for name in names:
        module = importlib.import_module(f"{steps.__name__}.{name}")
        words = set(re.findall(r"\w+", (module.__doc__ or "").partition("\n")[0]))
        is_step = module.__name__ in in_tuple or hasattr(module, "step")
        assert is_step or words & names, f"{name}: {words}"


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(STEPS)
    assert all(step.summary and not step.summary.endswith(".") for step in STEPS)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: str(step.name))
def test_after_names_earlier_steps(step: Step) -> None:
    before = [other.name for other in STEPS[: STEPS.index(step)]]
    assert set(step.after) <= set(before)


def test_the_order_of_steps() -> None:
    order = ["preflight", "prepare", "containerd", "kubernetes", "control-plane", "network", "join", "nfs", "storage"]
    order += ["metallb", "pools", "metrics-server", "ingress", "workloads", "announcements"]
    assert [step.name for step in STEPS if step.name in order] == order


@pytest.mark.parametrize(
    ("table", "off"),
    [
        ("", {"pod-routes"}),
        ("[nfs]\nenabled = false", {"pod-routes", "nfs", "storage"}),
        ("[metallb]\nenabled = false", {"pod-routes", "metallb", "pools", "announcements"}),
        ("[metrics]\nenabled = false", {"pod-routes", "metrics-server"}),
        ("[ingress]\nenabled = false", {"pod-routes", "ingress"}),
        ("[workloads]\nenabled = []", {"pod-routes"}),  # workloads still deletes those no longer enabled
    ],
)
def test_steps_that_a_site_disables(tmp_path: Path, table: str, off: set[str]) -> None:
    hosts = hosts_toml.host("one", "192.168.56.10", "control-plane", "worker")
    if "[metallb]" not in table:
        hosts += POOL
    if "nfs" in table:
        table += '\n[workloads]\nenabled = ["nodeport"]'
    site = site_at(tmp_path, rest=table, hosts=hosts)
    assert {step.name for step in STEPS if not step.enabled(site)} == off | {"vip"}


def test_bridge_and_flannel_exclude_each_other(tmp_path: Path) -> None:
    site = site_at(tmp_path, 'network = "bridge"')
    assert BY_NAME["pod-routes"].enabled(site)
    assert not BY_NAME["network"].enabled(site)


def test_scopes(tmp_path: Path) -> None:
    site = site_at(tmp_path, rest='[nfs]\nserver = "worker2"')
    assert [spec.name for spec in Scope.ALL.hosts(site)] == ["master", "worker1", "worker2"]
    assert [spec.name for spec in Scope.FIRST.hosts(site)] == ["master"]
    assert [spec.name for spec in Scope.JOINING.hosts(site)] == ["worker1", "worker2"]
    assert [spec.name for spec in Scope.NFS_SERVER.hosts(site)] == ["worker2"]
    assert [spec.name for spec in Scope.CLUSTER.hosts(site)] == ["master"]


def test_a_union_of_queries_has_everything_once() -> None:
    one = FactQuery(files=("/a", "/b"), packages=("p",), sysctls=("s",), disks=("/",))
    two = FactQuery(files=("/b", "/c"), exists=("/e",), units=("u",), disks=("/",))
    assert one | two == FactQuery(("/a", "/b", "/c"), ("/e",), ("p",), ("u",), ("s",), ("/",))


@pytest.mark.parametrize("version", ["1.20.2", "1.37"])
def test_no_secret_is_read_as_a_fact(tmp_path: Path, version: str) -> None:
    """Facts are kept and compared; keys and kubeconfigs must not be among them."""
    site = site_at(tmp_path, f'kubernetes = "{version}"')
    for step in STEPS:
        for path in step.query(site).files:
            assert not path.endswith((".key", ".pem", ".conf")) or "/etc/kubernetes" not in path, (step.name, path)
            assert "admin.conf" not in path
