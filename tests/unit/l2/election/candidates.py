"""Shared by the tests of the election: iris1 and iris2, both candidates, and ways to change them."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from provisioner.l2.election import predictor
from provisioner.l2.facts import Advertisement, Endpoint, Facts, MetalLB, Node, Pool, Service

IP = IPv4Address("10.20.30.1")
EXCLUDED = {"node.kubernetes.io/exclude-from-external-load-balancers": ""}


def node(name: str, **known: Any) -> Node:
    """Return an eligible node."""
    usual: dict[str, Any] = {"ready": True, "network_unavailable": False, "labels": {}, "speaker": "ready"}
    return Node(name=name, **usual | known)


def service(**known: Any) -> Service:
    """Return default/web, which has the address and an endpoint on iris1."""
    usual: dict[str, Any] = {
        "namespace": "default",
        "name": "web",
        "ingress_ips": (str(IP),),
        "external_traffic_policy": "Cluster",
        "endpoints": (Endpoint(node="iris1"),),
        "labels": {},
    }
    return Service(**usual | known)


def facts(*nodes: Node, **known: Any) -> Facts:
    """Return facts in which everything is known and iris1 and iris2 are candidates."""
    metallb = {"version": "0.16.1", "memberlist": True, "ignore_exclude_lb": False, "config": "valid"}
    usual: dict[str, Any] = {
        "metallb": MetalLB(**metallb | known.pop("metallb", {})),
        "nodes": nodes or (node("iris1"), node("iris2")),
        "pools": (Pool(name="lab", addresses=("10.20.30.0/24",)),),
        "advertisements": (Advertisement(name="lab"),),
        "services": (),
    }
    return Facts(**usual | known)


def predict(known: Facts, one: Service | None = None) -> predictor.Prediction:
    """Predict who announces the address."""
    return predictor.predict(known, IP, one or service())


def advertised(**spec: Any) -> dict[str, Any]:
    """Return one advertisement, as keyword arguments for `facts`."""
    return {"advertisements": (Advertisement(name="one", **spec),)}


ZONES = (node("iris1", labels={"zone": "a"}), node("iris2", labels={"zone": "b"}))
