"""Silence explained by the cluster's configuration: no node is meant to announce the address."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from provisioner.addresses import Range
from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.sentences import silence
from provisioner.l2.election.rules import EXCLUDE_LABEL
from provisioner.l2.facts import Advertisement, MetalLB
from provisioner.l2.result import Confidence
from provisioner.text import join_words, pluralize


def config(case: Case) -> Cause | None:
    """CONFIG_INVALID, CONFIG_STALE: no reply, and MetalLB does not run the configuration in the API.

    The leader is not predicted then, so an owner is never called unexpected.
    """
    metallb = case.facts.metallb
    if not case.silent or metallb.config not in ("invalid", "stale"):
        return None
    why = config_problem(metallb)
    return Cause("CONFIG_INVALID" if metallb.config == "invalid" else "CONFIG_STALE", "likely", (why, silence(case)))


def config_problem(metallb: MetalLB) -> str:
    """Return the sentence on a configuration that is invalid or stale, with MetalLB's own error."""
    error = f": {metallb.config_error.rstrip('.')}" if metallb.config_error else ""
    if metallb.config == "invalid":
        return f"MetalLB rejects its configuration and keeps running the last valid one{error}."
    return f"MetalLB has not loaded its latest configuration{error}."


def no_advertisement(case: Case) -> Cause | None:
    """NO_L2ADVERTISEMENT: no L2Advertisement covers the address's pool and its Service."""
    if not _no_candidate(case, "NO_L2ADVERTISEMENT") or case.pool is None:
        return None
    pool, known = case.pool.name, case.facts.advertisements or ()
    for_pool = [one.name for one in known if pool in one.pools]
    gone = [one for one in known if one.pools and not set(one.pools) & {each.name for each in case.facts.pools or ()}]
    commands: tuple[str, ...] = ()
    remedy = ""
    if for_pool:
        why = f"L2Advertisement {join_words(for_pool)} covers pool {pool}, but not Service {_name(case)}."
        fields = {"advertisement": for_pool[0]}
    elif gone:
        # Most often the pool was renamed, or a pattern was written where a name is wanted.
        first = gone[0]
        why = (
            f"L2Advertisement {first.name} names pool {join_words(first.pools)}, which does not exist{_exact(first)}."
        )
        fields = {"advertisement": first.name}
        remedy = f"Name pool {pool} in ipAddressPools of L2Advertisement {first.name}."
        commands = ("kubectl -n {ns} edit l2advertisement {advertisement}",)
    elif known:
        names = join_words([one.name for one in known])
        why = f"No L2Advertisement covers pool {pool} (existing: {names})."
        fields = {"new_advertisement": pool if pool not in [one.name for one in known] else _unused(pool, known)}
    else:
        why = f"There is no L2Advertisement, so pool {pool} is not announced."
        fields = {"new_advertisement": pool}
    evidence = [why]
    if not for_pool and known:
        evidence.append(f"No L2Advertisement covers pool {pool}, so MetalLB announces none of its addresses.")
    fields |= {"pool": pool}
    return Cause("NO_L2ADVERTISEMENT", "certain", (*evidence[:2], silence(case)), (), fields, remedy, commands)


def _exact(advertisement: Advertisement) -> str:
    patterned = any(re.search(r"[*?^$\[\]]", name) for name in advertisement.pools)
    return "; ipAddressPools takes names, no patterns" if patterned else ""


def _unused(name: str, known: Sequence[Advertisement]) -> str:
    """Return a name that no L2Advertisement has."""
    taken = {one.name for one in known}
    return next(made for number in itertools.count(2) if (made := f"{name}-{number}") not in taken)


def pools_overlap(case: Case) -> Cause | None:
    """POOLS_OVERLAP: two pools share addresses, so MetalLB rejects its configuration, and no reply comes."""
    if not case.silent or not (pair := case.segment.overlapping_pools):
        return None
    sure: Confidence = "certain" if case.facts.metallb.config == "invalid" else "likely"
    return Cause(
        "POOLS_OVERLAP",
        sure,
        (overlap_sentence(pair), silence(case)),
        fields={"pool": pair[1]},
        explains=("CONFIG_INVALID", "CONFIG_STALE"),
    )


def overlap_sentence(pair: tuple[str, str, Range]) -> str:
    """Return the sentence on two pools that share addresses."""
    return f"Pools {pair[0]} and {pair[1]} both contain {pair[2]}, for which MetalLB rejects its configuration."


def external_ip(case: Case) -> Cause | None:
    """EXTERNAL_IP_NOT_ANNOUNCED: a Service names the address in spec.externalIPs, which nobody announces."""
    holders = (case.facts.external_ips or {}).get(str(case.ip), ())
    if not holders or case.services or not case.silent:
        return None
    namespace, _, service = holders[0].partition("/")
    evidence = (
        f"Service {join_words(holders)} {'name' if len(holders) > 1 else 'names'} {case.ip} in spec.externalIPs: "
        "kube-proxy accepts packets for it on every node, and nobody announces it.",
        "MetalLB announces the addresses in status.loadBalancer only.",
        silence(case),
    )
    fields = {"namespace": namespace, "name": service, "service": holders[0]}
    return Cause("EXTERNAL_IP_NOT_ANNOUNCED", "certain", evidence, (), fields)


def assigned_by_other(case: Case) -> Cause | None:
    """ASSIGNED_BY_OTHER: the address is in no pool of MetalLB, so another controller wrote the Service's status."""
    if not case.silent or not case.facts.pools or case.pool is not None or not case.services:
        return None
    if not case.capture.vantage.on_link(case.ip):
        return None  # whoever assigned it need not announce it here
    writers = tuple(dict.fromkeys(one.status_by for one in case.services if one.status_by))
    if set(writers) & set(_METALLB_WRITERS):
        return None  # assigned by MetalLB, from a pool that is gone
    evidence = [f"{case.ip} is in no MetalLB pool, so MetalLB did not assign it and does not announce it."]
    evidence += [f"The status of {_name(case)} was written by {join_words(writers)}."] if writers else []
    others = () if writers else ("CONFIG_STALE",)
    return Cause("ASSIGNED_BY_OTHER", "certain" if writers else "likely", (*evidence, silence(case)), others)


_METALLB_WRITERS = ("controller", "metallb-controller")  # field managers: the program's name


def exclude_label(case: Case) -> Cause | None:
    """EXCLUDE_LABEL: every candidate is labeled exclude-from-external-load-balancers."""
    if not _no_candidate(case, "EXCLUDE_LABEL"):
        return None
    labeled = [node.name for node in case.facts.nodes if EXCLUDE_LABEL in (node.labels or {})]
    version = case.facts.metallb.version
    others = () if len(labeled) == len(case.facts.nodes) else _reasons(case)
    have = "have" if len(labeled) > 1 else "has"
    honors = f"MetalLB {version} honors" if version else "MetalLB honors"
    return Cause(
        "EXCLUDE_LABEL",
        "certain",
        (f"{join_words(labeled)} {have} the label {EXCLUDE_LABEL}, which {honors}.", *others, silence(case)),
        fields={"nodes": " ".join(labeled)} if labeled else {},
    )


def node_selector_empty(case: Case) -> Cause | None:
    """NODE_SELECTOR_EMPTY: the L2Advertisements select no candidate node."""
    if not _no_candidate(case, "NODE_SELECTOR_EMPTY"):
        return None
    names = [one.name for one in case.advertisements or ()]
    which = f"of L2Advertisement {join_words(names)}" if names else "of all L2Advertisements"
    return Cause(
        "NODE_SELECTOR_EMPTY",
        "certain",
        (f"The nodeSelectors {which} match no candidate node.", *_reasons(case), silence(case)),
        fields={"advertisement": names[0]} if names else {},
    )


def no_endpoints(case: Case) -> Cause | None:
    """NO_ENDPOINTS: the Service has no ready endpoint, so no node announces it."""
    if not case.silent or case.service is None or case.endpoints is None or case.endpoints:
        return None
    unready = sum(len(service.endpoints or ()) for service in case.services)
    what = f"{pluralize(unready, 'endpoint')}, none ready" if unready else "no endpoints"
    return Cause(
        "NO_ENDPOINTS",
        "certain",
        (f"Service {_name(case)} has {what}, so MetalLB does not announce its address.", silence(case)),
    )


def local_no_candidate(case: Case) -> Cause | None:
    """LOCAL_NO_CANDIDATE: externalTrafficPolicy is Local, and no candidate node has a ready endpoint."""
    if not _no_candidate(case, "LOCAL_NO_CANDIDATE"):
        return None
    nodes = sorted(node for node in case.endpoints or () if node)
    on = f"its ready endpoints are on {join_words(nodes)}, not a candidate" if nodes else "no node has one"
    return Cause(
        "LOCAL_NO_CANDIDATE",
        "certain",
        (
            f"Service {_name(case)} has externalTrafficPolicy Local, so only a node with a ready endpoint announces "
            f"it; {on}.",
            *_reasons(case),
            silence(case),
        ),
    )


def _no_candidate(case: Case, code: str) -> bool:
    """Tell whether it is silent and the election has no candidates for that reason."""
    prediction = case.prediction
    return case.silent and prediction.candidates == () and prediction.why_empty == code


def _reasons(case: Case) -> tuple[str, ...]:
    """Return why each node is not a candidate, for at most eight nodes."""
    return tuple(f"{why.rstrip('.')}." for why in case.prediction.ruled_out.values())[:8]


def _name(case: Case) -> str:
    return join_words(service.key for service in case.services)
