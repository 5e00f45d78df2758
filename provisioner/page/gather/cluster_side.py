"""The parts that the API gives: nodes, pools, versions."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator

from provisioner import catalogue
from provisioner.addresses import Range
from provisioner.errors import ProvisionerError
from provisioner.kube import Object, node_rows
from provisioner.l2 import targets
from provisioner.l2.facts import Facts
from provisioner.page.document import Component, Node, Nodes, Pool, Pools, Source, Use, Versions
from provisioner.page.gather.parts import Context, missing, part, without_api
from provisioner.site import Site
from provisioner.steps import vip
from provisioner.text import join_words
from provisioner.version import Version

# Names in catalogue.toml, and how their images are recognized, whatever the registry.
PROGRAMS = (
    ("MetalLB", "metallb", re.compile(r"metallb[/-](controller|speaker)")),
    ("Flannel", "flannel", re.compile(r"(^|/)flannel")),
    ("metrics-server", "metrics_server", re.compile(r"(^|/)metrics-server")),
    ("NFS CSI driver", "csi_driver_nfs", re.compile(r"(^|/)nfsplugin")),
    ("NGINX Ingress Controller", "nginx", re.compile(r"(^|/)nginx-ingress")),
    ("HAProxy Ingress Controller", "haproxy", re.compile(r"haproxytech/kubernetes-ingress")),
    ("Traefik", "traefik", re.compile(r"(^|/)traefik")),
)
# kubeadm chooses these with Kubernetes itself.
KUBEADMS = (("etcd", re.compile(r"(^|/)etcd")), ("CoreDNS", re.compile(r"(^|/)coredns")))
_TAG = re.compile(r"(?P<name>.+?)(?::(?P<tag>[\w.-]+))?(?:@sha256:[0-9a-f]+)?")


def nodes(context: Context) -> Nodes:
    """Return the hosts of the site with their nodes; from hosts.toml alone if the API does not answer."""
    if context.problem:
        return Nodes(without_api(context), _hosts(context.site), context.site.cluster.vip)
    began = time.monotonic()
    try:
        rows = node_rows.rows(context.site, context.cluster.nodes())
        address = context.site.cluster.vip
        holders = tuple(vip.holders(context.hosts, context.site)) if address else ()
    except ProvisionerError as error:
        return Nodes(missing(error), _hosts(context.site), context.site.cluster.vip)
    return part(lambda source: Nodes(source, tuple(Node(**row) for row in rows), address, holders), began)


def _hosts(site: Site) -> tuple[Node, ...]:
    return tuple(Node(host.name, "unknown", ",".join(host.roles), address=host.address) for host in site.hosts)


def pools(facts: Facts | None, site: Site, source: Source) -> Pools:
    """Return the pools of the facts, of hosts.toml if the cluster's are unknown. source: where the facts are from."""
    wanted = {pool.name: pool for pool in site.metallb.pools} if site.metallb.enabled else {}
    if facts is None or facts.pools is None or not source.had:
        return Pools(
            source,
            tuple(
                Pool(pool.name, pool.addresses, _size(pool.ranges), auto_assign=pool.auto_assign)
                for pool in wanted.values()
            ),
        )
    services = None if facts.services is None else targets.services_by_ip(facts)
    ranges = targets.pool_ranges(facts)
    made = []
    for one in facts.pools:
        used = None
        if services is not None:
            inside = [ip for ip in services if any(ip in part for part in ranges[one.name])]
            used = tuple(Use(str(ip), join_words(service.key for service in services[ip])) for ip in inside)
        made.append(Pool(one.name, one.addresses, _size(ranges[one.name]), used, one.auto_assign, one.name in wanted))
    return Pools(source, tuple(made))


def _size(ranges: Iterable[Range]) -> int:
    return sum(one.size for one in ranges)


def versions(context: Context, seen: Nodes) -> Versions:
    """Return what runs, each with the newest version of the catalogue that fits the site's Kubernetes."""
    if context.problem:
        return Versions(without_api(context))
    began = time.monotonic()
    cluster = context.cluster
    try:
        server = str(dict(cluster.raw("/version")).get("gitVersion", ""))
        workloads = [one for kind in ("Deployment", "DaemonSet") for one in cluster.list(kind, api_version="apps/v1")]
        pods = cluster.list("Pod", "kube-system")
    except ProvisionerError as error:
        return Versions(missing(error))
    found = images([*(item["spec"]["template"] for item in workloads), *pods])
    kubelets = [row.version for row in seen.rows if row.version]
    components = [
        _kubernetes("Kubernetes API server", [server], context.site),
        _kubernetes("kubelet", kubelets, context.site),
        *programs(found, context.site),
    ]
    return part(lambda source: Versions(source, tuple(one for one in components if one.running)), began)


def images(specs: Iterable[Object]) -> list[tuple[str, str]]:
    """Return the images of pods or pod templates, each as (name, tag)."""
    found = []
    for spec in specs:
        for container in spec.get("spec", {}).get("containers") or ():
            match = _TAG.fullmatch(str(container.get("image", "")))
            if match is not None:
                found.append((match["name"], match["tag"] or ""))
    return found


def programs(found: Iterable[tuple[str, str]], site: Site) -> Iterator[Component]:
    """Yield the programs among the images. found: (name, tag) each."""
    images = list(found)
    chosen = {"metallb": site.metallb.version, "metrics_server": site.metrics.version}
    for title, program, pattern in PROGRAMS:
        running = _versions(tag for name, tag in images if pattern.search(name) and not _part_of_another(name))
        if not running:
            continue
        newest = catalogue.release(program, str(site.version)).version
        yield Component(
            title,
            running,
            chosen.get(program) or newest,
            newest,
            newer=any(_older(one, newest) for one in running),
        )
    for title, pattern in KUBEADMS:
        if running := _versions(tag for name, tag in images if pattern.search(name)):
            yield Component(title, running, note="comes with Kubernetes")


def _part_of_another(name: str) -> bool:
    return name.endswith(("flannel-cni-plugin", "flanneld-cni"))


def _kubernetes(title: str, running: Iterable[str], site: Site) -> Component:
    known = catalogue.newest_patches()
    newest = known.get(site.version.minor_text, "")
    later = [minor for minor in known if _older(f"{site.version.minor_text}.0", f"{minor}.0")]
    note = f"newer minors are known: {join_words(later)}" if later else ""
    texts = _versions(running)
    newer = any(_older(one, newest) for one in texts) or bool(later)
    return Component(title, texts, str(site.version), newest, newer, note)


def _versions(texts: Iterable[str]) -> tuple[str, ...]:
    """Return distinct versions in order, without the "v"; what is no version stays as it is and comes last."""
    plain = {text.removeprefix("v") if re.match(r"v\d", text) else text for text in texts if text}
    return tuple(sorted(plain, key=lambda text: (_number(text) is None, _number(text) or Version(0, 0, 0), text)))


def _older(running: str, newest: str) -> bool:
    mine, theirs = _number(running), _number(newest)
    return mine is not None and theirs is not None and mine < theirs


def _number(text: str) -> Version | None:
    """Return the three numbers that a version begins with: of "1.31.2+k3s1" 1.31.2; None without."""
    match = re.match(r"v?\d+\.\d+(\.\d+)?", text)
    try:
        return Version.parse(match[0]) if match is not None else None
    except ValueError:
        return None
