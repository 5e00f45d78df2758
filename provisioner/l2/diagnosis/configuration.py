"""Silence explained by the cluster's configuration: no node is meant to announce the address."""

from __future__ import annotations

from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.sentences import silence
from provisioner.l2.election.rules import EXCLUDE_LABEL
from provisioner.l2.facts import MetalLB
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
    for_pool = [one.name for one in case.facts.advertisements or () if case.pool.name in one.pools]
    if for_pool:
        why = f"L2Advertisement {join_words(for_pool)} covers pool {case.pool.name}, but not Service {_name(case)}."
    elif case.facts.advertisements:
        names = join_words([one.name for one in case.facts.advertisements])
        why = f"No L2Advertisement covers pool {case.pool.name} (existing: {names})."
    else:
        why = f"There is no L2Advertisement, so pool {case.pool.name} is not announced."
    fields = {"advertisement": for_pool[0]} if for_pool else {"new_advertisement": case.pool.name}
    return Cause("NO_L2ADVERTISEMENT", "certain", (why, silence(case)), fields=fields)


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
