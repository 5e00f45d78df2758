"""Hold the API's own address: keepalived moves it to a control plane whose API server is ready.

keepalived runs from the distribution's package, with unicast peers, and needs neither etcd nor the API. All control
planes have the same priority, and one loses WEIGHT of it while its API server is not ready. So a ready one takes the
address from one that is not, the address stays where it is when another becomes ready again, and where none is ready,
as before `kubeadm init`, somebody has it nevertheless. keepalived's own `nopreempt` would be in the way: with it, a
backup leaves the address to a master of any priority (vrrp_state_backup in keepalived/vrrp/vrrp.c).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from provisioner.engine import Change, Scope, Step
from provisioner.engine.changes import file, needs_restart, packages
from provisioner.errors import HostError
from provisioner.kube import Cluster
from provisioner.site import HostSpec, Site
from provisioner.ssh import FactQuery, Host

PACKAGE = "keepalived"
UNIT = "keepalived.service"
CONFIG = "/etc/keepalived/keepalived.conf"
DROP_IN = f"/etc/systemd/system/{UNIT}.d/provisioner.conf"
MARK = "# Written by provisioner from hosts.toml.\n"
PRIORITY = 100
WEIGHT = -20
# Debian's unit has no Restart. A keepalived that was killed leaves the address on its NIC; the next one removes it.
_DROP_IN = f"""\
{MARK}[Service]
Restart=always
RestartSec=1
"""
# /readyz is for everybody (ClusterRole system:public-info-viewer); it fails while the API server has no etcd, or is
# about to end. init_fail: not ready before it has been seen to be, so that a node that boots takes nothing over.
_CONFIG = """\
{mark}global_defs {{
    router_id {name}
    enable_script_security
    script_user nobody
}}

vrrp_script api_server {{
    script "/usr/bin/curl --silent --fail --insecure --max-time {patience} --output /dev/null {url}"
    interval 2
    timeout {timeout}
    fall 2
    rise 2
    weight {weight}
    init_fail
}}

vrrp_instance api {{
    state BACKUP
    interface {nic}
    virtual_router_id {router_id}
    priority {priority}
    advert_int {interval}
{peers}    virtual_ipaddress {{
        {vip} dev {nic}
    }}
    track_script {{
        api_server
    }}
}}
"""
# keepalived has no unicast without a peer: a single control plane announces itself to the multicast group.
_PEERS = """\
    unicast_src_ip {source}
    unicast_peer {{
{others}    }}
"""


def config(site: Site, spec: HostSpec, nic: str) -> str:
    """Return keepalived.conf of a control plane whose address is on `nic` (keepalived.conf(5))."""
    others = [other.address for other in site.control_planes if other.name != spec.name]
    listed = "".join(f"        {address}\n" for address in others)
    vip = ipaddress.ip_interface(site.cluster.vip)  # a /32 or /128 is no source address of the node's own connections
    patience = 9 if site.slow else 3
    return _CONFIG.format(
        mark=MARK,
        name=spec.name,
        url=ready_url(spec.api_server),
        patience=patience,
        timeout=patience + 1,
        weight=WEIGHT,
        nic=nic,
        router_id=site.cluster.router_id,
        priority=PRIORITY,
        interval=3 if site.slow else 1,
        peers=_PEERS.format(source=spec.address, others=listed) if others else "",
        vip=vip,
    )


def ready_url(place: str) -> str:
    """Return the URL that says whether the API server at "host:port" is ready."""
    return f"https://{place}/readyz"


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the package, the configuration and the start of keepalived on a control plane."""
    nic = host.facts.address_nic(host.spec.address)
    if nic is None:
        raise HostError(host.name, f"no NIC has the address {host.spec.address}", "provisioner plan")
    wanted = config(site, host.spec, nic.name)
    yield from packages(host, (PACKAGE,), why=f"holds {site.cluster.vip}")
    yield from file(host, DROP_IN, _DROP_IN, then="systemctl daemon-reload")
    yield from file(host, CONFIG, wanted)
    now = host.facts.units.get(UNIT)
    if now is None or not (now.active and now.enabled) or needs_restart(host, CONFIG, wanted, UNIT):
        yield Change(f"enable and start {UNIT}", lambda: _start_in_turn(host, cluster, site))
    elif host.name == site.first.name and not any(
        facts.address_nic(site.cluster.vip) for facts in host.reachable_facts().values()
    ):
        yield Change(
            f"wait for a control plane to hold {site.cluster.vip}", lambda: _wait(host, cluster, site), waits=True
        )


def holders(fleet: Mapping[str, Host], site: Site) -> dict[str, str]:
    """Return the control planes that have the vip on a NIC now, each with that NIC; asks those that can be reached."""

    def nic(spec: HostSpec) -> str:
        try:
            words = fleet[spec.name].run(f"ip -o address show to {site.cluster.vip}").stdout.split()
        except HostError:
            return ""
        return words[1] if len(words) > 1 else ""

    with ThreadPoolExecutor() as pool:  # one that is off takes a login's timeout
        nics = pool.map(nic, site.control_planes)
    return {spec.name: name for spec, name in zip(site.control_planes, nics, strict=True) if name}


def _start_in_turn(host: Host, cluster: Cluster, site: Site) -> None:
    """(Re)start keepalived on one control plane at a time, so that another one can take the address meanwhile."""
    with host.fleet[site.first.name].lock:
        host.run(f"systemctl enable --quiet {UNIT} && systemctl restart {UNIT}", timeout=120)
        _wait(host, cluster, site)


def _wait(host: Host, cluster: Cluster, site: Site) -> None:
    def log() -> str:
        return host.run(f"journalctl -u {UNIT} -n 10 --no-pager -o cat", check=False).stdout

    cluster.wait(f"a control plane to hold {site.cluster.vip}", lambda: holders(host.fleet, site), 60, log)


STEP = Step(
    name="vip",
    summary="the API's own address, held by a ready control plane (keepalived)",
    scope=Scope.CONTROL_PLANES,
    changes=changes,
    query=lambda site: FactQuery(files=(CONFIG, DROP_IN), packages=(PACKAGE,), units=(UNIT,)),
    after=("kubernetes",),
    enabled=lambda site: bool(site.cluster.vip),
)
