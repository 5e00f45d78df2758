"""The probe: ARP, NDP and TCP frames out, answers in. The only package that imports Scapy."""

__all__ = [
    "arp",
    "capture",
    "dhcp",
    "interfaces",
    "ndp",
    "packet_filter",
    "prober",
    "questions",
    "raw_socket",
    "router_adverts",
    "router_listener",
    "scapy_light",
    "sequence",
]
