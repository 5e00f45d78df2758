"""MetalLB's configuration as the API holds it: pools and advertisements, and whether MetalLB has taken it.

Custom resources since 0.13 (with 0.13's own AddressPool of the transition), one ConfigMap before. Neither there
means that there is no pool; what may not be read is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from provisioner.kube import Object
from provisioner.l2.collect.api_reader import ApiReader
from provisioner.l2.facts import Advertisement, MetalLB, Pool
from provisioner.l2.facts_values import selector
from provisioner.redact import redact

API = "metallb.io/v1beta1"


@dataclass(frozen=True)
class Configuration:
    """Pools and advertisements; None: unknown."""

    pools: tuple[Pool, ...] | None
    advertisements: tuple[Advertisement, ...] | None


def kinds(reader: ApiReader, served: frozenset[str] | None) -> frozenset[str] | None:
    """Return which of MetalLB's kinds the API has. served: the API versions that it has, None: unknown."""
    if served is None:
        return None
    if API not in served:
        return frozenset()
    answer = reader.ask("MetalLB's custom resources", lambda: reader.cluster.raw(f"/apis/{API}")["resources"])
    return None if answer is None else frozenset(item["kind"] for item in answer)


def configuration(reader: ApiReader, namespace: str, known: frozenset[str] | None) -> Configuration:
    """Read pools and advertisements. known: MetalLB's kinds that the API has."""
    if known is None:
        return Configuration(None, None)
    if "IPAddressPool" not in known:
        pools = reader.ask("the ConfigMap of MetalLB's pools", lambda: _from_config_map(reader, namespace))
        return Configuration(pools, ())
    pools = reader.ask("pools", lambda: tuple(map(_pool, _list(reader, "IPAddressPool", namespace))))
    advertisements = reader.ask(
        "advertisements", lambda: tuple(map(_advertisement, _list(reader, "L2Advertisement", namespace)))
    )
    if "AddressPool" not in known:
        return Configuration(pools, advertisements)
    older = reader.ask("pools of the kind AddressPool", lambda: _list(reader, "AddressPool", namespace))
    if older is None:
        return Configuration(None, None)
    return _with_older(reader, Configuration(pools, advertisements), older)


def state(reader: ApiReader, namespace: str, known: frozenset[str] | None) -> dict[str, str]:
    """Return MetalLB's `config` and `config_error` by its ConfigurationStates (since 0.15.3); {} where none tells."""
    if not known or "ConfigurationState" not in known:
        return {}
    answers = reader.ask(
        "the state of MetalLB's configuration", lambda: _list(reader, "ConfigurationState", namespace)
    )
    states = [item.get("status") or {} for item in answers or ()]
    refused = [item for item in states if item.get("result") == "Invalid"]
    if refused:
        summaries = dict.fromkeys(str(item.get("errorSummary") or "") for item in refused)
        return {"config": "invalid", "config_error": redact("; ".join(filter(None, summaries)))[:1000]}
    if states and all(item.get("result") == "Valid" for item in states):
        return {"config": "valid"}
    return {}


def by_gauges(loaded_and_stale: Sequence[tuple[float | None, float | None]]) -> dict[str, str]:
    """Return `config` by the gauges config_loaded_bool and config_stale_bool of MetalLB's programs; {} without any."""
    known = [(loaded, stale) for loaded, stale in loaded_and_stale if loaded is not None and stale is not None]
    if not known:
        return {}
    if any(stale for _, stale in known):
        return {"config": "stale" if all(loaded for loaded, _ in known) else "invalid"}
    # A program that was never given a configuration is neither: it shows 0 and 0.
    return {"config": "valid"} if all(loaded for loaded, _ in known) else {}


def excluded_interfaces(reader: ApiReader, found: MetalLB) -> tuple[str, ...] | None:
    """Return the regular expressions of metallb-excludel2; none where there is no such ConfigMap."""

    def look() -> tuple[str, ...]:
        config_map = reader.cluster.get("ConfigMap", "metallb-excludel2", found.namespace)
        document = _yaml((config_map or {}).get("data", {}).get("excludel2.yaml", "")) or {}
        return tuple(map(str, document.get("announcedInterfacesToExclude") or ()))

    return reader.ask("the interfaces that MetalLB leaves out", look)


def _list(reader: ApiReader, kind: str, namespace: str) -> list[Object]:
    return reader.cluster.list(kind, namespace, API)


def _pool(item: Object) -> Pool:
    spec = item["spec"]
    return Pool(
        name=item["metadata"]["name"],
        addresses=tuple(spec.get("addresses") or ()),
        auto_assign=spec.get("autoAssign", True),
        avoid_buggy_ips=spec.get("avoidBuggyIPs", False),
        labels=item["metadata"].get("labels") or {},
        service_allocation=spec.get("serviceAllocation"),
    )


def _advertisement(item: Object) -> Advertisement:
    spec = item.get("spec") or {}
    return Advertisement(
        name=item["metadata"]["name"],
        pools=tuple(spec.get("ipAddressPools") or ()),
        pool_selectors=_selectors(spec.get("ipAddressPoolSelectors")),
        node_selectors=_selectors(spec.get("nodeSelectors")),
        interfaces=tuple(spec.get("interfaces") or ()),
        service_selectors=_selectors(spec.get("serviceSelectors")),
    )


def _selectors(written: Sequence[dict[str, Any]] | None) -> tuple[dict[str, Any], ...]:
    return tuple(dict(selector(each)) for each in written or ())


def _with_older(reader: ApiReader, found: Configuration, older: Sequence[Object]) -> Configuration:
    """Add AddressPools: one of the protocol layer2 is a pool and, at once, its own advertisement."""
    pools, advertisements = found.pools, found.advertisements
    for item in older:
        if pools is None or advertisements is None:
            break
        name, spec = item["metadata"]["name"], item["spec"]
        if any(pool.name == name for pool in pools):
            reader.note(f"pools: {name!r} is both an IPAddressPool and an AddressPool; MetalLB refuses that")
            return Configuration(None, None)
        protocol = spec.get("protocol", "layer2")
        pools += (_pool(item).model_copy(update={"protocol": protocol}),)
        if protocol == "layer2" and not any(each.name == name for each in advertisements):
            advertisements += (Advertisement(name=name, pools=(name,)),)
    return Configuration(pools, advertisements)


def _from_config_map(reader: ApiReader, namespace: str) -> tuple[Pool, ...]:
    """Read the pools of MetalLB before 0.13, from the ConfigMap's key `config`; of its peers nothing is kept."""
    config_map = reader.cluster.get("ConfigMap", "config", namespace)
    document = _yaml((config_map or {}).get("data", {}).get("config", "")) or {}
    pools = tuple(
        Pool(
            name=item["name"],
            addresses=tuple(item.get("addresses") or ()),
            auto_assign=item.get("auto-assign", True),
            avoid_buggy_ips=item.get("avoid-buggy-ips", False),
            protocol=item.get("protocol", ""),
        )
        for item in document.get("address-pools") or ()
    )
    if len({pool.name for pool in pools}) != len(pools):
        raise ValueError("two pools have one name, which MetalLB refuses")
    return pools


def _yaml(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        # The text itself may hold a peer's password, so only the line's number is told.
        raise ValueError("no YAML" + (f" (line {mark.line + 1})" if mark else "")) from None
