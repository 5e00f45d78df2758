"""A homelab's report for tests and docs/report.md: built from what the commands themselves print."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from ipaddress import IPv4Address, IPv4Interface, ip_address
from pathlib import Path
from typing import Any

from provisioner.checks import Finding
from provisioner.engine import Change, differences
from provisioner.engine.runner import Failure, Outcome
from provisioner.errors import HostError
from provisioner.l2.guard.event import Event
from provisioner.l2.guard.history import document as history_document
from provisioner.l2.probe.capture import Capture, Vantage
from provisioner.l2.result import AddressOwner, Result
from provisioner.l2.scan import table
from provisioner.l2.scan.survey import AddressState, SweptAddress
from provisioner.l2.watch.report import document as watch_document
from provisioner.l2.watch.timeline import build_timeline
from provisioner.l2.watch.verdict import judge
from provisioner.page import document as page_document
from provisioner.page.document import (
    Certificate,
    Certificates,
    Component,
    Document,
    Node,
    Nodes,
    Pool,
    Pools,
    Source,
    Unseen,
    Use,
    Versions,
)
from provisioner.page.gather import Earlier, Wishes, from_files, read
from provisioner.site import Site
from provisioner.text import unified_diff
from tests import hosts_toml
from tests.unit.l2.watch import recordings

NOW = 1_800_003_600.0  # an hour after the failover of recordings.py
DAY = 86400.0
SEEN = Source("seen", when=NOW, seconds=1.2)
SITE = (
    '[cluster]\nname = "homelab"\nkubernetes = "1.36"\n[nfs]\nserver = "worker2"\n'
    + hosts_toml.pool("lab", "192.0.2.200-192.0.2.230")
    + hosts_toml.hosts("master", "worker1", "worker2")
)
W1, W2, MASTER, STRANGER = recordings.W1, recordings.W2, "02:00:00:00:00:0a", "9c:b6:d0:12:34:56"


def site(folder: Path) -> Site:
    """Return the homelab's site."""
    return hosts_toml.load(folder, SITE)


def scan() -> dict[str, Any]:
    """Return what `l2 scan -o json` prints: two addresses right, one silent, a foreign host in the pool."""
    w1 = AddressOwner(W1, "worker1", "eth1", ("worker1",), "speaker", "inventory", answered=("B", "U"))
    w2 = replace(w1, mac=W2, node="worker2", nodes=("worker2",))
    stranger = AddressOwner(STRANGER, owner_class="foreign", vendor="Rivet Networks", answered=("B",))
    own = [
        SweptAddress(ip_address(f"192.0.2.{last}"), AddressState.NODE, (owner,), note=note)
        for last, owner, note in (
            (1, AddressOwner("52:54:00:12:35:02", vendor="QEMU", answered=("B",)), "router"),
            (10, replace(w1, mac=MASTER, node="master", nodes=("master",)), "node master"),
            (11, w1, "node worker1"),
            (12, w2, "node worker2"),
        )
    ]
    right = [
        SweptAddress(
            ip_address(f"192.0.2.{last}"),
            AddressState.RIGHT,
            (owner,),
            service,
            result=_result(f"192.0.2.{last}", service, "OK", "certain", (), owners=(owner,)),
            pool="lab",
        )
        for last, owner, service in ((200, w2, "course/web"), (201, w1, "ingress-nginx/controller"))
    ]
    silent = _result(
        "192.0.2.202",
        "media/jellyfin",
        "NO_READY_ENDPOINTS",
        "certain",
        ("The Service has no ready endpoint, so no speaker announces its address.",),
        remedy="Make a pod of the Service ready.",
        command="kubectl -n media get pods",
    )
    wrong = SweptAddress(
        ip_address("192.0.2.202"), AddressState.WRONG, (), "media/jellyfin", result=silent, pool="lab"
    )
    foreign = _result(
        "192.0.2.217",
        "",
        "POOL_ADDRESS_IN_USE",
        "certain",
        (f"{STRANGER}, which is no node's, answers for an address of pool lab that no Service has.",),
        remedy="Give the host another address, or take its address out of the pool.",
        command="ip neigh show to 192.0.2.217",
        owners=(stranger,),
    )
    strange = SweptAddress(ip_address("192.0.2.217"), AddressState.STRANGER, (stranger,), result=foreign, pool="lab")
    taken = {one.ip for one in (*right, wrong, strange)}
    free = [
        SweptAddress(IPv4Address(number), AddressState.FREE, pool="lab")
        for number in range(int(IPv4Address("192.0.2.200")), int(IPv4Address("192.0.2.230")) + 1)
        if IPv4Address(number) not in taken
    ]
    vantage = Vantage("eth1", "52:54:00:00:00:02", (IPv4Interface("192.0.2.2/24"),))
    capture = Capture(vantage, (), sent=84, received=12, started=NOW - 40)
    return table.document(capture, (*own, *right, wrong, strange, *free), "0.1.0")


def _result(ip: str, service: str, verdict: str, confidence: Any, evidence: tuple[str, ...], **more: Any) -> Result:
    return Result(ip, "ipv4", service, "lab", verdict, confidence, evidence, **more)


FINDINGS = (
    ("nodes", Finding(True, "master", "is Ready at 192.0.2.10 with kubelet 1.36.4", code="NODE_READY")),
    ("nodes", Finding(True, "worker1", "is Ready at 192.0.2.11 with kubelet 1.36.4", code="NODE_READY")),
    (
        "nodes",
        Finding(
            True,
            "worker2",
            "is Ready at 192.0.2.12 with kubelet 1.36.4, but cordoned, so it gets no new pods",
            "provisioner node uncordon worker2",
            "NODE_CORDONED",
        ),
    ),
    (
        "certificates",
        Finding(
            True,
            "master",
            "has 14 certificates, of which the first to expire is apiserver.crt",
            "",
            "CERTIFICATES_VALID",
        ),
    ),
    (
        "system",
        Finding(
            False,
            "pod kube-system/metrics-server-7c4f8d9b6d-x2k9p",
            "on worker2 is not ready: readiness probe failed: HTTP probe failed with statuscode: 500",
            "kubectl -n kube-system describe pod metrics-server-7c4f8d9b6d-x2k9p",
            "SYSTEM_POD_NOT_READY",
            (
                "Warning Unhealthy Pod/metrics-server-7c4f8d9b6d-x2k9p: Readiness probe failed: statuscode: 500",
                'E1128 14:05:11 scraper.go:149] "Failed to scrape node" err="Get \\"https://192.0.2.12:10250/metrics'
                '/resource\\": tls: failed to verify certificate: x509: certificate signed by unknown authority"',
            ),
        ),
    ),
    ("system", Finding(True, "metallb-system", "4 pods are ready; complete: controller, speaker", "", "SYSTEM_READY")),
    ("dns", Finding(True, "worker1", "resolves kubernetes.default and example.org", "", "DNS_RESOLVES")),
    (
        "loadbalancer",
        Finding(
            False,
            "192.0.2.202 (media/jellyfin)",
            "has a layer-2 fault: The Service has no ready endpoint, so no speaker announces its address.",
            "Make a pod of the Service ready. kubectl -n media get pods",
            "L2_NO_READY_ENDPOINTS",
        ),
    ),
    ("loadbalancer", Finding(True, "192.0.2.200 (course/web)", "is answered only by worker2 eth1", "", "L2_OK")),
    ("storage", Finding(True, "claim course/shared", "was written on worker1 and read on worker2", "", "STORAGE_OK")),
    ("hpa", Finding(True, "course/hpa", "scaling down needs --full", code="NOT_TRIED")),
)


def verify(*more: tuple[str, Finding]) -> str:
    """Return what `verify -o json` prints."""
    event = json.dumps({"time": NOW, "kind": "output", "host": "cluster", "text": "waiting"})
    return "\n".join([event, *(json.dumps({"check": name, **asdict(one)}) for name, one in (*FINDINGS, *more))]) + "\n"


def drift() -> str:
    """Return what `drift -o json` prints."""

    def change(summary: str, old: str = "", new: str = "", by_hand: str = "") -> Change:
        return Change(summary, lambda: None, unified_diff("/var/lib/kubelet/config.yaml", old, new), by_hand=by_hand)

    found = Outcome(
        changes=[
            (
                "kubeadm-files",
                "worker1",
                change(
                    "change /var/lib/kubelet/config.yaml, restart the kubelet",
                    "kind: KubeletConfiguration\nmaxPods: 50\n",
                    "kind: KubeletConfiguration\nmaxPods: 110\n",
                ),
            ),
            (
                "nfs",
                "worker2",
                change("/etc/exports exports /srv/nfs to 192.0.2.99 too", by_hand="remove the line from /etc/exports"),
            ),
        ],
        failures=[Failure("prepare", "worker2", HostError("worker2", "apt is locked by unattended-upgrades"))],
    )
    return differences.document("homelab", found)


def watch() -> dict[str, Any]:
    """Return what `l2 watch -o json` prints of an ordinary failover."""
    timeline = build_timeline(recordings.failover())
    return watch_document(
        timeline, judge(timeline, recordings.OWNERS, service="course/web", pool="lab"), {"version": "0.1.0"}
    )


def events() -> list[Event]:
    """Return a week of a guard's events."""
    vip = "192.0.2.200"
    return [
        Event(NOW - 6.5 * DAY, "FOUND", "notice", vip, "worker1 eth1 answers for 192.0.2.200."),
        Event(NOW - 6.4 * DAY, "FOUND", "notice", "192.0.2.202", "worker1 eth1 answers for 192.0.2.202."),
        Event(
            NOW - 3 * DAY, "SPLIT_BRAIN", "fault", "192.0.2.202", "worker1 and worker2 both answer for 192.0.2.202."
        ),
        Event(NOW - 2.9 * DAY, "ALONE", "resolved", "192.0.2.202", "Only worker1 eth1 answers for 192.0.2.202 now."),
        Event(NOW - 1.2 * DAY, "SILENT", "fault", "192.0.2.202", "Nobody answers for 192.0.2.202."),
        Event(NOW - 3600, "LEADER_CHANGED", "notice", vip, f"{vip} moved from worker1 eth1 to worker2 eth1."),
        Event(
            NOW - 900,
            "POOL_ADDRESS_IN_USE",
            "fault",
            "192.0.2.217",
            f"{STRANGER} has 192.0.2.217 of pool lab, which no Service has.",
        ),
    ]


def files(folder: Path) -> tuple[Path, ...]:
    """Write what the commands print into files."""
    texts = {
        "scan.json": json.dumps(scan()),
        "verify.json": verify(),
        "drift.json": drift(),
        "failover.json": json.dumps(watch()),
        "history.json": json.dumps(history_document(events(), NOW - 7 * DAY, NOW)),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    return tuple(folder / name for name in texts)


def earlier(folder: Path) -> Earlier:
    """Return the files read, with names as if they had been in the current folder."""
    found = read(files(folder))

    def short(saved: Any) -> Any:
        return None if saved is None else replace(saved, file=Path(saved.file).name, when=NOW - 60)

    return Earlier(
        None,
        tuple(map(short, found.verify)),
        short(found.drift),
        short(found.segment),
        tuple(map(short, found.watched)),
        short(found.history),
    )


def document(folder: Path) -> Document:
    """Return a whole report with faults in it."""
    folder.mkdir(exist_ok=True)
    made = from_files(site(folder), Wishes(earlier=earlier(folder)))
    return replace(
        made,
        taken=NOW,
        machine="console",
        nodes=NODES,
        pools=POOLS,
        versions=VERSIONS,
        certificates=CERTIFICATES,
    )


NODES = Nodes(
    SEEN,
    tuple(
        Node(
            name,
            status,
            roles,
            "v1.36.4",
            address,
            "41d",
            "Debian GNU/Linux 12 (bookworm)",
            "6.1.0-27-amd64",
            "containerd://2.1.4",
            pods,
        )
        for name, status, roles, address, pods in (
            ("master", "Ready", "control-plane", "192.0.2.10", "10.244.0.0/24"),
            ("worker1", "Ready", "worker", "192.0.2.11", "10.244.1.0/24"),
            ("worker2", "Ready, cordoned", "worker", "192.0.2.12", "10.244.2.0/24"),
        )
    ),
)
POOLS = Pools(
    SEEN,
    (
        Pool(
            "lab",
            ("192.0.2.200-192.0.2.230",),
            31,
            (
                Use("192.0.2.200", "course/web"),
                Use("192.0.2.201", "ingress-nginx/controller"),
                Use("192.0.2.202", "media/jellyfin"),
            ),
        ),
    ),
)
VERSIONS = Versions(
    SEEN,
    (
        Component("Kubernetes API server", ("1.36.4",), "1.36.4", "1.36.4", True, "newer minors are known: 1.37"),
        Component("kubelet", ("1.36.4",), "1.36.4", "1.36.4", True, "newer minors are known: 1.37"),
        Component("MetalLB", ("0.13.12",), "0.16.1", "0.16.1", True),
        Component("Flannel", ("0.28.9",), "0.28.9", "0.28.9"),
        Component("NGINX Ingress Controller", ("5.5.4",), "5.5.4", "5.5.4"),
        Component("etcd", ("3.6.5-0",), note="comes with Kubernetes"),
        Component("CoreDNS", ("1.12.1",), note="comes with Kubernetes"),
    ),
)
CERTIFICATES = Certificates(
    SEEN,
    tuple(
        Certificate(host, name, NOW - 41 * DAY, NOW + days * DAY)
        for host, name, days in (
            ("master", "ca.crt", 3609),
            ("master", "apiserver.crt", 324),
            ("master", "etcd/server.crt", 324),
            ("master", "/etc/kubernetes/admin.conf", 324),
            ("worker1", "/var/lib/kubelet/pki/kubelet-client-current.pem", 71),
        )
    ),
    (Unseen("worker2", "cannot log in: no route to host"),),
)


def broken(folder: Path) -> Document:
    """Return a report made while the API is down and this machine is off the segment."""
    why = "the API at https://192.0.2.10:6443 does not answer: connection refused"
    missing = Source("missing", why=why, remedy="provisioner plan shows what is missing or wrong")
    whole = document(folder)
    rows = tuple(Node(row.name, "unknown", row.roles, address=row.address) for row in NODES.rows)
    apart = Source("missing", why="no interface here is on the segment of 192.0.2.200", remedy="run l2 scan there")
    return replace(
        whole,
        problem=why,
        nodes=Nodes(missing, rows),
        pools=Pools(missing, (Pool("lab", ("192.0.2.200-192.0.2.230",), 31),)),
        segment=replace(whole.segment, source=apart, addresses=()),
        versions=Versions(missing),
        drift=replace(whole.drift, source=replace(apart, why="no host answers", remedy=""), differences=(), unseen=()),
        checks=page_document.Checks(
            SEEN, (page_document.Checked("nodes", False, "API_UNREACHABLE", "the Kubernetes API", "does not answer"),)
        ),
        failovers=page_document.Failovers(Source("skipped", why="no failover was recorded")),
    )
