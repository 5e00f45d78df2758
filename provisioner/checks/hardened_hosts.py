"""Part of the check hardening: what is seen on the hosts, of the audit log, the API servers and the kubelets."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from provisioner.checks.check import Context, Finding, failed, passed, wait_for
from provisioner.errors import ClusterError, HostError
from provisioner.kube.kubeadm_state import ADMIN_CONF, CA
from provisioner.site import HostSpec, hardening
from provisioner.ssh import Host
from provisioner.steps import kernel_settings
from provisioner.steps.kubelet_certificates import SERVING
from provisioner.text import join_words, pluralize

REMEDY = "provisioner apply --only kubeadm-files"
LIMITS = ("audit-log-maxage", "audit-log-maxbackup", "audit-log-maxsize")
# The flags of the API server that runs: its manifest says only what should.
_FLAGS = (
    "for comm in $(grep -lx kube-apiserver /proc/[0-9]*/comm 2>/dev/null); do\n"
    "  tr '\\0' '\\n' <\"${comm%comm}cmdline\" | sed -n 's/^--/flag /p'\n"
    "done\n"
)
_MB = 1024 * 1024


@dataclass
class Log:
    """The audit log of one control plane: lines about the Secret, lines with its value, bytes by file, flags."""

    found: int = 0
    leaked: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    flags: dict[str, str] = field(default_factory=dict)

    def limit(self, name: str) -> int:
        """Return a limit of the running API server; 0 for none."""
        text = self.flags.get(name, "")
        return int(text) if text.isdecimal() else 0


def audit(context: Context, name: str, token: str) -> Iterator[Finding]:
    """Yield whether the request for the Secret is in a log, without its value, and whether each log is limited."""
    script = (
        f"cd {hardening.AUDIT_FOLDER} || exit 0\n"
        f"echo found $(grep -cF {shlex.quote(name)} audit.log)\n"
        f"echo leaked $(grep -cF -e {shlex.quote(token)} -e {_encoded(token)} audit.log)\n"
        "find . -name 'audit*' -type f -printf 'size %s %f\\n'\n"
        f"{_FLAGS}"
    )
    logs = wait_for(
        context,
        "the audit log",
        lambda: {host.name: _log(host.run(script, check=False).stdout) for host in _control_planes(context)},
        lambda logs: any(log.found for log in logs.values()),
        timeout=30,
    )
    subject = "the audit log"
    writers = [host for host, log in logs.items() if log.found]
    if not writers:
        yield failed(
            "AUDIT_MISSING", subject, f"of {join_words(list(logs))} has no line about a Secret just created", REMEDY
        )
    elif any(log.leaked for log in logs.values()):
        yield failed("AUDIT_LEAKS", subject, f"of {writers[0]} contains the value of a Secret", REMEDY)
    else:
        yield passed("AUDIT_LOGGED", subject, f"of {writers[0]} has who created a Secret, and not its value")
    for host, log in logs.items():
        yield _limited(host, log)


def _log(output: str) -> Log:
    log = Log()
    for line in output.splitlines():
        kind, _, rest = line.partition(" ")
        if kind in ("found", "leaked") and rest.isdecimal():
            setattr(log, kind, int(rest))
        elif kind == "size":
            size, _, path = rest.partition(" ")
            if size.isdecimal():
                log.sizes[path] = int(size)
        elif kind == "flag":
            flag, _, value = rest.partition("=")
            log.flags[flag] = value
    return log


def _limited(name: str, log: Log) -> Finding:
    """Return whether the API server that runs rotates its log, and the files are as it is told."""
    subject = f"the audit log of {name}"
    age, backups, size = (log.limit(limit) for limit in LIMITS)
    if not (backups and size):
        return failed("AUDIT_UNLIMITED", subject, "has no limit: the API server runs without the flags", REMEDY)
    # A line more is written before the log is rotated.
    if len(log.sizes) > backups + 1 or any(found > (size + 1) * _MB for found in log.sizes.values()):
        total = sum(log.sizes.values()) // _MB
        detail = f"has {pluralize(len(log.sizes), 'file')} of {total} MiB, more than {backups + 1} of {size} MB"
        return failed("AUDIT_NOT_ROTATED", subject, detail, f"provisioner ssh {name} -- df {hardening.AUDIT_FOLDER}")
    days = f", kept for {pluralize(age, 'day')}" if age else ""
    return passed(
        "AUDIT_LIMITED",
        subject,
        f"has {pluralize(len(log.sizes), 'file')}, rotates at {size} MB and keeps {backups} old ones{days}",
    )


def readable(context: Context, namespace: str, name: str, token: str) -> Iterator[Finding]:
    """Yield the API servers that cannot read a Secret: they have another key."""
    hosts = _control_planes(context)
    if len(context.site.control_planes) < 2:
        return
    wrong = {}
    for host in hosts:
        command = (
            f"kubectl --kubeconfig {ADMIN_CONF} --server https://{host.spec.api_server} --request-timeout 20s "
            f"-n {namespace} get secret {name} -o 'jsonpath={{.data.token}}'"
        )
        done = host.run(command, check=False)
        if done.status != 0 or done.stdout.strip() != _encoded(token):
            wrong[host.name] = done.stderr
    if wrong:
        yield failed(
            "SECRETS_UNREADABLE",
            "a Secret",
            f"cannot be read through the API server of {join_words(list(wrong))}, which has another key",
            "docs/hardening.md says how to make the key the same",
            *wrong.values(),
        )
    else:
        names = join_words([host.name for host in hosts])
        yield passed("SECRETS_READABLE", "a Secret", f"is read through each API server: {names}")


def kubelets(context: Context, on: Collection[str]) -> Iterator[Finding]:
    """Yield what each kubelet answers without credentials and whose certificate it has, as a control plane sees it."""
    nodes = [spec for spec in context.site.hosts if spec.name in context.cluster.nodes()]
    hosts = _control_planes(context)
    if not hosts:
        return
    answers = _ask(hosts[0], nodes)
    if "kubelet" in on:
        for spec in nodes:
            yield _closed(context, spec, answers)
    if "verify_kubelets" in on:
        yield from _verified(context, nodes, answers)


def _ask(host: Host, nodes: Collection[HostSpec]) -> dict[tuple[str, str], str]:
    """Return HTTP status by node and question; "000" for none."""
    curl = "curl -s --noproxy '*' -m 10 -o /dev/null -w '%{http_code}'"
    lines = []
    for spec in nodes:
        place = f"[{spec.address}]" if ":" in spec.address else spec.address
        for question, command in (
            ("anonymous", f"-k https://{place}:10250/pods"),
            ("read-only", f"http://{place}:10255/pods"),
            ("verified", f"--cacert {CA} https://{place}:10250/healthz"),
        ):
            lines.append(f"printf '%s\\n' \"{spec.name} {question} $({curl} {command} || true)\"")
    output = host.run("\n".join(lines), timeout=60 + 30 * len(lines)).stdout
    words = [line.split() for line in output.splitlines()]
    return {(name, question): status for name, question, status in (row for row in words if len(row) == 3)}


def _closed(context: Context, spec: HostSpec, answers: dict[tuple[str, str], str]) -> Finding:
    """Return whether a kubelet answers nobody without credentials; what `[kubeadm]` sets itself is not held to it."""
    subject = f"the kubelet of {spec.name}"
    status, other = answers.get((spec.name, "anonymous"), "000"), answers.get((spec.name, "read-only"), "000")
    own = context.site.kubeadm.kubelet_configuration
    if status == "000":
        detail = "did not answer on port 10250"
        return failed("KUBELET_SILENT", subject, detail, f"provisioner ssh {spec.name} -- systemctl status kubelet")
    if status != "401" and "authentication" not in own:
        detail = f"answers {status} without credentials, not 401"
        return failed("KUBELET_ANONYMOUS", subject, detail, REMEDY)
    if other != "000" and "readOnlyPort" not in own:
        return failed("KUBELET_READ_ONLY_PORT", subject, f"answers {other} on port 10255", REMEDY)
    return _protecting(context, spec, subject, "answers 401 without credentials, and nothing on port 10255")


def _protecting(context: Context, spec: HostSpec, subject: str, said: str) -> Finding:
    """Return whether the kubelet that runs protects the kernel's settings, where they can be set."""
    try:
        config = context.cluster.raw(f"/api/v1/nodes/{spec.name}/proxy/configz")["kubeletconfig"]
    except (ClusterError, KeyError, TypeError) as error:
        return failed("KUBELET_UNKNOWN", subject, f"did not show its configuration: {error}", "provisioner status")
    protects = config.get(hardening.PROTECT) is True
    if protects or hardening.PROTECT in context.site.kubeadm.kubelet_configuration:
        return passed("KUBELET_CLOSED", subject, f"{said}{', and protects the kernel settings' if protects else ''}")
    forbidden = context.hosts[spec.name].run(kernel_settings.FORBIDDEN, check=False).stdout.split()
    if forbidden:
        return passed("KUBELET_CLOSED", subject, f"{said}; {forbidden[0]} cannot be set here, so it protects none")
    return failed("KUBELET_UNPROTECTED", subject, "does not protect the kernel's settings", REMEDY)


def _verified(context: Context, nodes: Collection[HostSpec], answers: dict[tuple[str, str], str]) -> Iterator[Finding]:
    flag = hardening.mark("verify_kubelets")
    lacking = [host.name for host in _control_planes(context) if flag not in _log(host.run(_FLAGS).stdout).flags]
    if lacking:
        detail = f"of {join_words(lacking)} runs without --{flag}"
        yield failed("KUBELETS_NOT_VERIFIED", "the API server", detail, REMEDY)
        return
    bad = [spec.name for spec in nodes if answers.get((spec.name, "verified"), "000") == "000"]
    for name in bad:
        yield failed(
            "KUBELET_UNVERIFIED",
            f"the kubelet of {name}",
            "has no certificate of the cluster's CA for its address, so logs, exec and metrics fail there",
            f"provisioner ssh {name} -- sudo sh -c 'rm {SERVING}; systemctl restart kubelet'; then provisioner apply",
        )
    if not bad:
        yield passed(
            "KUBELETS_VERIFIED",
            "the API server",
            f"verifies kubelets: {pluralize(len(nodes), 'kubelet')} with a certificate of the cluster's CA",
        )


def _control_planes(context: Context) -> list[Host]:
    """Return the control planes that can be reached."""
    found = []
    for spec in context.site.control_planes:
        host = context.hosts[spec.name]
        try:
            host.run("true")
        except HostError:
            continue
        found.append(host)
    return found


def _encoded(token: str) -> str:
    return base64.b64encode(token.encode()).decode()
