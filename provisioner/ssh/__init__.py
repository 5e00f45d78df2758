"""Machines over SSH: a Host, its facts, commands, files, and jobs that survive this process."""

from __future__ import annotations

from provisioner.ssh.facts import FactQuery, File, HostFacts, HostNic
from provisioner.ssh.host import Host
from provisioner.ssh.sudo import Sudo
from provisioner.ssh.tunnel import Tunnel

__all__ = [
    "FactQuery",
    "File",
    "Host",
    "HostFacts",
    "HostNic",
    "Sudo",
    "Tunnel",
    "connect",
    "host",
    "host_keys",
    "jobs",
    "login",
    "openssh",
]
