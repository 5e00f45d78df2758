"""What kubeadm left on a host: files that tell a finished node from a half-made one, and how to reset the latter.

A marker is written before kubeadm starts, and removed by the same command once kubeadm has succeeded. The run may be
killed between the two, so callers ask the API as well; an API that does not answer never means that a node is absent.
"""

from __future__ import annotations

import shlex

from provisioner.site import hardening, proxy
from provisioner.ssh import Host, jobs

DIRECTORY = "/var/lib/provisioner"
INIT_STARTED = f"{DIRECTORY}/init.started"
JOIN_STARTED = f"{DIRECTORY}/join.started"
KUBELET_CONF = "/etc/kubernetes/kubelet.conf"
BOOTSTRAP_CONF = "/etc/kubernetes/bootstrap-kubelet.conf"
ADMIN_CONF = "/etc/kubernetes/admin.conf"
CA = "/etc/kubernetes/pki/ca.crt"
MANIFESTS = "/etc/kubernetes/manifests/*.yaml"
ETCD = "/var/lib/etcd/member"
# `kubeadm reset` leaves etcd's data behind when no manifest names it; the next `kubeadm init` fails on it.
RESET = (
    "systemctl stop kubelet || true\n"
    "kubeadm reset -f --cri-socket /run/containerd/containerd.sock\n"
    # It may be a mount, or a link to one, which cannot be removed; etcd needs it empty.
    "if [ -d /var/lib/etcd ]; then find -H /var/lib/etcd -mindepth 1 -delete; fi\n"
    "if [ ! -L /var/lib/etcd ]; then rmdir /var/lib/etcd 2>/dev/null || true; fi\n"
    f"rm -rf /etc/kubernetes/manifests /etc/kubernetes/pki {hardening.DIRECTORY} /etc/kubernetes/*.conf "
    "/var/lib/kubelet/pki /var/lib/kubelet/config.yaml /var/lib/kubelet/kubeadm-flags.env\n"
    "mkdir -p /etc/kubernetes/manifests\n"
)

# `kubeadm reset` deletes etcd's data even if it could not take the member out of etcd's cluster
# (cmd/phases/reset/removeetcdmember.go). The others would count it for ever, and two members of which one is gone have
# no quorum and lose the cluster. So it must be out first. An etcd whose member was removed exits by itself.
_LEAVE_ETCD = """\
if [ -e /etc/kubernetes/manifests/etcd.yaml ] && [ -n "$(ss -Hltn 'sport = :2379')" ]; then
  said=$(kubeadm reset phase remove-etcd-member 2>&1) || said="$said, failed to remove etcd member"
  printf '%s\\n' "$said"
  case $said in
  *'member not found'*) ;;
  *'ailed to remove etcd member'* | *'nable to fetch the kubeadm-config'*)
    echo 'this machine is still a member of etcd; nothing was reset'
    exit 1
    ;;
  esac
fi
"""


def run_marked(host: Host, name: str, marker: str, command: str, *, timeout: float) -> None:
    """Run a kubeadm command as a job that survives this process, with its marker around it.

    The marker and its removal are synced to disk: a marker that a power cut brings back would get a finished control
    plane reset.
    """
    jobs.run(
        host,
        name,
        f"mkdir -p {DIRECTORY}; chmod 0700 {DIRECTORY}; touch {marker}; sync {marker}\n"
        f"{proxy.shell_prefix(host.site)}{command}\n"
        f"rm -f {marker}; sync {DIRECTORY}",
        timeout=timeout,
    )


def unmark(host: Host, marker: str) -> None:
    """Remove the marker of a command that is known to have finished."""
    host.run(f"rm -f {shlex.quote(marker)}")


def reset(host: Host, marker: str) -> None:
    """Remove what an interrupted kubeadm left, so that it can start again on a clean machine.

    Call it only if the marker or the API shows that kubeadm was interrupted here. Raise HostError, with everything in
    place, for a control plane that etcd does not let go.
    """
    leave = _LEAVE_ETCD if marker == JOIN_STARTED else ""  # who interrupts init has the only member
    jobs.run(host, "kubeadm-reset", f"{leave}{RESET}rm -f {marker}", timeout=300)


def exists(host: Host, path: str) -> bool:
    """Return whether the facts have a path, or for `*.yaml` any file that matches it."""
    if path.endswith("/*.yaml"):
        folder = path.removesuffix("*.yaml")
        return any(name.startswith(folder) and file.exists for name, file in host.facts.files.items())
    return path in host.facts.files and host.facts.files[path].exists
