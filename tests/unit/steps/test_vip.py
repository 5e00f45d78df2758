"""The vip: keepalived's configuration, one control plane after the other, and what preflight refuses."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from provisioner.errors import HostError
from provisioner.site import Site
from provisioner.ssh import Host, HostNic
from provisioner.ssh.facts import Package
from provisioner.steps import preflight, vip
from provisioner.steps.vip import CONFIG, DROP_IN, MARK, STEP, UNIT
from provisioner.steps.vip_conflicts import Advert, adverts
from tests import hosts_toml
from tests.unit.steps.doubles import (
    POOL,
    RecordingHost,
    carry_out,
    drain,
    fleet_for,
    present,
    running,
    site_at,
    summaries,
)

PLANES = "".join(
    hosts_toml.host(name, f"192.168.56.{number}", "control-plane") for number, name in enumerate(("a", "b", "c"), 10)
)
WORKER = hosts_toml.host("w", "192.168.56.20", "worker")
ALL = ["install keepalived (holds 192.168.56.9)", f"write {DROP_IN}", f"write {CONFIG}", f"enable and start {UNIT}"]
STRANGER = "aa:bb:cc:dd:ee:ff"


def site_of(directory: Path, cluster: str = 'vip = "192.168.56.9"', hosts: str = PLANES) -> Site:
    return site_at(directory, cluster, hosts=hosts + WORKER + POOL)


@pytest.fixture
def fleet(tmp_path: Path) -> dict[str, RecordingHost]:
    hosts = fleet_for(STEP, site_of(tmp_path))
    for host in hosts.values():
        host.says["ip -o address show to"] = "3: eth1    inet 192.168.56.9/32 scope global eth1\n"
    return hosts


def converge(host: RecordingHost) -> RecordingHost:
    """Carry the step out, and read the facts again."""
    carry_out(STEP, host)
    return host.keep().know(packages={"keepalived": Package("1:2.2.7-1")}, units={UNIT: running()})


def hold(host: RecordingHost) -> None:
    nics = [HostNic("eth1", host.facts.nics[2].mac, True, (f"{host.spec.address}/24", "192.168.56.9/32"))]
    host.know(nics=tuple(nics))


def test_only_control_planes_of_a_site_with_a_vip_run_it(tmp_path: Path) -> None:
    site = site_of(tmp_path)
    assert STEP.enabled(site)
    assert [spec.name for spec in STEP.scope.hosts(site)] == ["a", "b", "c"]
    assert not STEP.enabled(site_of(tmp_path, 'endpoint = "192.168.56.8"'))


def test_a_blank_control_plane_gets_package_configuration_and_unit(fleet: dict[str, RecordingHost]) -> None:
    assert carry_out(STEP, fleet["b"]) == ALL
    assert f"systemctl enable --quiet {UNIT} && systemctl restart {UNIT}" in fleet["b"].commands
    text, mode = fleet["b"].files[CONFIG]
    assert mode == 0o644
    assert text.startswith(MARK)


def test_a_converged_control_plane_changes_nothing(fleet: dict[str, RecordingHost]) -> None:
    for host in fleet.values():
        if host.spec.is_control_plane:
            converge(host)
    hold(fleet["c"])
    assert [summaries(STEP, fleet[name]) for name in ("a", "b", "c")] == [[], [], []]


def test_an_address_that_nobody_holds_is_waited_for_once(fleet: dict[str, RecordingHost]) -> None:
    changes = {name: drain(STEP, converge(fleet[name])) for name in ("a", "b", "c")}
    assert {name: [(change.summary, change.waits) for change in found] for name, found in changes.items()} == {
        "a": [("wait for a control plane to hold 192.168.56.9", True)],
        "b": [],
        "c": [],
    }


@pytest.mark.parametrize("facts", [{"units": {}}, {"since": 50.0}])
def test_a_configuration_that_is_not_in_effect_is_a_restart(
    fleet: dict[str, RecordingHost], facts: dict[str, object]
) -> None:
    """Also after a run that was killed between the write and the restart."""
    host = converge(fleet["a"])
    hold(host)
    host.know(
        units={UNIT: running(since=50.0)}
        if "since" in facts
        else {UNIT: fleet_for(STEP, host.site)["a"].facts.units[UNIT]}
    )
    assert summaries(STEP, host) == [f"enable and start {UNIT}"]


def test_the_configuration(fleet: dict[str, RecordingHost]) -> None:
    site = fleet["b"].site
    lines = [line.strip() for line in vip.config(site, site.host("b"), "eth1").splitlines()]
    assert "virtual_router_id 9" in lines
    assert "192.168.56.9/32 dev eth1" in lines
    assert lines[lines.index("unicast_peer {") + 1 :][:3] == ["192.168.56.10", "192.168.56.12", "}"]
    assert "unicast_src_ip 192.168.56.11" in lines
    assert any("https://192.168.56.11:6443/readyz" in line for line in lines), "asks its own API server"
    weight = next(int(line.split()[1]) for line in lines if line.startswith("weight "))
    assert weight < 0, "without a weight the address would be nowhere before the API is"
    assert "nopreempt" not in lines, "a ready backup would leave it to a master that is not"
    priorities = {
        next(line for line in vip.config(site, spec, "eth1").splitlines() if "priority" in line)
        for spec in site.control_planes
    }
    assert len(priorities) == 1, "one that comes back would take the address from a ready one"


def test_a_single_control_plane_has_no_peers(tmp_path: Path) -> None:
    site = site_of(tmp_path, hosts=hosts_toml.host("a", "192.168.56.10", "control-plane"))
    assert "unicast" not in vip.config(site, site.host("a"), "eth1")


def test_ipv6(tmp_path: Path) -> None:
    cluster = 'vip = "fd00::9"\npod_cidr = "fd01::/56"\nservice_cidr = "fd02::/112"'
    hosts = hosts_toml.host("a", "fd00::10", "control-plane") + hosts_toml.host("b", "fd00::11", "control-plane")
    site = hosts_toml.load(tmp_path, f"[cluster]\n{cluster}\n{hosts}")
    text = vip.config(site, site.host("a"), "eth1")
    assert "fd00::9/128 dev eth1" in text
    assert "https://[fd00::10]:6443/readyz" in text
    assert "        fd00::11\n" in text
    assert site.endpoint == "[fd00::9]:6443"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ('vip = "192.168.56.9"', 9),
        ('vip = "192.168.57.0"', 1),
        ('vip = "192.168.56.9"\nvip_router_id = 200', 200),
    ],
)
def test_the_router_id_is_the_last_byte_unless_set(tmp_path: Path, lines: str, expected: int) -> None:
    assert site_of(tmp_path, lines).cluster.router_id == expected


# --- preflight -------------------------------------------------------------------------------------------------------


@pytest.fixture
def blank(tmp_path: Path) -> dict[str, RecordingHost]:
    return fleet_for(preflight.STEP, site_of(tmp_path, 'vip = "192.168.56.9"\nkubernetes = "1.37"'))


def told(host: RecordingHost) -> str:
    with pytest.raises(HostError) as raised:
        drain(preflight.STEP, host)
    return raised.value.message


def test_a_free_vip_passes_and_is_asked_for_by_the_first_control_plane_only(blank: dict[str, RecordingHost]) -> None:
    for host in blank.values():
        host.says["perl"] = "vrrp listened\n192.168.56.9 FAILED\n"
        assert drain(preflight.STEP, host) == []
    asked = {name: [command for command in host.commands if "perl" in command] for name, host in blank.items()}
    assert {name: len(commands) for name, commands in asked.items()} == {"a": 1, "b": 0, "c": 0, "w": 0}
    assert " scan eth1 192.168.56.9;" in asked["a"][0]


def test_a_stranger_with_the_vip_is_named_by_its_mac(blank: dict[str, RecordingHost]) -> None:
    blank["a"].says["perl"] = f"192.168.56.9 lladdr {STRANGER} REACHABLE\nvrrp listened\n"
    assert told(blank["a"]).startswith(f"the vip 192.168.56.9 is in use by {STRANGER}: choose a free address")


def test_an_address_that_one_of_the_hosts_holds_is_not_asked_for(blank: dict[str, RecordingHost]) -> None:
    hold(blank["b"])
    assert drain(preflight.STEP, blank["a"]) == []
    assert not [command for command in blank["a"].commands if "perl" in command]


@pytest.mark.parametrize(
    ("heard", "said"),
    [
        (
            f"vrrp {STRANGER} 192.168.56.1 9\n",
            f"the VRRP number 9 of the vip is in use by {STRANGER} (192.168.56.1): ",
        ),
        (f"vrrp {STRANGER} 192.168.56.1 9\nvrrp {STRANGER} 192.168.56.1 1\n", "set vip_router_id = 2 under [cluster]"),
        (f"vrrp {STRANGER} 192.168.56.1 8\n", ""),
        (f"vrrp {STRANGER} fe80::1 9\n", ""),  # groups of IPv4 and IPv6 are apart (RFC 9568, 5.2.3)
        ("vrrp 52:54:00:00:01:02 192.168.56.11 9\n", ""),  # b's, of an earlier run
    ],
)
def test_a_router_id_in_use(blank: dict[str, RecordingHost], heard: str, said: str) -> None:
    blank["a"].says["perl"] = heard + "vrrp listened\n"
    if said:
        assert said in told(blank["a"])
    else:
        assert drain(preflight.STEP, blank["a"]) == []


def test_adverts_of_one_sender_count_once() -> None:
    line = f"vrrp {STRANGER} 192.168.56.1 9\n"
    assert adverts(f"{line}{line}vrrp listened\n192.168.56.9 FAILED\n") == [Advert(STRANGER, "192.168.56.1", 9)]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("192.168.57.9", "the vip 192.168.57.9 is not in 192.168.56.0/24, the network of 192.168.56.10: choose"),
        ("192.168.56.255", "the vip 192.168.56.255 is the broadcast address of 192.168.56.0/24: choose"),
    ],
)
def test_a_vip_has_to_be_an_address_of_the_segment(tmp_path: Path, address: str, said: str) -> None:
    hosts = fleet_for(preflight.STEP, site_of(tmp_path, f'vip = "{address}"\nkubernetes = "1.37"'))
    assert said in told(hosts["a"])
    assert drain(preflight.STEP, hosts["w"]) == []


def test_another_keepalived_is_not_replaced(blank: dict[str, RecordingHost]) -> None:
    blank["b"].know(files={CONFIG: present("vrrp_instance mine {}\n")})
    assert f"has a {CONFIG} of its own, which cluster.vip would replace" in told(blank["b"])
    blank["c"].know(files={CONFIG: present(MARK)})
    assert drain(preflight.STEP, blank["c"]) == []


def test_holders_skips_those_that_do_not_answer(fleet: dict[str, RecordingHost]) -> None:
    fleet["c"].says.clear()
    assert vip.holders(cast("dict[str, Host]", fleet), fleet["a"].site) == {"a": "eth1", "b": "eth1"}
