"""The certificates of the cluster's components do not expire soon.

kubeadm's certificates expire after one year, and only an upgrade renews them. Kubelets renew their own; `apply`
approves the serving ones. Unchecked, the first sign of an expired certificate is an API that nobody can log in to.
"""

from __future__ import annotations

import shlex
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from provisioner.checks.check import Check, Context, Finding, failed, passed
from provisioner.errors import HostError
from provisioner.kube.kubeadm_state import KUBELET_CONF
from provisioner.ssh import Host
from provisioner.steps.kubelet_certificates import SERVING
from provisioner.text import join_words, pluralize

CLIENT = "/var/lib/kubelet/pki/kubelet-client-current.pem"
PKI = "/etc/kubernetes/pki/"
CONFS = "/etc/kubernetes/*.conf"
# Remaining time, and share of the validity period for sites with shorter ones: a kubelet renews its certificate when a
# tenth remains at the latest (client-go, util/certificate, nextRotationDeadline).
FAIL, ADVISE = timedelta(days=30), timedelta(days=90)
FAIL_SHARE, ADVISE_SHARE = 0.1, 0.25
SHOWN = 3
# A static pod is restarted when its manifest is removed, for as long as the kubelet may take to notice, and put back
# (kubernetes.io, "Certificate Management with kubeadm", manual renewal).
RESTART = "cd /etc/kubernetes; mkdir -p renewed; mv manifests/*.yaml renewed; sleep 20; mv renewed/*.yaml manifests"


@dataclass(frozen=True)
class Validity:
    """The validity period of a certificate (RFC 5280, 4.1.2.5)."""

    not_before: datetime
    not_after: datetime

    def remaining(self, now: datetime) -> timedelta:
        """Return the remaining time, negative once it has expired."""
        return self.not_after - now

    def expires_within(self, now: datetime, limit: timedelta, share: float) -> bool:
        """Tell whether less than `limit`, and less than that share of the period, remains."""
        return self.remaining(now) < min(limit, share * (self.not_after - self.not_before))


def run(context: Context) -> Iterator[Finding]:
    """Yield findings on each node's certificates, read in one SSH round trip; expired ones may be why the API is down.

    Hosts that are not nodes are left to the nodes check.
    """
    now = datetime.now(UTC)
    for host in context.hosts.values():
        try:
            output = host.run(script(host.spec.is_control_plane)).stdout
        except HostError as error:
            detail = f"has certificates that could not be read: {error.message}"
            yield failed("CERTIFICATES_UNKNOWN", host.name, detail, error.remedy, error.tail)
            continue
        yield from judge(host, parse(output), now)


def script(control_plane: bool) -> str:
    """Return shell commands that print "path<tab>notBefore<tab>notAfter" for each certificate, and no key.

    A pattern that matches no file is printed itself, without dates, because something is missing then.
    """
    files = " ".join((*((f"{PKI}*.crt", f"{PKI}etcd/*.crt") if control_plane else ()), SERVING, CLIENT))
    dates = "openssl x509 -noout -startdate -enddate 2>/dev/null | sed 's/.*=//' | tr '\\n' '\\t'"
    lines = [
        f"[ -e {KUBELET_CONF} ] || exit 0",
        f'for file in {files}; do printf "%s\\t" "$file"; cat "$file" 2>/dev/null | {dates}; echo; done',
    ]
    if control_plane:
        # Not all embed a certificate: the kubelet's names a file, and others may use a token.
        data = "sed -n 's/^ *client-certificate-data: *//p' \"$file\""
        lines.append(
            f'for file in {CONFS}; do data=$({data}); [ -n "$data" ] || continue\n'
            f'printf "%s\\t" "$file"; printf %s "$data" | base64 -d 2>/dev/null | {dates}; echo; done'
        )
    return "\n".join(lines)


def parse(output: str) -> dict[str, Validity | None]:
    """Return the validity by path, relative to kubeadm's PKI folder; None where it could not be read."""
    found: dict[str, Validity | None] = {}
    for line in output.splitlines():
        path, *dates = line.rstrip("\t").split("\t")
        try:
            not_before, not_after = map(_moment, dates)
        except (ValueError, OverflowError, OSError):
            found[path.removeprefix(PKI)] = None
        else:
            found[path.removeprefix(PKI)] = Validity(not_before, not_after)
    return found


def _moment(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)


def judge(host: Host, found: Mapping[str, Validity | None], now: datetime) -> Iterator[Finding]:
    """Yield one finding on the certificates that could not be read, and one on the others."""
    unread = [name for name, validity in found.items() if validity is None]
    if unread:
        yield failed(
            "CERTIFICATES_UNREADABLE",
            host.name,
            f"has no readable certificate at {join_words(unread)}",
            f"provisioner apply; provisioner ssh {host.name} -- sudo ls -l "
            + " ".join(sorted({shlex.quote(_folder(name)) for name in unread})),
        )
    valid = {name: validity for name, validity in found.items() if validity is not None}
    if not valid:
        return
    first = min(valid, key=lambda name: valid[name].not_after)
    expired = [name for name, validity in valid.items() if validity.remaining(now) <= timedelta(0)]
    failing = [name for name, validity in valid.items() if validity.expires_within(now, FAIL, FAIL_SHARE)]
    advised = [name for name, validity in valid.items() if validity.expires_within(now, ADVISE, ADVISE_SHARE)]
    when = f"{first} on {valid[first].not_after:%Y-%m-%d}, {_distance(valid[first].remaining(now))}"
    if expired:
        detail = f"has expired certificates: {_shown(expired)}; the first was {when}"
        yield failed("CERTIFICATES_ENDED", host.name, detail, remedy(host, failing, expired))
    elif failing:
        detail = f"has certificates that expire soon: {_shown(failing)}; the first is {when}"
        yield failed("CERTIFICATES_END_SOON", host.name, detail, remedy(host, failing))
    elif advised:
        detail = f"has certificates that expire within months: {_shown(advised)}; the first is {when}"
        yield passed("CERTIFICATES_END_SOON", host.name, detail, remedy(host, advised))
    else:
        detail = f"has {pluralize(len(valid), 'certificate')}, of which the first to expire is {when}"
        yield passed("CERTIFICATES_VALID", host.name, detail)


def remedy(host: Host, names: Sequence[str], expired: Sequence[str] = ()) -> str:
    """Return how to renew these certificates, which differs for kubeadm's, the kubelet's and CAs."""
    authorities = [name for name in names if name.rpartition("/")[2] in ("ca.crt", "front-proxy-ca.crt")]
    parts = []
    if any(name not in (*authorities, SERVING, CLIENT) for name in names):
        parts.append(
            f"provisioner ssh {host.name} -- sudo kubeadm certs renew all; then restart its static pods: "
            f"provisioner exec --limit {host.name} -- '{RESTART}'; then renew your kubeconfig: "
            "provisioner kubeconfig --merge"
        )
    if SERVING in names:
        parts.append("provisioner apply approves the kubelet's pending request")
    if CLIENT in expired and host.name != host.site.first.name:
        parts.append(f"provisioner node rebuild {host.name}")
    elif CLIENT in names:
        journal = f"provisioner ssh {host.name} -- sudo journalctl -u kubelet -n 30"
        parts.append(f"the kubelet should have renewed its own; see why not: {journal}")
    if authorities:
        parts.append('renew the CA by hand: kubernetes.io, "Manual Rotation of CA Certificates"')
    return "; ".join(parts)


def _folder(name: str) -> str:
    path = name if name.startswith("/") else f"{PKI}{name}"
    return path.rpartition("/")[0]


def _shown(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:SHOWN])} and {more} more"


def _distance(remaining: timedelta) -> str:
    days = abs(remaining) // timedelta(days=1)
    shown = pluralize(days, "day") if days else "less than a day"
    return f"in {shown}" if remaining > timedelta(0) else f"{shown} ago"


CHECK = Check("certificates", "The cluster's certificates do not expire soon.", run, reads_only=True, without_api=True)
