"""Whose packet filter it is that stops packets to a host or to its pods, and the command that accepts them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

# What judge_input and judge_forward read. A node's kube-proxy may have thousands of rules: no more than needed.
SCRIPT = """
mark() { printf '\\n@filter %s\\n' "$1"; }
mark ufw; ufw status 2>/dev/null | head -n 1 || true
mark firewalld; firewall-cmd --state 2>/dev/null || true
mark trusted; firewall-cmd --zone=trusted --list-sources 2>/dev/null || true
mark nft; nft -t list ruleset 2>/dev/null | head -c 500000 || true
mark iptables; for save in iptables-save ip6tables-save; do $save -t filter 2>/dev/null | head -c 200000 || true; done
"""
_IPTABLES = {("ip", "filter"), ("ip6", "filter")}  # iptables-nft keeps its chains in these, named in capitals


@dataclass(frozen=True)
class Chain:
    """A base chain of nftables. text: its rules."""

    family: str
    table: str
    name: str
    hook: str
    text: str

    def drops(self, ports: Collection[int] = ()) -> str:
        """Return how it drops packets, to these ports if any are given; "" if it does not."""
        if ports and (rule := _rule_for(self.text, r"^\s*(.*\b(?:drop|reject)\b.*)$", ports)):
            return f"has the rule {rule!r}"
        if "policy drop" in self.text:
            return "has the policy drop"
        last = re.search(r"^\s*(?:counter packets \d+ bytes \d+ )?((?:drop|reject)\b.*)$", self.text, re.MULTILINE)
        return f"has the rule {last[1].strip()!r}" if last else ""


def sections(text: str) -> dict[str, str]:
    """Return the output of SCRIPT by program."""
    return dict(part.partition("\n")[::2] for part in text.split("\n@filter ")[1:])


def judge_input(found: dict[str, str], sources: Sequence[str], ports: Collection[int] = ()) -> tuple[str, str]:
    """Return what filters a host's incoming packets and the command that accepts those of `sources`.

    sources: addresses and networks. ports: those that do not get through. ("", "") if no filter drops or rejects them.
    """
    if found.get("ufw", "").strip() == "Status: active":
        return "ufw is active there", "; ".join(f"sudo ufw allow from {source}" for source in sources)
    if found.get("firewalld", "").strip() == "running":
        return "firewalld is running there", _trust(sources)
    if how := _iptables(found.get("iptables", ""), "INPUT", ports):
        commands = "; ".join(
            f"sudo ip{'6' if ':' in one else ''}tables -I INPUT -s {one} -j ACCEPT" for one in sources
        )
        return how, f"{commands}; and make that last (netfilter-persistent save, if it is installed)"
    for chain in chains(found.get("nft", "")):
        if chain.hook == "input" and (how := chain.drops(ports)):
            key = "ip6" if any(":" in one for one in sources) else "ip"
            return f"its nftables chain {chain.name} of table {chain.family} {chain.table} {how}", (
                f"sudo nft insert rule {chain.family} {chain.table} {chain.name} {key} saddr "
                f"'{{ {', '.join(sources)} }}' accept; and add that to /etc/nftables.conf"
            )
    return "", ""


def judge_forward(found: dict[str, str], pods: str, network: str) -> tuple[str, str]:
    """Return what stops the packets of pods, which a node forwards, and the command that accepts them.

    pods: the pod network. network: "flannel", which adds rules of its own to iptables, or "bridge". ("", "") if
    nothing does. A filter that names the pod network is taken for one that was made for it.
    """
    if found.get("firewalld", "").strip() == "running":
        trusted = found.get("trusted", "").split()
        return ("", "") if pods in trusted else ("firewalld is running there", _trust([pods]))
    for chain in chains(found.get("nft", "")):
        iptables = (chain.family, chain.table) in _IPTABLES and chain.name.isupper()
        if (
            chain.hook == "forward"
            and (how := chain.drops())
            and not iptables
            and not _names(chain.text, (pods, "cni0"))
        ):
            rules = (
                f"sudo nft insert rule {chain.family} {chain.table} {chain.name} {key} {pods} accept"
                for key in (("ip6 saddr", "ip6 daddr") if ":" in pods else ("ip saddr", "ip daddr"))
            )
            return (
                f"its nftables chain {chain.name} of table {chain.family} {chain.table} {how}",
                f"{'; '.join(rules)}; and add both to /etc/nftables.conf",
            )
    text = found.get("iptables", "")
    if network == "bridge" and (how := _iptables(text, "FORWARD")) and not _names(text, (pods,)):
        by_docker = " (Docker's)" if ":DOCKER-USER" in text else ""
        chain_name = "DOCKER-USER" if by_docker else "FORWARD"
        return f"{how}{by_docker}", (
            f"sudo iptables -I {chain_name} -s {pods} -j ACCEPT; sudo iptables -I {chain_name} -d {pods} -j ACCEPT; "
            "and make that last (netfilter-persistent save, if it is installed)"
        )
    return "", ""


def chains(ruleset: str) -> list[Chain]:
    """Return the base chains in the output of `nft list ruleset`."""
    found = []
    for table in re.finditer(r"^table (\w+) (\S+) \{\n(.*?)^\}", ruleset, re.MULTILINE | re.DOTALL):
        for chain in re.finditer(r"^\tchain (\S+) \{\n(.*?)^\t\}", table[3], re.MULTILINE | re.DOTALL):
            if hook := re.search(r"type filter hook (\w+)", chain[2]):
                found.append(Chain(table[1], table[2], chain[1], hook[1], chain[2]))
    return found


def _trust(sources: Sequence[str]) -> str:
    words = " ".join(f"--add-source={source}" for source in sources)
    return f"sudo firewall-cmd --permanent --zone=trusted {words} && sudo firewall-cmd --reload"


def _iptables(text: str, chain: str, ports: Collection[int] = ()) -> str:
    """Return how a chain of iptables drops packets, to these ports if any are given; "" if it does not."""
    pattern = rf"^(-A {chain} .*-j (?:DROP|REJECT)\b.*)$"
    if ports and (rule := _rule_for(text, pattern, ports)):
        return f"its iptables chain {chain} has the rule {rule!r}"
    if re.search(rf"^:{chain} DROP", text, re.MULTILINE):
        return f"the policy of its iptables chain {chain} is DROP"
    last = re.search(rf"^-A {chain} -j (?:DROP|REJECT)\b.*$", text, re.MULTILINE)
    return f"its iptables chain {chain} has the rule {last[0]!r}" if last else ""


def _rule_for(text: str, pattern: str, ports: Collection[int]) -> str:
    """Return the first rule that names one of these ports."""
    for rule in re.finditer(pattern, text, re.MULTILINE):
        if any(re.search(rf"\b{port}\b", rule[1]) for port in ports):
            return str(rule[1].strip())
    return ""


def _names(text: str, words: Collection[str]) -> bool:
    return any(word in text for word in words)
