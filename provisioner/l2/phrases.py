"""Each verdict, warning and kind of owner in one plain sentence or phrase for people; codes are for scripts."""

from __future__ import annotations

# What a verdict means; the evidence says how it was reached.
VERDICTS = {
    "OK": "Exactly one node answers, and the Service is reachable.",
    "NO_ADDRESS": "The Service has no external IP, so there is nothing to announce.",
    "ADDRESS_UNUSABLE": "The Service has an address that no host can have.",
    "POOL_EXHAUSTED": "The Service is pending, and its pool has no free address.",
    "CONFIG_INVALID": "MetalLB rejects its configuration and keeps running the previous one.",
    "CONFIG_STALE": "MetalLB has not loaded its latest configuration.",
    "NO_L2ADVERTISEMENT": "No L2Advertisement covers this address.",
    "EXCLUDE_LABEL": "Every candidate node is labeled exclude-from-external-load-balancers.",
    "NODE_SELECTOR_EMPTY": "The L2Advertisement's nodeSelectors match no candidate node.",
    "NO_ENDPOINTS": "The Service has no ready endpoints, so no node announces its address.",
    "LOCAL_NO_CANDIDATE": "externalTrafficPolicy is Local, and no candidate node has a ready endpoint.",
    "SPEAKER_DOWN": "MetalLB's speaker is not running on the node that should answer.",
    "INTERFACE_MISSING": "The node that should answer has none of the configured interfaces.",
    "LEADER_OFF_SEGMENT": "The node that should answer is not connected to this segment.",
    "BROADCAST_BLIND": "The node answers unicast requests but does not receive broadcasts.",
    "EGRESS_FILTERED": "The node sends replies, and they are dropped on the way.",
    "INGRESS_LOST": "Requests do not reach the node that should answer.",
    "NO_FAILOVER_MEMBERLIST_OFF": "The node that should answer is down, and without memberlist MetalLB cannot notice.",
    "ARP_FLUX_IPVS": "Several kernels answer: kube-proxy in IPVS mode assigns the address on every node.",
    "SPLIT_BRAIN": "Two or more MetalLB speakers answer; each considers itself the leader.",
    "SHARED_IP_SPLIT": "Services that share the address are announced by different nodes.",
    "MULTI_NIC_SAME_SEGMENT": "One node answers on two of its interfaces.",
    "KERNEL_ALSO_OWNS": "The node's kernel has the address too, in addition to MetalLB.",
    "ADDRESS_CONFLICT": "A host that is not a cluster node answers.",
    "POOL_ADDRESS_IN_USE": "The address is in a pool and assigned to no Service, but already in use.",
    "POOL_OVERLAPS_NODE": "The pool contains the address of a node or of the router.",
    "POOL_OFF_SUBNET": "The pool is in no subnet of this segment, so clients send no ARP requests for it here.",
    "PROXY_ARP": "A host answers for an address that is not its own (proxy ARP).",
    "AMBIGUOUS_MAC": "The MAC that answers belongs to several nodes; which one answers is unknown.",
    "RETURN_PATH": "The right node answers, but connections to it are lost.",
    "NOT_SERVING": "The right node answers, but the Service accepts no connections.",
    "STALE_CACHE": "A new node answers, and a client still has the old MAC cached.",
    "GARP_MISSING": "A new node took over the address without sending gratuitous ARP.",
    "KUBE_VIP_DUPLICATE": "kube-vip announces the address in addition to MetalLB.",
    "SERVICELB_CONFLICT": "K3s ServiceLB serves the address in addition to MetalLB.",
    "CILIUM_L2_CONFLICT": "Cilium announces the address in addition to MetalLB.",
    "NO_ANNOUNCER": "No program in the cluster announces the address.",
    "LEASE_EXPIRED": "The Lease that chooses the announcing node has no live holder.",
    "LEASE_HOLDER_SILENT": "The node that holds the Lease for the address does not answer for it.",
    "ANNOUNCED_TWICE": "Several nodes answer for an address that only one of them should announce.",
    "VRRP_ID_IN_USE": "Two groups of routers use the same number on this segment.",
    "VRRP_TWO_MASTERS": "Two hosts are master of the address at the same time.",
    "VRRP_PRIORITY_WAR": "The master of the address changes again and again.",
    "NDP_RESPONDER_FAILED": "IPv4 works; the node does not answer for the IPv6 address.",
    "BUGGY_IP": "Only addresses that end in .0 or .255 fail; some devices do not accept them.",
    "INCONCLUSIVE_PROBE_LOCATION": "Nothing can be concluded from this machine's place in the network.",
    "UNKNOWN": "The evidence does not show the cause.",
}

WARNINGS = {
    "NDP_UNICAST_UNANSWERED": "no reply to unicast neighbor solicitations, which is normal with MetalLB",
    "UNEXPECTED_LEADER": "a node other than the predicted leader answers; the Service works all the same",
    "PREDICTION_UNKNOWN": "the facts do not suffice to predict which node should answer",
    "KERNEL_ALSO_OWNS": "the node's kernel has the address too, in addition to MetalLB; remove it there",
    "ICMP_SILENT": "no reply to ping, which is normal with MetalLB",
}

CLASSES = {"speaker": "replies like MetalLB's speaker", "kernel": "replies like a kernel"}

MATCHED = {
    "inventory": "MAC found on the node",
    "arp": "the same MAC answers for the node's own address",
    "eui64": "MAC taken from the node's IPv6 address (EUI-64)",
}
