"""The remedy of each verdict: a sentence, and the next command with its placeholders filled in.

The first command whose placeholders are all known is used; the last one needs at most the address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Remedy:
    """A verdict's remedy: a sentence and commands, with {placeholders} that the case and the cause fill in."""

    sentence: str
    commands: tuple[str, ...]


# What a sentence says if a placeholder is unknown. Commands are never filled from these.
_UNNAMED = {
    "program": "its announcer",
    "node": "the node",
    "nic": "its interface",
    "mac": "that host",
    "guard": "spoof guard, port security",
}
# What may be filled into a command: Kubernetes names, interfaces, addresses, or several of them. Anybody may have
# written a facts file, and a command is pasted into a shell.
_SAFE = re.compile(r"\w[\w.:/%@-]*( \w[\w.:/%@-]*)*", re.ASCII)
_SEVERAL = ("nodes", "filter")  # the only ones that are several words
_OBJECTS = {"advertisement": "L2Advertisement", "pool": "pool", "service": "Service"}

_POOL = ("kubectl -n {ns} edit configmap {configmap}", "kubectl -n {ns} edit ipaddresspool {pool}")
_ANY_POOL = (*_POOL, "kubectl -n {ns} get ipaddresspools")
_ADVERTISEMENT = (
    "kubectl -n {ns} edit l2advertisement {advertisement}",
    "kubectl -n {ns} get l2advertisements -o yaml",
)
_CONTROLLER = ("kubectl -n {ns} logs deployment/controller --tail=50",)
_SPEAKERS = "kubectl -n {ns} get pods -l component=speaker -o wide"
_ENDPOINTS = "kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={name} -o wide"
_CAPTURE = (
    "provisioner exec --limit {node} -- timeout 10 tcpdump -eni {nic} '{filter}'",
    "provisioner exec --limit {node} -- timeout 10 tcpdump -eni any '{filter}'",
    _SPEAKERS,
)
_FLUSH = ("sudo ip neigh flush to {ip} dev {interface}",)
_NEW_ADVERTISEMENT = (
    r"printf 'apiVersion: metallb.io/v1beta1\nkind: L2Advertisement\nmetadata: "
    r"{{name: {new_advertisement}, namespace: {ns}}}\nspec: {{ipAddressPools: [{new_advertisement}]}}\n' "
    "| kubectl create -f -"
)

REMEDIES: Mapping[str, Remedy] = {
    "OK": Remedy("", ()),
    "NO_ADDRESS": Remedy(
        "Check the events of {the_service} and the log of MetalLB's controller.",
        ("kubectl -n {namespace} describe service {name}", *_CONTROLLER),
    ),
    "ADDRESS_UNUSABLE": Remedy(
        "Find out what wrote this address into the status of {the_service}, and give it one that a host can have.",
        ("kubectl -n {namespace} get service {name} -o yaml --show-managed-fields", "kubectl get services -A"),
    ),
    "POOL_EXHAUSTED": Remedy("Enlarge {the_pool}, or delete a Service that has one of its addresses.", _ANY_POOL),
    "CONFIG_INVALID": Remedy("Fix the configuration that the controller's log names.", _CONTROLLER),
    "CONFIG_STALE": Remedy("Check the controller's log for why it did not load the configuration.", _CONTROLLER),
    "POOLS_OVERLAP": Remedy("Give every address to one pool only: change {the_pool}.", _ANY_POOL),
    "EXTERNAL_IP_NOT_ANNOUNCED": Remedy(
        "Make {the_service} of type LoadBalancer and request the address from a pool, or configure it on a node.",
        ("kubectl -n {namespace} get service {name} -o yaml", "kubectl get services -A -o wide"),
    ),
    "ASSIGNED_BY_OTHER": Remedy(
        "Let one controller assign addresses to {the_service}: by loadBalancerClass, or by disabling the other.",
        (
            "kubectl -n {namespace} get service {name} -o yaml --show-managed-fields",
            "kubectl get services -A -o wide",
        ),
    ),
    "NO_L2ADVERTISEMENT": Remedy(
        "Create an L2Advertisement that covers the pool and the Service.",
        (_NEW_ADVERTISEMENT, *_ADVERTISEMENT),
    ),
    "EXCLUDE_LABEL": Remedy(
        "Remove the label from the nodes, or run the speakers with --ignore-exclude-lb.",
        (
            "kubectl label node {nodes} node.kubernetes.io/exclude-from-external-load-balancers-",
            "kubectl get nodes -l node.kubernetes.io/exclude-from-external-load-balancers",
        ),
    ),
    "NODE_SELECTOR_EMPTY": Remedy("Make the nodeSelectors of {the_advertisement} match a node.", _ADVERTISEMENT),
    "NO_ENDPOINTS": Remedy(
        "Get a pod of {the_service} ready, or fix its selector.", (_ENDPOINTS, "kubectl get endpointslices -A")
    ),
    "LOCAL_NO_CANDIDATE": Remedy(
        "Set externalTrafficPolicy to Cluster, or run pods of {the_service} on candidate nodes.",
        (
            """kubectl -n {namespace} patch service {name} -p '{{"spec":{{"externalTrafficPolicy":"Cluster"}}}}'""",
            "kubectl get services -A",
        ),
    ),
    "SPEAKER_DOWN": Remedy(
        "Get the speaker on {node} running: check the DaemonSet, pod security admission, taints.",
        ("kubectl -n {ns} get pods -l component=speaker -o wide --field-selector spec.nodeName={node}", _SPEAKERS),
    ),
    "INTERFACE_MISSING": Remedy(
        "Set interfaces of {the_advertisement} to ones that the nodes have on this segment.",
        _ADVERTISEMENT,
    ),
    "LEADER_OFF_SEGMENT": Remedy(
        "Restrict {the_advertisement} by nodeSelectors to nodes on this segment; {node} is not.",
        _ADVERTISEMENT,
    ),
    "BROADCAST_BLIND": Remedy(
        "Connect {node} by cable instead of Wi-Fi, or fix the setting of {nic} that drops broadcasts.",
        (
            "provisioner exec --limit {node} -- ip -details link show dev {nic}",
            "provisioner exec --limit {node} -- ip -details link show",
            _SPEAKERS,
        ),
    ),
    "EGRESS_FILTERED": Remedy(
        "Allow {ip} on {node}'s port: hypervisor spoof guard, switch port security, node firewall.",
        _CAPTURE,
    ),
    "INGRESS_LOST": Remedy("Trace the requests to {node}: cable, VLAN, switch, hypervisor.", _CAPTURE),
    "NO_FAILOVER_MEMBERLIST_OFF": Remedy(
        "Enable memberlist (METALLB_ML_BIND_ADDR and its secret, as in MetalLB's manifests), or bring {node} back.",
        ("kubectl -n {ns} get daemonset speaker -o yaml",),
    ),
    "ARP_FLUX_IPVS": Remedy(
        "Set ipvs.strictARP to true in kube-proxy's ConfigMap, and restart kube-proxy.",
        ("kubectl -n kube-system edit configmap kube-proxy",),
    ),
    "FLAPPING": Remedy(
        "Find what comes and goes: the pods (readiness probes), the speakers (restarts), or memberlist between them.",
        (
            "provisioner l2 watch {ip}",
            "kubectl -n {ns} logs -l component=speaker --prefix --tail=100",
        ),
    ),
    "SPLIT_BRAIN": Remedy(
        "Open port 7946, TCP and UDP, between all nodes.",
        (
            "provisioner exec --limit {node} -- nc -zvw3 {peer} 7946",
            "kubectl -n {ns} logs -l component=speaker --prefix",
        ),
    ),
    "SHARED_IP_SPLIT": Remedy(
        "Cover all Services that share the address by one L2Advertisement, with externalTrafficPolicy Cluster.",
        _ADVERTISEMENT,
    ),
    "MULTI_NIC_SAME_SEGMENT": Remedy(
        "Set interfaces of {the_advertisement} to one of them, or disconnect the other from this segment.",
        (
            "kubectl -n {ns} patch l2advertisement {advertisement} --type merge "
            """-p '{{"spec":{{"interfaces":["{nic}"]}}}}'""",
            *_ADVERTISEMENT,
        ),
    ),
    "KERNEL_ALSO_OWNS": Remedy(
        "Remove {ip} from {nic} of {node}; MetalLB does not need it there.",
        (
            "provisioner exec --limit {node} -- ip address del {configured} dev {nic}",
            "provisioner exec --limit {node} -- ip address show to {ip}",
        ),
    ),
    "ADDRESS_CONFLICT": Remedy(
        "Find {mac} and remove the address from it, or shrink the pool; keep pools out of the DHCP range.",
        _ANY_POOL,
    ),
    "POOL_ADDRESS_IN_USE": Remedy(
        "Shrink the pool, or remove the address from {mac}, before a Service is assigned it.", _ANY_POOL
    ),
    "POOL_OVERLAPS_NODE": Remedy("Remove the address from {the_pool}.", _ANY_POOL),
    "POOL_OFF_SUBNET": Remedy(
        "Use a pool in the segment's subnet, or route this one to the nodes on the router.", _ANY_POOL
    ),
    "PROXY_ARP": Remedy(
        "Disable proxy ARP on {mac}.",
        (
            "provisioner exec --limit {node} -- sysctl -w net.ipv4.conf.{nic}.proxy_arp=0",
            "provisioner exec --limit {node} -- sysctl -a --pattern proxy_arp",
            "ip neigh show dev {interface}",
        ),
    ),
    "CLONED_MAC": Remedy(
        "Give all but one of the machines a new MAC in the hypervisor, and start them again.",
        ("provisioner exec -- ip -brief link", "ip neigh show dev {interface}"),
    ),
    "AMBIGUOUS_MAC": Remedy(
        "Connect the nodes by cable or a host-only network, so that each has its own MAC.",
        ("ip neigh show dev {interface}",),
    ),
    "UNICAST_LOST": Remedy(
        "Clear {mac} from the MAC table of the switches on the way, or have {node} send a frame (a ping from it), "
        "from which they learn its port; then look for a second port or host that has this MAC.",
        (
            "provisioner exec --limit {node} -- timeout 10 tcpdump -eni {nic} 'ether dst {mac}'",
            "ip neigh show dev {interface}",
        ),
    ),
    "SPOOF_GUARD": Remedy(
        "Allow {ip} as a source address on {node}'s port: {guard}.",
        (
            "provisioner exec --limit {node} -- timeout 10 tcpdump -eni {nic} 'host {ip}'",
            "kubectl get nodes -o wide",
        ),
    ),
    "MTU_BLACK_HOLE": Remedy(
        "Give every interface on the way the same MTU, or let ICMP errors (type 3 code 4; ICMPv6 type 2) through; "
        "clamping the MSS helps meanwhile.",
        (
            "ping -c 3 -M do -s 1472 {ip}",
            "provisioner exec -- ip -brief link",
        ),
    ),
    "BACKEND_PARTLY_DEAD": Remedy(
        "Compare the endpoints of {the_service}: which of them answers, and on which node the others are.",
        (_ENDPOINTS, "kubectl get endpointslices -A"),
    ),
    "LOSSY": Remedy(
        "Find where frames are lost on the way to {node}: Wi-Fi, cable, duplex, an overloaded port; compare with a "
        "ping to the node.",
        (
            "provisioner exec --limit {node} -- ip -statistics link show dev {nic}",
            "ip -statistics link show dev {interface}",
        ),
    ),
    "ROUTER_STALE": Remedy(
        "Clear the entry for {ip} in the router's neighbor table, and see whether it comes back right.",
        ("provisioner l2 watch {ip}",),
    ),
    "RETURN_PATH": Remedy(
        "Check {node}'s return path: an address on {nic}, rp_filter, routes.",
        ("provisioner exec --limit {node} -- ip route get {source}", "kubectl get nodes -o wide"),
    ),
    "NOT_SERVING": Remedy(
        "Check the Service's targetPort and loadBalancerSourceRanges, and the node's firewall.",
        (_ENDPOINTS, "kubectl get endpointslices -A"),
    ),
    "STALE_CACHE": Remedy("Flush the entry on each client that has it; otherwise it expires in minutes.", _FLUSH),
    "GARP_MISSING": Remedy(
        "Flush the clients' entries, and find out where the gratuitous ARP is lost; if none is sent, report it to "
        "MetalLB.",
        _FLUSH,
    ),
    "KUBE_VIP_DUPLICATE": Remedy(
        "Let one program announce Services: disable kube-vip's svc_enable, or give each its loadBalancerClass.",
        ("kubectl get pods -A -o wide | grep kube-vip",),
    ),
    "SERVICELB_CONFLICT": Remedy(
        "Start K3s with --disable servicelb, or give each program its loadBalancerClass.",
        ("kubectl get pods -A -o wide | grep svclb-",),
    ),
    "CILIUM_L2_CONFLICT": Remedy(
        "Let one program announce Services: restrict Cilium's L2 policies, or give each its loadBalancerClass.",
        ("kubectl get ciliuml2announcementpolicies -o yaml",),
    ),
    "NO_ANNOUNCER": Remedy(
        "Install a program that announces Services, or give {the_service} a loadBalancerClass that one serves.",
        ("kubectl -n {namespace} get service {name} -o yaml",),
    ),
    "LEASE_EXPIRED": Remedy(
        "Find out why {program} no longer renews the Lease: its pods, their log, the API's load.",
        ("kubectl -n {lease_namespace} describe lease {lease}", "kubectl get leases -A"),
    ),
    "LEASE_HOLDER_SILENT": Remedy(
        "Check {program}'s log on {node}, the interface that it uses, and spoof guards on the way.",
        ("kubectl get pods -A -o wide --field-selector spec.nodeName={node}", "kubectl get leases -A"),
    ),
    "ANNOUNCED_TWICE": Remedy(
        "Remove {ip} from {node}, where {program} has left it, and find out why it did.",
        ("provisioner exec --limit {node} -- ip address show to {ip}", "kubectl get leases -A"),
    ),
    "VRRP_ID_IN_USE": Remedy(
        "Give one of the groups a number that is free on the segment (keepalived: virtual_router_id).",
        ("sudo tcpdump -c 20 -vni {interface} ip proto 112",),
    ),
    "VRRP_TWO_MASTERS": Remedy(
        "Allow protocol 112 to 224.0.0.18 between them (or unicast_peer), and compare version and authentication.",
        ("sudo tcpdump -c 20 -vni {interface} ip proto 112",),
    ),
    "VRRP_PRIORITY_WAR": Remedy(
        "Fix the check that changes the priority, or set nopreempt, with state BACKUP on both.",
        ("sudo tcpdump -c 60 -vni {interface} ip proto 112",),
    ),
    "MULTICAST_SNOOPING": Remedy(
        "Enable an MLD querier on the segment, or disable MLD snooping on its switches, access points and bridges.",
        (
            "provisioner exec --limit {node} -- ip -6 maddress show dev {nic}",
            "provisioner exec -- ip -6 maddress show",
        ),
    ),
    "NDP_FILTERED": Remedy(
        "Let ICMPv6 types 135 and 136 and the groups ff02::1:ff00:0/104 through: IPv6 on the nodes, switches, access "
        "points.",
        ("provisioner exec -- ip -6 -brief address", "ip -6 neigh show dev {interface}"),
    ),
    "NDP_RESPONDER_FAILED": Remedy(
        "Give {nic} of {node} a unique link-local address, and restart its speaker.",
        (
            "provisioner exec --limit {node} -- ip -6 address show dev {nic}",
            "provisioner exec --limit {node} -- ip -6 address show",
            _SPEAKERS,
        ),
    ),
    "BUGGY_IP": Remedy(
        "Set avoidBuggyIPs: true on {the_pool}, and assign the Service another address.",
        (
            _POOL[0],
            """kubectl -n {ns} patch ipaddresspool {pool} --type merge -p '{{"spec":{{"avoidBuggyIPs":true}}}}'""",
            "kubectl -n {ns} get ipaddresspools",
        ),
    ),
    "SEGMENT_ISOLATED": Remedy(
        "Connect this machine to the nodes' VLAN by cable, or turn client isolation off; then check again.",
        ("ip neigh show dev {interface}",),
    ),
    "INCONCLUSIVE_PROBE_LOCATION": Remedy(
        "Run it on a machine on the same segment that is neither a node nor a pod.",
        ("provisioner l2 check {ip}", "provisioner l2 check"),
    ),
    "UNKNOWN": Remedy("Check again with more facts.", ("provisioner l2 collect -o facts.json",)),
}


# For an address that MetalLB does not announce, where the remedy above speaks of MetalLB or its pools.
_ELSEWHERE = {
    "ADDRESS_CONFLICT": "Find {mac} and remove the address from it, or give {the_service} another one.",
    "KERNEL_ALSO_OWNS": "Remove {ip} from {nic} of {node}.",
    "MULTI_NIC_SAME_SEGMENT": "Let the announcer use one of the interfaces, or disconnect the other one.",
    "POOL_OVERLAPS_NODE": "Give {the_service} an address that no node or router has.",
    "BUGGY_IP": "Give {the_service} an address that does not end in .0 or .255.",
    "GARP_MISSING": "Flush the clients' entries, and find out where the gratuitous ARP is lost.",
}
_OF_METALLB = ("{ns}", "component=speaker", "ipaddresspool", "l2advertisement", "{configmap}")


_SERVICE = ("kubectl -n {namespace} describe service {name}", "kubectl get services -A")


def without_metallb(code: str) -> Remedy:
    """Return a verdict's remedy for an address that another program announces."""
    found = REMEDIES[code]
    commands = tuple(one for one in found.commands if not any(word in one for word in _OF_METALLB))
    fallback = () if code == "OK" else _SERVICE
    return Remedy(_ELSEWHERE.get(code, found.sentence), commands or fallback)


def _by_label(command: str, label: str) -> str:
    """Return a command that finds MetalLB's pods where charts have labeled and named them differently."""
    if label in ("", "component"):
        return command
    return command.replace("deployment/controller", "-l component=controller").replace("-l component=", f"-l {label}=")


# What a command begins with that changes a node, the cluster or this machine; all others only look.
_CHANGING = re.compile(
    r"\b(kubectl .*\b(edit|patch|create|delete|label|annotate|apply|rollout)\b|sysctl -w|ip (-\d )?neigh flush"
    r"|ip (-\d )?(address|link) (add|del|set|replace)|printf )"
)


def changes_something(command: str) -> bool:
    """Tell whether a command changes something, rather than measure it."""
    return _CHANGING.search(command) is not None


def culprit(fields: Mapping[str, str]) -> str:
    """Return what a cause is about, by its placeholders: "node w1", "pool lab"; "" without one."""
    named = ("node", "advertisement", "new_advertisement", "pool", "router", "mac")
    words = {"advertisement": "L2Advertisement", "new_advertisement": "pool", "mac": "MAC"}
    return next((f"{words.get(name, name)} {fields[name]}" for name in named if fields.get(name)), "")


def fill(sentence: str, commands: tuple[str, ...], fields: Mapping[str, str]) -> tuple[str, str]:
    """Return the sentence and the first command whose placeholders are all among the fields, "" without one.

    A value that a shell would interpret counts as unknown.
    """
    objects = {
        f"the_{name}": f"{word} {fields[name]}" if name in fields else f"the {word}" for name, word in _OBJECTS.items()
    }
    text = sentence.format_map({**_UNNAMED, **objects, **fields})
    safe = {
        name: value
        for name, value in fields.items()
        if _SAFE.fullmatch(value) and (name in _SEVERAL or " " not in value)
    }
    for command in commands:
        try:
            return text[:1].upper() + text[1:], _by_label(command.format_map(safe), fields.get("component_label", ""))
        except KeyError:
            continue  # the next command needs fewer placeholders
    return text, ""
