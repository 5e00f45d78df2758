"""What to do about each verdict: a sentence, and the next command to type with the real names filled in.

Of a remedy's commands the first counts whose names are all known; the last one needs none but the address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Remedy:
    """A verdict's remedy: a sentence and commands, both with {names} that the case and its finding fill in."""

    sentence: str
    commands: tuple[str, ...]


# What a sentence says where a name is not known. A command is never filled in from here.
_UNNAMED = {"node": "the node", "nic": "its interface", "mac": "that machine"}
# What may be filled into a command: Kubernetes' names, interfaces, addresses, and several of them. A facts file may
# have been written by anybody, and a command is there to be pasted into a shell.
_TYPED = re.compile(r"\w[\w.:/%@-]*( \w[\w.:/%@-]*)*", re.ASCII)
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
        "Look at what MetalLB's controller says about {the_service}.",
        ("kubectl -n {namespace} describe service {name}", *_CONTROLLER),
    ),
    "POOL_EXHAUSTED": Remedy("Enlarge {the_pool}, or delete a Service that holds an address of it.", _ANY_POOL),
    "CONFIG_INVALID": Remedy(
        "Correct the configuration that MetalLB refuses; its controller's log names it.", _CONTROLLER
    ),
    "CONFIG_STALE": Remedy("See in the controller's log why it has not taken the newest configuration.", _CONTROLLER),
    "NO_L2ADVERTISEMENT": Remedy(
        "Make an L2Advertisement that covers the pool and the Service.",
        (_NEW_ADVERTISEMENT, *_ADVERTISEMENT),
    ),
    "EXCLUDE_LABEL": Remedy(
        "Take the label off the nodes, or start the speakers with --ignore-exclude-lb.",
        (
            "kubectl label node {nodes} node.kubernetes.io/exclude-from-external-load-balancers-",
            "kubectl get nodes -l node.kubernetes.io/exclude-from-external-load-balancers",
        ),
    ),
    "NODE_SELECTOR_EMPTY": Remedy("Let the node selectors of {the_advertisement} admit a node.", _ADVERTISEMENT),
    "NO_ENDPOINTS": Remedy(
        "Get a pod of {the_service} ready, or correct its selector.", (_ENDPOINTS, "kubectl get endpointslices -A")
    ),
    "LOCAL_NO_CANDIDATE": Remedy(
        "Set externalTrafficPolicy to Cluster, or let the pods of {the_service} run on nodes that may announce.",
        (
            """kubectl -n {namespace} patch service {name} -p '{{"spec":{{"externalTrafficPolicy":"Cluster"}}}}'""",
            "kubectl get services -A",
        ),
    ),
    "SPEAKER_DOWN": Remedy(
        "Get the speaker on {node} running: its DaemonSet, pod security admission, taints.",
        ("kubectl -n {ns} get pods -l component=speaker -o wide --field-selector spec.nodeName={node}", _SPEAKERS),
    ),
    "INTERFACE_MISSING": Remedy(
        "Let {the_advertisement} name an interface that the announcing nodes have on this segment.",
        _ADVERTISEMENT,
    ),
    "LEADER_OFF_SEGMENT": Remedy(
        "Restrict {the_advertisement} by nodeSelectors to nodes that are on this segment; {node} is not.",
        _ADVERTISEMENT,
    ),
    "BROADCAST_BLIND": Remedy(
        "Connect {node} by wire instead of Wi-Fi, or correct the setting of {nic} that drops broadcasts; where "
        "promiscuous mode cures it, that is the cause.",
        (
            "provisioner exec --limit {node} -- ip link set {nic} promisc on",
            "provisioner exec --limit {node} -- ip -details link show",
            _SPEAKERS,
        ),
    ),
    "EGRESS_FILTERED": Remedy(
        "Allow {ip} on {node}'s port: the hypervisor's spoof guard, the switch's port security, the node's firewall.",
        _CAPTURE,
    ),
    "INGRESS_LOST": Remedy("Follow the questions to {node}: cable, VLAN, switch, hypervisor.", _CAPTURE),
    "NO_FAILOVER_MEMBERLIST_OFF": Remedy(
        "Turn memberlist on (METALLB_ML_BIND_ADDR and its secret, as in MetalLB's manifests), or bring {node} back.",
        ("kubectl -n {ns} get daemonset speaker -o yaml",),
    ),
    "ARP_FLUX_IPVS": Remedy(
        "Set ipvs.strictARP to true in kube-proxy's configuration and restart kube-proxy.",
        ("kubectl -n kube-system edit configmap kube-proxy",),
    ),
    "SPLIT_BRAIN": Remedy(
        "Open port 7946, TCP and UDP, between all nodes.",
        (
            "provisioner exec --limit {node} -- nc -zvw3 {peer} 7946",
            "kubectl -n {ns} logs -l component=speaker --prefix",
        ),
    ),
    "SHARED_IP_SPLIT": Remedy(
        "Let one L2Advertisement announce all Services that share the address, with externalTrafficPolicy Cluster.",
        _ADVERTISEMENT,
    ),
    "MULTI_NIC_SAME_SEGMENT": Remedy(
        "Name the one interface to announce on in {the_advertisement}, or take the other off this segment.",
        (
            "kubectl -n {ns} patch l2advertisement {advertisement} --type merge "
            """-p '{{"spec":{{"interfaces":["{nic}"]}}}}'""",
            *_ADVERTISEMENT,
        ),
    ),
    "KERNEL_ALSO_OWNS": Remedy(
        "Remove {ip} from {nic} of {node}; MetalLB announces it without.",
        (
            "provisioner exec --limit {node} -- ip address del {configured} dev {nic}",
            "provisioner exec --limit {node} -- ip address show to {ip}",
        ),
    ),
    "ADDRESS_CONFLICT": Remedy(
        "Find {mac} and take the address from it, or shrink the pool; keep pools out of the DHCP range.",
        _ANY_POOL,
    ),
    "POOL_ADDRESS_IN_USE": Remedy(
        "Shrink the pool, or take the address from {mac}, before a Service gets it.", _ANY_POOL
    ),
    "POOL_OVERLAPS_NODE": Remedy(
        "Take the address out of {the_pool}; a node's and the router's are not free.", _ANY_POOL
    ),
    "POOL_OFF_SUBNET": Remedy(
        "Use a pool within the segment's subnet, or route this one to the nodes on the router.", _ANY_POOL
    ),
    "PROXY_ARP": Remedy(
        "Switch proxy ARP off on {mac}.",
        (
            "provisioner exec --limit {node} -- sysctl -w net.ipv4.conf.{nic}.proxy_arp=0",
            "provisioner exec --limit {node} -- sysctl -a --pattern proxy_arp",
            "ip neigh show dev {interface}",
        ),
    ),
    "AMBIGUOUS_MAC": Remedy(
        "Connect the nodes by wire, or host-only, so that each shows a MAC of its own.",
        ("ip neigh show dev {interface}",),
    ),
    "RETURN_PATH": Remedy(
        "Let {node} reply the way it was asked: an address on {nic}, rp_filter, routes.",
        ("provisioner exec --limit {node} -- ip route get {source}", "kubectl get nodes -o wide"),
    ),
    "NOT_SERVING": Remedy(
        "Look at the Service: its pods' port, loadBalancerSourceRanges, a firewall on the node.",
        (_ENDPOINTS, "kubectl get endpointslices -A"),
    ),
    "STALE_CACHE": Remedy(
        "Flush the entry on each client that still has it; it also goes by itself in minutes.", _FLUSH
    ),
    "GARP_MISSING": Remedy(
        "Flush the clients' entries, and look why the speaker's gratuitous frames do not pass; report it where they "
        "are not sent.",
        _FLUSH,
    ),
    "KUBE_VIP_DUPLICATE": Remedy(
        "Let one program announce Services: switch kube-vip's svc_enable off, or give each its loadBalancerClass.",
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
    "NDP_RESPONDER_FAILED": Remedy(
        "Give {nic} of {node} a link-local address that is not in use elsewhere, then restart its speaker.",
        (
            "provisioner exec --limit {node} -- ip -6 address show dev {nic}",
            "provisioner exec --limit {node} -- ip -6 address show",
            _SPEAKERS,
        ),
    ),
    "BUGGY_IP": Remedy(
        "Set avoidBuggyIPs on {the_pool}, and give the Service another address.",
        (
            _POOL[0],
            """kubectl -n {ns} patch ipaddresspool {pool} --type merge -p '{{"spec":{{"avoidBuggyIPs":true}}}}'""",
            "kubectl -n {ns} get ipaddresspools",
        ),
    ),
    "INCONCLUSIVE_PROBE_LOCATION": Remedy(
        "Ask from a machine on the same segment that is no node and no pod.",
        ("provisioner l2 check {ip}", "provisioner l2 check"),
    ),
    "UNKNOWN": Remedy("Measure once more, with more known of the cluster.", ("provisioner l2 collect -o facts.json",)),
}


def filled(sentence: str, commands: tuple[str, ...], fields: Mapping[str, str]) -> tuple[str, str]:
    """Return a sentence and the first of the commands whose names are all among the fields; "" without any.

    A name that a shell would read as more than a name counts as unknown.
    """
    objects = {
        f"the_{name}": f"{word} {fields[name]}" if name in fields else f"the {word}" for name, word in _OBJECTS.items()
    }
    said = sentence.format_map({**_UNNAMED, **objects, **fields})
    typed = {name: value for name, value in fields.items() if _TYPED.fullmatch(value)}
    for command in commands:
        try:
            return said[:1].upper() + said[1:], command.format_map(typed)
        except KeyError:
            continue  # a name that is not known; the next command needs fewer
    return said, ""
