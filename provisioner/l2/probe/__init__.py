"""The probe: ARP, NDP and TCP frames out, answers in. The only package that imports Scapy."""

__all__ = [
    "arp",
    "capture",
    "interfaces",
    "prober",
    "questions",
    "router_adverts",
    "router_listener",
    "scapy_light",
    "sequence",
]
