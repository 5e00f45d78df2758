"""Tell a finished node from a half-made one, from its own files and the API together.

A marker is written on the host before kubeadm starts and removed by the same command after it ended well. The API
is asked as well, because the run may have been killed between the two; an API that does not answer is never read
as a node that is absent.
"""

from __future__ import annotations

import shlex

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
# kubeadm's own reset leaves what a new start trips over: the folder of an etcd that it does not find in a manifest.
RESET = (
    "systemctl stop kubelet || true\n"
    "kubeadm reset -f --cri-socket /run/containerd/containerd.sock\n"
    "rm -rf /var/lib/etcd /etc/kubernetes/manifests /etc/kubernetes/pki /etc/kubernetes/*.conf "
    "/var/lib/kubelet/pki /var/lib/kubelet/config.yaml /var/lib/kubelet/kubeadm-flags.env\n"
    "mkdir -p /etc/kubernetes/manifests\n"
)


def run_marked(host: Host, name: str, marker: str, command: str, *, timeout: float) -> None:
    """Run a kubeadm command on the host with its marker around it; it survives this process.

    Both the marker and its removal are on disk before the next thing happens: a marker that a power cut brought back
    would have a finished control plane cleaned up.
    """
    jobs.run(
        host,
        name,
        f"mkdir -p {DIRECTORY}; chmod 0700 {DIRECTORY}; touch {marker}; sync {marker}\n{command}\n"
        f"rm -f {marker}; sync {DIRECTORY}",
        timeout=timeout,
    )


def unmark(host: Host, marker: str) -> None:
    """Remove a marker: the command behind it is known to have finished."""
    host.run(f"rm -f {shlex.quote(marker)}")


def reset(host: Host, marker: str) -> None:
    """Undo what a kubeadm that did not finish has left, so that it can start from a clean machine.

    Only called where the marker (or the API) shows that kubeadm was interrupted here.
    """
    jobs.run(host, "kubeadm-reset", f"{RESET}rm -f {marker}", timeout=300)


def exists(host: Host, path: str) -> bool:
    """Return whether a path, or any path that a glob of the step's query matched, is on the host."""
    if path.endswith("/*.yaml"):
        folder = path.removesuffix("*.yaml")
        return any(name.startswith(folder) and file.exists for name, file in host.facts.files.items())
    return path in host.facts.files and host.facts.files[path].exists
