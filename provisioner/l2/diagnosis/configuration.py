"""Silence that the cluster's configuration explains: nobody is meant to announce the address."""

from __future__ import annotations

from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.sentences import silence
from provisioner.l2.election.rules import EXCLUDE_LABEL
from provisioner.text import join_words, pluralize


def config(case: Case) -> Cause | None:
    """CONFIG_INVALID, CONFIG_STALE: it is silent, and MetalLB does not work by the configuration that is there.

    Nothing is predicted then, so whoever answers for an address is not called unexpected.
    """
    metallb = case.facts.metallb
    if not case.silent or metallb.config not in ("invalid", "stale"):
        return None
    said = f": {metallb.config_error.rstrip('.')}" if metallb.config_error else ""
    if metallb.config == "invalid":
        what = f"MetalLB refuses its configuration and goes on with the last good one{said}."
        return Cause("CONFIG_INVALID", "likely", (what, silence(case)))
    what = f"MetalLB has not taken up its newest configuration{said}."
    return Cause("CONFIG_STALE", "likely", (what, silence(case)))


def no_advertisement(case: Case) -> Cause | None:
    """NO_L2ADVERTISEMENT: no advertisement covers the address's pool and its Service."""
    if not _nobody(case, "NO_L2ADVERTISEMENT") or case.pool is None:
        return None
    for_pool = [one.name for one in case.facts.advertisements or () if case.pool.name in one.pools]
    if for_pool:
        why = f"L2Advertisement {join_words(for_pool)} covers pool {case.pool.name}, but not Service {_name(case)}."
    elif case.facts.advertisements:
        names = join_words([one.name for one in case.facts.advertisements])
        why = f"No L2Advertisement covers pool {case.pool.name} (there are: {names})."
    else:
        why = f"There is no L2Advertisement at all, so pool {case.pool.name} is not announced."
    fields = {"advertisement": for_pool[0]} if for_pool else {"new_advertisement": case.pool.name}
    return Cause("NO_L2ADVERTISEMENT", "certain", (why, silence(case)), fields=fields)


def exclude_label(case: Case) -> Cause | None:
    """EXCLUDE_LABEL: every candidate carries the label that keeps it out of load balancing."""
    if not _nobody(case, "EXCLUDE_LABEL"):
        return None
    labelled = [node.name for node in case.facts.nodes if EXCLUDE_LABEL in (node.labels or {})]
    version = case.facts.metallb.version
    others = () if len(labelled) == len(case.facts.nodes) else _reasons(case)
    carry = "carry" if len(labelled) > 1 else "carries"
    honours = f"MetalLB {version} honours it" if version else "MetalLB honours it"
    return Cause(
        "EXCLUDE_LABEL",
        "certain",
        (f"{join_words(labelled)} {carry} the label {EXCLUDE_LABEL}, and {honours}.", *others, silence(case)),
        fields={"nodes": " ".join(labelled)} if labelled else {},
    )


def node_selector_empty(case: Case) -> Cause | None:
    """NODE_SELECTOR_EMPTY: the advertisements select no node that could announce."""
    if not _nobody(case, "NODE_SELECTOR_EMPTY"):
        return None
    names = [one.name for one in case.advertisements or ()]
    which = (
        f"The node selectors of L2Advertisement {join_words(names)}" if names else "The advertisements' node selectors"
    )
    return Cause(
        "NODE_SELECTOR_EMPTY",
        "certain",
        (f"{which} admit none of the nodes that could announce.", *_reasons(case), silence(case)),
        fields={"advertisement": names[0]} if names else {},
    )


def no_endpoints(case: Case) -> Cause | None:
    """NO_ENDPOINTS: no ready endpoint anywhere, so nobody announces."""
    if not case.silent or case.service is None or case.endpoints is None or case.endpoints:
        return None
    unready = sum(len(service.endpoints or ()) for service in case.services)
    what = f"{pluralize(unready, 'endpoint')}, none of them ready" if unready else "no endpoint"
    return Cause(
        "NO_ENDPOINTS",
        "certain",
        (f"Service {_name(case)} has {what}; MetalLB announces no address of such a Service.", silence(case)),
    )


def local_no_candidate(case: Case) -> Cause | None:
    """LOCAL_NO_CANDIDATE: with policy Local, no node that may announce has a ready endpoint."""
    if not _nobody(case, "LOCAL_NO_CANDIDATE"):
        return None
    nodes = sorted(node for node in case.endpoints or () if node)
    on = f"its ready endpoints are on {join_words(nodes)}, which may not announce" if nodes else "no node has one"
    return Cause(
        "LOCAL_NO_CANDIDATE",
        "certain",
        (
            f"Service {_name(case)} has externalTrafficPolicy Local, so only a node with a ready endpoint announces; "
            f"{on}.",
            *_reasons(case),
            silence(case),
        ),
    )


def _nobody(case: Case, code: str) -> bool:
    """Tell whether it is silent and the election is known to be empty for that reason."""
    prediction = case.prediction
    return case.silent and prediction.candidates == () and prediction.why_empty == code


def _reasons(case: Case) -> tuple[str, ...]:
    """Return why each node is no candidate, of a large cluster's some."""
    return tuple(f"{why.rstrip('.')}." for why in case.prediction.ruled_out.values())[:8]


def _name(case: Case) -> str:
    return join_words(service.key for service in case.services)
