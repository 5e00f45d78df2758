"""What nodes install from Debian: for the steps of apply, and as dependencies of kubelet and kubeadm.

It is a module of its own: a new name here makes a new repository of Debian packages, and nothing else of the mirror.
"""

NODE_PACKAGES = (
    "apparmor", "ca-certificates", "conntrack", "containerd", "containernetworking-plugins", "curl", "ebtables",
    "ethtool", "gnupg", "gpg", "iproute2", "ipset", "iptables", "ipvsadm", "keepalived", "kmod", "mount",
    "nfs-common", "nfs-kernel-server", "runc", "socat", "util-linux",
)  # fmt: skip
