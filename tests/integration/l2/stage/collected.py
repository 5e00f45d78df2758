"""The facts of a staged cluster, read from its API and nodes as `l2 collect` reads a real one's.

The staged fault itself is not among them: the diagnosis has to find a rule on the switch or a stopped process.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

from tests.integration.l2.stage.metallb import MetalLB

NONE = {"kube_vip": False, "servicelb": False, "cilium_l2": False}


def facts(metallb: MetalLB, **known: Any) -> dict[str, Any]:
    """Return l2facts/v1 of one MetalLB. known: parts that a real cluster has in other configuration."""
    return {
        "schema": "l2facts/v1",
        "metallb": {
            "version": metallb.version,
            "namespace": metallb.namespace,
            "memberlist": metallb.memberlist,
            "ignore_exclude_lb": False,  # no speaker is started with the flag
            "config": "valid",
        },
        "kube_proxy": {"mode": "iptables", "strict_arp": False},
        "others": NONE,
        "nodes": _nodes(metallb),
        "pools": [
            {
                "name": name,
                "addresses": spec["addresses"],
                "auto_assign": spec.get("autoAssign", True),
                "avoid_buggy_ips": spec.get("avoidBuggyIPs", False),
            }
            for name, spec in resources(metallb, "ipaddresspools")
        ],
        "advertisements": [
            {
                "name": name,
                "pools": spec.get("ipAddressPools", []),
                "node_selectors": spec.get("nodeSelectors", []),
                "interfaces": spec.get("interfaces", []),
            }
            for name, spec in resources(metallb, "l2advertisements")
        ],
        "services": _services(metallb),
        "speaker_log": {name: {"partial_join": metallb.log_lines(name, "partial join") > 0} for name in metallb.logs},
        **known,
    }


def resources(metallb: MetalLB, plural: str) -> list[tuple[str, dict[str, Any]]]:
    """Return name and spec of every custom resource of a kind."""
    found = metallb.api.get(f"/apis/metallb.io/v1beta1/namespaces/{metallb.namespace}/{plural}")
    return [(item["metadata"]["name"], item["spec"]) for item in found["items"]]


def _nodes(metallb: MetalLB) -> list[dict[str, Any]]:
    pods = metallb.api.get(f"/api/v1/namespaces/{metallb.namespace}/pods")["items"]
    speakers = {pod["spec"]["nodeName"]: _condition(pod, "Ready") for pod in pods}
    nodes = []
    for node in metallb.api.get("/api/v1/nodes")["items"]:
        name = node["metadata"]["name"]
        if name in metallb.nodes:
            nodes.append(
                {
                    "name": name,
                    "internal_ips": [each["address"] for each in node["status"]["addresses"]],
                    "ready": _condition(node, "Ready"),
                    "network_unavailable": False,
                    "labels": node["metadata"]["labels"],
                    "speaker": {None: "missing", True: "ready", False: "failing"}[speakers.get(name)],
                    "nics": nics(metallb, name) if name in metallb.network.names else None,
                }
            )
    return nodes


def _condition(thing: dict[str, Any], kind: str) -> bool:
    return any(each["type"] == kind and each["status"] == "True" for each in thing["status"].get("conditions", []))


def nics(metallb: MetalLB, name: str) -> list[dict[str, Any]]:
    """Read a node's NICs as over SSH."""
    script = "ip -json address; grep -H . /proc/sys/net/ipv4/conf/*/proxy_arp"
    links, *settings = metallb.network.shell(name, script).splitlines()
    proxies = {line.split("/")[6] for line in settings if line.endswith(":1")}
    return [
        {
            "name": link["ifname"],
            "mac": link["address"],
            "addresses": [f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"]],
            "up": "UP" in link["flags"],
            "master": link.get("master"),
            "proxy_arp": bool(proxies & {link["ifname"], "all"}),
        }
        for link in json.loads(links)
        if link["ifname"] != "lo"
    ]


def _services(metallb: MetalLB) -> list[dict[str, Any]]:
    place = f"/api/v1/namespaces/{metallb.course}"
    endpoints = {item["metadata"]["name"]: item for item in metallb.api.get(f"{place}/endpoints")["items"]}
    events = metallb.api.get(f"{place}/events")["items"]
    return [
        {
            "namespace": metallb.course,
            "name": (name := service["metadata"]["name"]),
            "ingress_ips": [each["ip"] for each in service["status"]["loadBalancer"].get("ingress", [])],
            "external_traffic_policy": service["spec"]["externalTrafficPolicy"],
            "allow_shared_ip": service["metadata"].get("annotations", {}).get("metallb.universe.tf/allow-shared-ip"),
            "source_ranges": service["spec"].get("loadBalancerSourceRanges", []),
            "ports": [{"port": each["port"], "protocol": each["protocol"]} for each in service["spec"]["ports"]],
            "endpoints": [
                {"node": each["nodeName"], "ready": True}
                for subset in endpoints[name].get("subsets") or []
                for each in subset["addresses"]
            ],
            "events": [
                {"reason": event["reason"], "node": _node_of(event), "message": event["message"]}
                for event in events
                if event["involvedObject"]["name"] == name and event["source"]["component"].startswith("metallb")
            ],
        }
        for service in metallb.api.get(f"{place}/services")["items"]
        if service["spec"]["type"] == "LoadBalancer"
    ]


def _node_of(event: dict[str, Any]) -> str:
    """Return the node that a speaker's event names in its message; its source has none."""
    words = event["message"].split('"')
    return next((after for before, after in itertools.pairwise(words) if before.endswith("node ")), "")
