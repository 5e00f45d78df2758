"""Whose packet filter it is, by what ufw, firewalld, iptables and nftables print, and the command that opens it."""

from __future__ import annotations

import pytest

from provisioner.reach import filters

SOURCES = ["192.0.2.11", "192.0.2.12"]
PODS = "10.244.0.0/16"
DROPPING = ":INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n"
DOCKER = (
    "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\n"
    "-A FORWARD -i docker0 ! -o docker0 -j ACCEPT\nCOMMIT\n"
)
NFT = """table inet mine {
\tset allowed {
\t\ttype ipv4_addr
\t}

\tchain filter-in {
\t\ttype filter hook input priority filter; policy accept;
\t\tct state established,related accept
\t\ttcp dport { 10250, 10256 } counter packets 3 bytes 180 drop
\t}

\tchain filter-through {
\t\ttype filter hook forward priority filter; policy accept;
\t\tct state established,related accept
\t\tcounter packets 0 bytes 0 reject with icmpx admin-prohibited
\t}
}
table ip filter {
\tchain FORWARD {
\t\ttype filter hook forward priority filter; policy drop;
\t}
}
"""


@pytest.mark.parametrize(
    ("found", "owner", "command"),
    [
        ({}, "", ""),
        ({"ufw": "Status: inactive\n", "iptables": ":INPUT ACCEPT [0:0]\n"}, "", ""),
        (
            {"ufw": "Status: active\n", "iptables": DROPPING},
            "ufw is active there",
            "sudo ufw allow from 192.0.2.11; sudo ufw allow from 192.0.2.12",
        ),
        (
            {"firewalld": "running\n"},
            "firewalld is running there",
            "sudo firewall-cmd --permanent --zone=trusted --add-source=192.0.2.11 --add-source=192.0.2.12 && "
            "sudo firewall-cmd --reload",
        ),
        (
            {"firewalld": "not running\n", "iptables": DROPPING},
            "the policy of its iptables chain INPUT is DROP",
            "sudo iptables -I INPUT -s 192.0.2.11 -j ACCEPT; sudo iptables -I INPUT -s 192.0.2.12 -j ACCEPT; "
            "and make that last (netfilter-persistent save, if it is installed)",
        ),
        (
            {"iptables": f"{DROPPING}-A INPUT -p tcp -m tcp --dport 10250 -j REJECT --reject-with tcp-reset\n"},
            "its iptables chain INPUT has the rule "
            "'-A INPUT -p tcp -m tcp --dport 10250 -j REJECT --reject-with tcp-reset'",
            "sudo iptables -I INPUT -s 192.0.2.11 -j ACCEPT; sudo iptables -I INPUT -s 192.0.2.12 -j ACCEPT; "
            "and make that last (netfilter-persistent save, if it is installed)",
        ),
        ({"iptables": ":INPUT ACCEPT [0:0]\n-A INPUT -p tcp --dport 25 -j DROP\n"}, "", ""),
        (
            {"nft": NFT},
            "its nftables chain filter-in of table inet mine has the rule "
            "'tcp dport { 10250, 10256 } counter packets 3 bytes 180 drop'",
            "sudo nft insert rule inet mine filter-in ip saddr '{ 192.0.2.11, 192.0.2.12 }' accept; "
            "and add that to /etc/nftables.conf",
        ),
    ],
)
def test_incoming_packets(found: dict[str, str], owner: str, command: str) -> None:
    assert filters.judge_input(found, SOURCES, {10250}) == (owner, command)


@pytest.mark.parametrize(
    ("found", "network", "owner", "command"),
    [
        ({}, "flannel", "", ""),
        ({"iptables": DOCKER}, "flannel", "", ""),  # flannel adds rules of its own to it
        (
            {"iptables": DOCKER},
            "bridge",
            "the policy of its iptables chain FORWARD is DROP (Docker's)",
            f"sudo iptables -I DOCKER-USER -s {PODS} -j ACCEPT; sudo iptables -I DOCKER-USER -d {PODS} -j ACCEPT; "
            "and make that last (netfilter-persistent save, if it is installed)",
        ),
        ({"iptables": f"{DOCKER}-A DOCKER-USER -s {PODS} -j ACCEPT\n"}, "bridge", "", ""),
        (
            {"nft": NFT},
            "flannel",
            "its nftables chain filter-through of table inet mine has the rule 'reject with icmpx admin-prohibited'",
            f"sudo nft insert rule inet mine filter-through ip saddr {PODS} accept; "
            f"sudo nft insert rule inet mine filter-through ip daddr {PODS} accept; "
            "and add both to /etc/nftables.conf",
        ),
        ({"nft": NFT.replace("ct state", f"ip saddr {PODS} accept\n\t\tct state")}, "flannel", "", ""),
        (
            {"firewalld": "running\n", "trusted": ""},
            "flannel",
            "firewalld is running there",
            f"sudo firewall-cmd --permanent --zone=trusted --add-source={PODS} && sudo firewall-cmd --reload",
        ),
        ({"firewalld": "running\n", "trusted": f"192.0.2.0/24 {PODS}\n"}, "flannel", "", ""),
    ],
)
def test_packets_of_pods(found: dict[str, str], network: str, owner: str, command: str) -> None:
    assert filters.judge_forward(found, PODS, network) == (owner, command)


def test_sections_of_the_scripts_output() -> None:
    text = "{}\n@filter ufw\nStatus: active\n\n@filter nft\ntable ip a {\n}\n"
    assert filters.sections(text) == {"ufw": "Status: active\n", "nft": "table ip a {\n}\n"}
