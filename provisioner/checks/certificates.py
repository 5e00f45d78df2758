"""The certificates by which the cluster's parts know each other end on no day soon.

kubeadm's own end after a year, and only an upgrade renews them unasked; the kubelets renew theirs by themselves, the
serving ones with an approval that `apply` gives. Without a look at them, the first that a person sees of an end is an
API that nobody gets into.
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
from provisioner.text import join_words

CLIENT = "/var/lib/kubelet/pki/kubelet-client-current.pem"
PKI = "/etc/kubernetes/pki/"
CONFS = "/etc/kubernetes/*.conf"
# Time that is left. Shares of a life beside the days, for those whom a site gives a shorter one: a kubelet renews
# at the latest when a tenth is left (client-go, util/certificate, nextRotationDeadline).
FAILS, ADVISES = timedelta(days=30), timedelta(days=90)
FAILING_SHARE, ADVISED_SHARE = 0.1, 0.25
SHOWN = 3
# A static pod starts again when its manifest was away for as long as the kubelet may take to look, and comes back
# (kubernetes.io, "Certificate Management with kubeadm", manual renewal).
RESTART = "cd /etc/kubernetes; mkdir -p renewed; mv manifests/*.yaml renewed; sleep 20; mv renewed/*.yaml manifests"


@dataclass(frozen=True)
class Life:
    """From when to when a certificate is valid."""

    begin: datetime
    end: datetime

    def left(self, now: datetime) -> timedelta:
        """Return the time that is left, negative after the end."""
        return self.end - now

    def soon(self, now: datetime, most: timedelta, share: float) -> bool:
        """Tell whether less is left than `most`, and less than that share of its life."""
        return self.left(now) < min(most, share * (self.end - self.begin))


def run(context: Context) -> Iterator[Finding]:
    """Yield what each host that is a node has: in one round trip, without the API, which they may keep from answering.

    Nothing about a host that is no node: the check of the nodes says that.
    """
    now = datetime.now(UTC)
    for host in context.hosts.values():
        try:
            said = host.run(script(host.spec.is_control_plane)).stdout
        except HostError as error:
            detail = f"has certificates that could not be looked at: {error.message}"
            yield failed("CERTIFICATES_UNKNOWN", host.name, detail, error.remedy, error.tail)
            continue
        yield from judge(host, parse(said), now)


def script(control_plane: bool) -> str:
    """Return the shell commands that print a line "name<tab>begin<tab>end" for each certificate, and no key.

    A pattern that no file fits is printed as it is, without dates: then something is missing.
    """
    files = " ".join((*((f"{PKI}*.crt", f"{PKI}etcd/*.crt") if control_plane else ()), SERVING, CLIENT))
    dates = "openssl x509 -noout -startdate -enddate 2>/dev/null | sed 's/.*=//' | tr '\\n' '\\t'"
    lines = [
        f"[ -e {KUBELET_CONF} ] || exit 0",
        f'for file in {files}; do printf "%s\\t" "$file"; cat "$file" 2>/dev/null | {dates}; echo; done',
    ]
    if control_plane:
        # Not every one carries a certificate: the kubelet's names the file, and a token may stand in place of one.
        data = "sed -n 's/^ *client-certificate-data: *//p' \"$file\""
        lines.append(
            f'for file in {CONFS}; do data=$({data}); [ -n "$data" ] || continue\n'
            f'printf "%s\\t" "$file"; printf %s "$data" | base64 -d 2>/dev/null | {dates}; echo; done'
        )
    return "\n".join(lines)


def parse(said: str) -> dict[str, Life | None]:
    """Return each certificate's life by its path as people name it; None where it could not be read."""
    found: dict[str, Life | None] = {}
    for line in said.splitlines():
        path, *dates = [part for part in line.split("\t") if part]
        try:
            begin, end = map(_moment, dates)
        except ValueError:
            found[path.removeprefix(PKI)] = None
        else:
            found[path.removeprefix(PKI)] = Life(begin, end)
    return found


def _moment(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)


def judge(host: Host, found: Mapping[str, Life | None], now: datetime) -> Iterator[Finding]:
    """Yield one finding about those that could be read, and one about those that could not."""
    unread = [name for name, life in found.items() if life is None]
    if unread:
        yield failed(
            "CERTIFICATES_UNREADABLE",
            host.name,
            f"has no certificate that can be read at {join_words(unread)}",
            f"provisioner apply; or see for yourself: provisioner ssh {host.name} -- sudo ls -l "
            + " ".join(sorted({shlex.quote(_folder(name)) for name in unread})),
        )
    lives = {name: life for name, life in found.items() if life is not None}
    if not lives:
        return
    first = min(lives, key=lambda name: lives[name].end)
    ended = [name for name, life in lives.items() if life.left(now) <= timedelta(0)]
    failing = [name for name, life in lives.items() if life.soon(now, FAILS, FAILING_SHARE)]
    advised = [name for name, life in lives.items() if life.soon(now, ADVISES, ADVISED_SHARE)]
    when = f"{first}, on {lives[first].end:%Y-%m-%d}, {_distance(lives[first].left(now))}"
    if ended:
        detail = f"has certificates that have ended: {_listed(ended)}; the first was {when}"
        yield failed("CERTIFICATES_ENDED", host.name, detail, remedy(host, failing, ended))
    elif failing:
        detail = f"has certificates that end soon: {_listed(failing)}; the first is {when}"
        yield failed("CERTIFICATES_END_SOON", host.name, detail, remedy(host, failing))
    elif advised:
        detail = f"has certificates that end before long: {_listed(advised)}; the first is {when}"
        yield passed("CERTIFICATES_END_SOON", host.name, detail, remedy(host, advised))
    else:
        detail = f"the first certificate of {len(lives)} to end is {when}"
        yield passed("CERTIFICATES_VALID", host.name, detail)


def remedy(host: Host, names: Sequence[str], ended: Sequence[str] = ()) -> str:
    """Return what renews these certificates: kubeadm's, the kubelet's and CAs each in their own way."""
    authorities = [name for name in names if name.rpartition("/")[2] in ("ca.crt", "front-proxy-ca.crt")]
    parts = []
    if any(name not in (*authorities, SERVING, CLIENT) for name in names):
        parts.append(
            f"provisioner ssh {host.name} -- sudo kubeadm certs renew all; then start its static pods anew: "
            f"provisioner exec --limit {host.name} -- '{RESTART}'; then provisioner kubeconfig --merge, for your own"
        )
    if SERVING in names:
        parts.append("provisioner apply approves the renewal that the kubelet asks for")
    if CLIENT in ended and host.name != host.site.first.name:
        parts.append(f"provisioner node rebuild {host.name}")
    elif CLIENT in names:
        journal = f"provisioner ssh {host.name} -- sudo journalctl -u kubelet -n 30"
        parts.append(f"the kubelet renews its own; {journal} says why it did not")
    if authorities:
        parts.append('a CA is renewed by hand: kubernetes.io, "Manual Rotation of CA Certificates"')
    return "; ".join(parts)


def _folder(name: str) -> str:
    path = name if name.startswith("/") else f"{PKI}{name}"
    return path.rpartition("/")[0]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:SHOWN])} and {more} more"


def _distance(left: timedelta) -> str:
    days = abs(left) // timedelta(days=1)
    shown = f"{days} day{'' if days == 1 else 's'}" if days else "less than a day"
    return f"in {shown}" if left > timedelta(0) else f"{shown} ago"


CHECK = Check(
    "certificates", "The cluster's certificates are valid for a while yet.", run, reads_only=True, without_api=True
)
