"""Why a login failed, as one sentence and a remedy."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioner.ssh import lazy
from provisioner.ssh.channel import reason
from provisioner.ssh.host_keys import HostKeyRefused
from provisioner.ssh.identities import Refused
from provisioner.ssh.login import Login
from provisioner.ssh.tunnel import PROHIBITED

if TYPE_CHECKING:
    from fabric import Connection


@dataclass(frozen=True)
class Cause:
    """What went wrong and what to do. temporary: whether another attempt may succeed."""

    problem: str
    remedy: str
    temporary: bool = False


def hung_up(error: BaseException) -> bool:
    """Return whether the server hung up before its greeting (RFC 4253, section 4.2) or while keys are left to try."""
    return _before_greeting(error) or (isinstance(error, Refused) and error.again)


def explain(error: BaseException, place: str, target: Login, gateway: Connection | None) -> Cause:
    """Return the cause of an error that opening a connection raised. place: where to, as shown."""
    if isinstance(error, HostKeyRefused):
        return Cause(str(error), error.remedy)
    if isinstance(error, Refused):
        return _refused(error, place)
    if isinstance(error, lazy.paramiko.ChannelException):
        return _not_forwarded(error, place, target, gateway)
    if isinstance(error, lazy.paramiko.ssh_exception.IncompatiblePeer):
        return Cause(
            f"{place} and this program have no algorithm in common: {reason(error)}",
            "allow one of these in /etc/ssh/sshd_config on the host: Ciphers aes256-gcm@openssh.com or aes256-ctr, "
            "KexAlgorithms curve25519-sha256, MACs hmac-sha2-256-etm@openssh.com, HostKeyAlgorithms ssh-ed25519",
        )
    if isinstance(error, socket.gaierror):
        return Cause(f"cannot resolve {target.address}", "check ssh_address in hosts.toml")
    return _temporary(error, place)


def _temporary(error: BaseException, place: str) -> Cause:
    if isinstance(error, lazy.paramiko.AuthenticationException):
        # Paramiko raises it for a connection that breaks, or a server that is slow, during the login.
        return Cause(f"the login to {place} failed: {error}", "check the load and sshd's log on the host", True)
    if isinstance(error, TimeoutError):
        return Cause(f"connection to {place} timed out", "check that the machine is up and its address is right", True)
    if _before_greeting(error):
        return Cause(
            f"{place} closes every connection before its greeting",
            "its sshd is overloaded or keeps this machine out: check MaxStartups and PerSourcePenalties in "
            "/etc/ssh/sshd_config, fail2ban, and sshd's log on the host; --parallel 1 logs in to one host at a time",
            True,
        )
    return Cause(
        f"cannot log in to {place}: {reason(error)}",
        "check that the machine is up and sshd is listening on that port",
        True,
    )


def _before_greeting(error: BaseException) -> bool:
    closed = isinstance(error.__context__, EOFError | ConnectionResetError)
    return isinstance(error, lazy.paramiko.SSHException) and closed and "banner" in str(error)


def _refused(error: Refused, place: str) -> Cause:
    if not error.again:
        return Cause(str(error), error.remedy)
    return Cause(
        f"{place} hangs up after every few of many keys (MaxAuthTries)",
        "set key under [ssh] to the right one; a .pub picks it from the agent",
    )


def _not_forwarded(error: BaseException, place: str, target: Login, gateway: Connection | None) -> Cause:
    jump = gateway.host if gateway is not None else ""
    if getattr(error, "code", 0) == PROHIBITED:
        return Cause(
            f"the jump host {jump} forwards no connection to {target.address}:{target.port}",
            "set AllowTcpForwarding to yes or local in /etc/ssh/sshd_config on it, and check PermitOpen",
        )
    return Cause(
        f"the jump host {jump} cannot connect to {place}",
        "check that the machine is up and its address is right, as seen from the jump host",
        True,
    )
