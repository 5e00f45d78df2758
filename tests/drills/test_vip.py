"""The vip's holder loses its power: another control plane has the address and serves the API; the machine returns."""

from __future__ import annotations

import json

import pytest

from provisioner.lab import lifecycle
from provisioner.site import load_site
from tests.drills.test_failover import PICTURES, failover
from tests.e2e import drive

pytestmark = pytest.mark.drill


@pytest.fixture
def vip() -> str:
    site = load_site(drive.SITE)
    if not site.cluster.vip or len(site.control_planes) < 3:
        pytest.skip("needs a lab whose control planes hold the API's address: lab up --control-planes 3 --with vip")
    return site.cluster.vip


def test_the_holder_loses_its_power_and_returns(vip: str) -> None:
    PICTURES.mkdir(exist_ok=True)
    lab = lifecycle.find(drive.LAB)
    holder = _holder()
    report = failover("vip", vip, holder, lambda: lifecycle.power_off(lab, holder), port=6443)
    change = report["changes"][0]
    assert change["kind"] == "moved", change
    assert change["overlap_s"] == 0, "a machine without power answers nothing"
    assert change["first_tcp_outcome"] == "open"
    taker = _holder()
    assert taker not in (holder, "")
    assert drive.lab("power", "on", holder).status == 0
    drive.until("every node to be ready", lambda: drive.operator("status", quiet=True).status == 0)
    drive.until("every control plane able to hold it", lambda: drive.operator("verify", "vip", quiet=True).status == 0)
    assert _holder() == taker, "one that comes back takes nothing"
    drive.until("nothing to do", lambda: drive.operator("plan", quiet=True).status == 0)


def _holder() -> str:
    """Return the control plane that has the address; "" for none."""
    ran = drive.operator("status", quiet=True)
    rows = json.loads(ran.text[ran.text.index("[") : ran.text.rindex("]") + 1])
    return next((str(row["name"]) for row in rows if row["vip"]), "")
