"""Install packages with apt: wait for another apt, and say which source, server or key was in its way."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from provisioner.errors import HostError, Unreachable
from provisioner.ssh import Host, jobs
from provisioner.text import join_words

# Ask nothing, wait for another dpkg (unattended-upgrades), keep an operator's configuration files.
APT = (
    "DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 "
    "-o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-confdef"
)
# DPkg::Lock::Timeout is for dpkg's lock alone: another apt-get update (apt-daily, cloud-init at the first boot) holds
# that of the lists, and a download that of the archives, on which apt gives up at once.
_WAITING = r"""
said=$(mktemp)
trap 'rm -f "$said"' EXIT
apt() {
  waited=0
  while :; do
    status=0
    "$@" 2>"$said" || status=$?
    if [ $status -eq 0 ] || [ $waited -ge 600 ] || ! grep -q 'Could not get lock' "$said"; then break; fi
    if [ $waited -eq 0 ]; then grep 'Could not get lock' "$said" | sed 's/^E: //; s/$/; waiting/'; fi
    waited=$((waited + 3))
    sleep 3
  done
  cat "$said"
  return $status
}
"""
# One dead source must not keep out packages of the others; if it is needed, the install fails and both are told.
_INSTALL = """{waiting}
lists=0
apt env {apt} update || lists=$?
failed=$(cat "$said")
status=0
apt env {apt} install --no-remove {options} {names} || status=$?
if [ $status -ne 0 ] && [ $lists -ne 0 ]; then printf '%s\\n' "$failed"; fi
exit $status
"""
_URL = re.compile(r"\b(?:https?|ftp)://([^\s/'\"\[\]]+)[^\s'\"]*")
_UNRESOLVED = re.compile(r"(?:Temporary failure resolving|Could not resolve(?: host:)?) '?([^\s'\"()]+)")
_KEY = re.compile(r"NO_PUBKEY|EXPKEYSIG|REVKEYSIG|BADSIG|is not signed")
_SOURCES = "/etc/apt/sources.list /etc/apt/sources.list.d"


def install(host: Host, names: Sequence[str], options: str = "--no-install-recommends") -> None:
    """Update the package lists and install packages (`name` or `name=version`) in one job.

    Refuse to remove another package (Docker's containerd.io for Debian's containerd), since no plan showed that. A
    source that does not answer is named; it fails the installation only if it was needed.
    """
    words = " ".join(map(shlex.quote, names))
    script = _INSTALL.format(waiting=_WAITING, apt=APT, options=options, names=words)
    try:
        output = jobs.run(host, "apt-install", script, timeout=1800).stdout
    except Unreachable:
        raise
    except HostError as error:
        cause, remedy = explain(host, error.tail)
        if not cause:
            raise
        what = f"apt cannot install {', '.join(names)}: {cause}"
        raise HostError(host.name, what, remedy, command=error.command, tail=error.tail) from error
    cause, remedy = explain(host, output)
    if cause:
        host.report.emit("note", f"{host.name}: the packages are installed, but {cause}; {remedy}", host=host.name)


def explain(host: Host, output: str) -> tuple[str, str]:
    """Return what apt complains about in one sentence, and what to do; "" for neither if it is not of a known kind."""
    lines = [line for line in output.splitlines() if line.startswith(("E: ", "W: ", "Err:", "  "))]
    complaints = [line for line in lines if line.startswith(("E: ", "W: "))]
    if servers := list(dict.fromkeys(found[1].rstrip(".") for line in lines for found in _UNRESOLVED.finditer(line))):
        return (
            f"DNS does not resolve {join_words(servers)}{_where(host, servers)}",
            f"see which resolver it asks: provisioner ssh {host.name} -- "
            f"'cat /etc/resolv.conf; getent hosts {servers[0]}'",
        )
    if held := next((line for line in complaints if "Could not get lock" in line), ""):
        return (
            f"another apt kept its lock for ten minutes ({held[3:].strip()})",
            f"see what it does: provisioner ssh {host.name} -- ps -ef f",
        )
    if conflict := next((line for line in complaints if "Conflicting values set for option" in line), ""):
        return (
            f"two of its source files have one repository with different options ({conflict[3:].strip()})",
            f"remove one: provisioner ssh {host.name} -- grep -rn URIs -e ^deb {_SOURCES}",
        )
    if unsigned := next((line for line in complaints if _KEY.search(line)), ""):
        servers = [found[1] for found in _URL.finditer(unsigned)]
        return (
            f"the signature of a package source cannot be verified ({unsigned[3:].strip()}){_where(host, servers)}",
            "renew its key, or disable the source if it is not needed",
        )
    failed = [line for line in complaints if re.search(r"Failed to fetch|does not have a Release|no longer has", line)]
    if servers := list(dict.fromkeys(found[1] for line in failed for found in _URL.finditer(line))):
        return (
            f"the package source {join_words(servers)} does not answer as one{_where(host, servers)}",
            "correct it, or comment it out if it is not needed",
        )
    return "", ""


def _where(host: Host, servers: Sequence[str]) -> str:
    """Return the files and lines that name a server as a source, in parentheses; "" if none does."""
    if not servers:
        return ""
    words = " ".join(f"-e {shlex.quote(server)}" for server in servers)
    found = host.run(f"grep -rnF {words} {_SOURCES} 2>/dev/null | grep -v ':[0-9]*: *#' || true", check=False).stdout
    places = [":".join(line.split(":")[:2]) for line in found.splitlines() if line.startswith("/etc/apt/")]
    return f" ({join_words(dict.fromkeys(places))})" if places else ""
