"""Each verdict, warning and kind of owner as a person says it; a verdict's code is for searching and for scripts."""

from __future__ import annotations

# One plain sentence a verdict: what it means, without why it happens (the evidence says that).
VERDICTS = {
    "OK": "One node answers, and the service is reached.",
    "NO_ADDRESS": "The service has no external IP, so there is nothing to announce.",
    "POOL_EXHAUSTED": "The service waits for an address, and its pool has none left.",
    "CONFIG_INVALID": "MetalLB refuses its configuration and goes on with what it had before.",
    "CONFIG_STALE": "MetalLB has not taken up its newest configuration.",
    "NO_L2ADVERTISEMENT": "Nothing tells MetalLB to announce this address.",
    "EXCLUDE_LABEL": "Every node that could announce is labelled to stay out of load balancing.",
    "NODE_SELECTOR_EMPTY": "The advertisement chooses no node that could announce.",
    "NO_ENDPOINTS": "No pod behind the service is ready, so nobody announces its address.",
    "LOCAL_NO_CANDIDATE": "No node that may announce runs a ready pod of the service.",
    "SPEAKER_DOWN": "MetalLB does not run on the node that should answer.",
    "INTERFACE_MISSING": "The node that should answer has no network card of the name that is configured.",
    "LEADER_OFF_SEGMENT": "The node that should answer is not connected to this network segment.",
    "BROADCAST_BLIND": "The node answers when asked directly, but does not hear what is asked of everybody.",
    "EGRESS_FILTERED": "The node sends answers, and something on the way drops them.",
    "INGRESS_LOST": "The questions do not arrive at the node that should answer.",
    "NO_FAILOVER_MEMBERLIST_OFF": "The node that should answer is down, and MetalLB cannot notice it.",
    "ARP_FLUX_IPVS": "Several nodes' kernels answer, because kube-proxy gave the address to every node.",
    "SPLIT_BRAIN": "Two or more MetalLB speakers answer; each believes that it is the leader.",
    "SHARED_IP_SPLIT": "Services that share the address are announced by different nodes.",
    "MULTI_NIC_SAME_SEGMENT": "One node answers with two of its network cards.",
    "KERNEL_ALSO_OWNS": "The node's kernel holds the address too, beside MetalLB.",
    "ADDRESS_CONFLICT": "A machine that is no node of the cluster answers.",
    "POOL_ADDRESS_IN_USE": "The address is in a pool, no service has it, and somebody uses it already.",
    "POOL_OVERLAPS_NODE": "The pool contains an address of a node or of the router.",
    "POOL_OFF_SUBNET": "The pool is in no subnet of this segment, so clients never ask for its addresses here.",
    "PROXY_ARP": "A machine answers on behalf of others, for an address that is not its own (proxy ARP).",
    "AMBIGUOUS_MAC": "The hardware address that answers stands for several nodes; which one cannot be told.",
    "RETURN_PATH": "The right node answers, but connections to it get lost.",
    "NOT_SERVING": "The right node answers, but no connection to the service is accepted.",
    "STALE_CACHE": "A new node answers, and a client still remembers the old one.",
    "GARP_MISSING": "A new node took the address over without telling the clients.",
    "KUBE_VIP_DUPLICATE": "kube-vip announces the address too, beside MetalLB.",
    "SERVICELB_CONFLICT": "K3s's ServiceLB serves the address too, beside MetalLB.",
    "CILIUM_L2_CONFLICT": "Cilium announces the address too, beside MetalLB.",
    "NDP_RESPONDER_FAILED": "IPv4 works; for IPv6 the node does not answer.",
    "BUGGY_IP": "Only the addresses that end in .0 or .255 fail, which some devices do not accept.",
    "INCONCLUSIVE_PROBE_LOCATION": "From here it cannot be told: this machine is in the wrong place.",
    "UNKNOWN": "What was seen does not say why.",
}

WARNINGS = {
    "NDP_UNICAST_UNANSWERED": "direct IPv6 questions are not answered, which is normal with MetalLB",
    "UNEXPECTED_LEADER": "another node than predicted answers; it serves all the same",
    "PREDICTION_UNKNOWN": "too little is known to predict which node should answer",
    "KERNEL_ALSO_OWNS": "the node's kernel holds the address too, beside MetalLB; remove it there",
    "ICMP_SILENT": "it does not answer ping, which is normal with MetalLB",
}

CLASSES = {
    "speaker": "answers as MetalLB does",
    "kernel": "answers as an operating system does",
    "foreign": "no node of the cluster",
    "unknown": "",
}

MATCHED = {
    "inventory": "known from the node's list of network cards",
    "arp": "known because the same one answers for the node's own address",
    "eui64": "known from the node's IPv6 address, which is made of it",
    "vendor": "guessed from the maker of the network card",
}

CONFIDENCE = {"certain": "", "likely": "likely", "possible": "possible"}

ANSWERED = {"Z": "a question from nobody (Z)", "B": "a client's question (B)", "U": "a question to it alone (U)"}
