"""The probe: ARP, NDP and TCP frames out, answers in. The only package that imports Scapy."""

__all__ = [
    "arp",
    "capture",
    "connecting",
    "conversation",
    "dhcp",
    "interfaces",
    "ndp",
    "packet_filter",
    "packets",
    "probe_target",
    "prober",
    "questions",
    "raw_socket",
    "router_adverts",
    "router_listener",
    "scapy_light",
    "sequence",
    "tcp_questions",
    "udp_questions",
]
