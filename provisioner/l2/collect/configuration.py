"""MetalLB's configuration in the API: pools and advertisements, and whether MetalLB accepted it.

Custom resources since 0.13 (with that release's transitional AddressPool), a ConfigMap before. Without either there is
no pool; what may not be read is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from provisioner import yaml_text
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
    """Return the MetalLB kinds that the API serves. served: the API versions it serves, None: unknown."""
    if served is None:
        return None
    if API not in served:
        return frozenset()
    answer = reader.read("MetalLB's custom resources", lambda: reader.cluster.raw(f"/apis/{API}")["resources"])
    return None if answer is None else frozenset(item["kind"] for item in answer)


def configuration(reader: ApiReader, namespace: str, known: frozenset[str] | None) -> Configuration:
    """Read pools and advertisements. known: the MetalLB kinds that the API serves."""
    if known is None:
        return Configuration(None, None)
    if "IPAddressPool" not in known:
        pools = reader.read("the ConfigMap of MetalLB's pools", lambda: _from_config_map(reader, namespace))
        return Configuration(pools, ())
    pools = reader.read("pools", lambda: tuple(map(_pool, _list(reader, "IPAddressPool", namespace))))
    advertisements = reader.read(
        "advertisements", lambda: tuple(map(_advertisement, _list(reader, "L2Advertisement", namespace)))
    )
    if "AddressPool" not in known:
        return Configuration(pools, advertisements)
    older = reader.read("pools of the kind AddressPool", lambda: _list(reader, "AddressPool", namespace))
    if older is None:
        return Configuration(None, None)
    return _with_older(reader, Configuration(pools, advertisements), older)


def state(reader: ApiReader, namespace: str, known: frozenset[str] | None) -> dict[str, str]:
    """Return MetalLB's `config` and `config_error` from its ConfigurationStates (since 0.15.3), {} if unknown."""
    if not known or "ConfigurationState" not in known:
        return {}
    answers = reader.read(
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


def state_from_gauges(loaded_and_stale: Sequence[tuple[float | None, float | None]]) -> dict[str, str]:
    """Return `config` from MetalLB's gauges config_loaded_bool and config_stale_bool, {} if unknown."""
    known = [(loaded, stale) for loaded, stale in loaded_and_stale if loaded is not None and stale is not None]
    if not known:
        return {}
    if any(stale for _, stale in known):
        return {"config": "stale" if all(loaded for loaded, _ in known) else "invalid"}
    # A process that never received a configuration exposes 0 and 0.
    return {"config": "valid"} if all(loaded for loaded, _ in known) else {}


def excluded_interfaces(reader: ApiReader, found: MetalLB) -> tuple[str, ...] | None:
    """Return the regular expressions of metallb-excludel2; empty without that ConfigMap."""

    def fetch() -> tuple[str, ...]:
        config_map = reader.cluster.get("ConfigMap", "metallb-excludel2", found.namespace)
        document = yaml_text.load_mapping((config_map or {}).get("data", {}).get("excludel2.yaml", ""))
        return tuple(map(str, document.get("announcedInterfacesToExclude") or ()))

    return reader.read("the interfaces that MetalLB excludes", fetch)


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
    """Add AddressPools: one of protocol layer2 is both a pool and its own advertisement."""
    pools, advertisements = found.pools, found.advertisements
    for item in older:
        if pools is None or advertisements is None:
            break
        name, spec = item["metadata"]["name"], item["spec"]
        if any(pool.name == name for pool in pools):
            reader.note(f"pools: {name!r} is both an IPAddressPool and an AddressPool, which MetalLB refuses")
            return Configuration(None, None)
        protocol = spec.get("protocol", "layer2")
        pools += (_pool(item).model_copy(update={"protocol": protocol}),)
        if protocol == "layer2" and not any(each.name == name for each in advertisements):
            advertisements += (Advertisement(name=name, pools=(name,)),)
    return Configuration(pools, advertisements)


def _from_config_map(reader: ApiReader, namespace: str) -> tuple[Pool, ...]:
    """Read the pools of MetalLB before 0.13 from the ConfigMap's key `config`; peers are ignored."""
    config_map = reader.cluster.get("ConfigMap", "config", namespace)
    document = yaml_text.load_mapping((config_map or {}).get("data", {}).get("config", ""))
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
        raise ValueError("two pools have the same name, which MetalLB refuses")
    return pools
