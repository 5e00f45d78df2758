"""The editions of the mirror: one for each Kubernetes version that package registries offer, and what goes with it.

Names and tags are those of kubeadm's constants (cmd/kubeadm/app/constants) and of the catalogue; a program of another
version under such a tag is listed in `substitutes`.
"""

from dataclasses import dataclass, field

from provisioner.errors import ProvisionerError
from provisioner.lab.mirror.goprograms import Program
from provisioner.version import Version

_NO_FLANNEL = 'of that age is not on the Go module proxy; use cluster.network = "bridge"'
# One toolchain for everything current: one download.
_GO = "1.26.8"
METRICS_SERVER = Program("metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server", "v0.9.0", "1.26.4")


@dataclass(frozen=True)
class Edition:
    """What one mirror holds. Versions have no "v"; tags are as requested.

    coredns: the image's name, which kubeadm changed in 1.21. programs: Go programs other than Kubernetes' own,
    flanneld and Traefik. flannel: "" if it is not available. containerd: the version of the package containerd.io, ""
    if Debian's containerd is used.
    """

    kubernetes: str
    etcd_tag: str
    coredns: str
    coredns_tag: str
    pause_tags: tuple[str, ...]
    agnhost: str
    agnhost_tag: str
    nginx_tag: str
    metallb: str
    traefik: str
    programs: tuple[Program, ...]
    flannel: str = ""
    flannel_plugin_tag: str = ""
    metrics_server: str = METRICS_SERVER.version.removeprefix("v")
    containerd: str = ""
    substitutes: dict[str, str] = field(default_factory=dict)

    @property
    def minor(self) -> str:
        """Return "1.37" of "1.37.2"."""
        return ".".join(self.kubernetes.split(".")[:2])

    def left_out(self) -> dict[str, str]:
        """Return, by name, why something is not served and what to use instead."""
        return {
            **({} if self.flannel else {"flannel": _NO_FLANNEL}),
            "nginx and haproxy ingress controllers": "are not on the Go module proxy; "
            'use ingress.controller = "traefik"',
        }

    def substitutions(self) -> dict[str, str]:
        """Return, by name, how something that is served under upstream's name differs from upstream's."""
        fork = ", with an older library for basic and digest authentication" if self.traefik > "3" else ""
        return {
            **self.substitutes,
            "kubernetes-cni": "is Debian's containernetworking-plugins",
            f"nginx:{self.nginx_tag}": "is Debian's nginx 1.22",
            "pause": "is a stand-in of twenty lines",
            f"traefik:v{self.traefik}": "is built without dashboard and without the DNS providers of its ACME client"
            + fork,
        }


def _metallb(version: str, go: str) -> tuple[Program, ...]:
    return tuple(
        Program(f"metallb-{name}", f"go.universe.tf/metallb/{name}", f"v{version}", go)
        for name in ("controller", "speaker")
    )


# From Debian's source package, the last one with the whole tree: see kubernetes_source.py.
SOURCE = Edition(
    kubernetes="1.20.2",
    etcd_tag="3.4.13-0",
    coredns="coredns",
    coredns_tag="1.7.0",
    # kubeadm 1.20 requests 3.2; containerd's default and other configurations the rest.
    pause_tags=("3.2", "3.6", "3.7", "3.8", "3.9"),
    # The tree's test/images/agnhost/VERSION is 2.25; its test/utils/image/manifest.go uses 2.21.
    agnhost="2.25",
    agnhost_tag="2.21",
    nginx_tag="1.22.1",
    metallb="0.13.12",
    traefik="2.11.2",
    programs=(
        *_metallb("0.13.12", "1.20.14"),
        # CoreDNS 1.7.0 depends on reflect2 1.0.1, which crashes if compiled with Go 1.18 or later.
        Program("coredns", "github.com/coredns/coredns", "v1.7.0", "1.15.15"),
        METRICS_SERVER,
    ),
    substitutes={
        "crictl": "is a stand-in, a small CRI client; cri-tools of that age are not on the Go module proxy",
        "agnhost:2.21": "is 2.25, from the source tree of Kubernetes 1.20.2",
        "etcd:3.4.13-0": "is Debian's etcd 3.4",
    },
)

# From the modules that Kubernetes publishes: see kubernetes_modules.py.
CURRENT = Edition(
    kubernetes="1.37.2",
    etcd_tag="3.7.0-0",
    coredns="coredns/coredns",
    coredns_tag="v1.14.6",
    pause_tags=("3.10.2",),
    agnhost="2.66.1",
    agnhost_tag="2.53",
    nginx_tag="1.28.0",
    metallb="0.16.1",
    traefik="3.7.13",
    programs=(
        *_metallb("0.16.1", "1.25.10"),
        Program("coredns", "github.com/coredns/coredns", "v1.14.6", _GO),
        METRICS_SERVER,
        Program("etcd", "go.etcd.io/etcd/server/v3", "v3.7.0", _GO, "go.etcd.io/etcd/server/v3"),
        Program("etcdctl", "go.etcd.io/etcd/etcdctl/v3", "v3.7.0", _GO, "go.etcd.io/etcd/etcdctl/v3"),
        Program("crictl", "sigs.k8s.io/cri-tools/cmd/crictl", "v1.37.0", _GO),
        Program("install-conf", "github.com/flannel-io/flannel/cmd/install_conf", "v0.28.9", _GO),
        # Where flannel's plugin was before it moved to a repository of its own, which is not on the Go module proxy.
        Program("flannel-plugin", "github.com/containernetworking/plugins/plugins/meta/flannel", "v0.9.1", _GO),
        *(
            Program(name, f"github.com/containerd/containerd/v2/cmd/{name}", "v2.4.2", _GO)
            for name in ("containerd", "containerd-shim-runc-v2", "ctr")
        ),
    ),
    flannel="0.28.9",
    flannel_plugin_tag="v1.9.1-flannel3",
    containerd="2.4.2",
    substitutes={
        "agnhost:2.53": "is 2.66.1, from the module of Kubernetes 1.37.2",
        "flannel:v0.28.9": "is built without the backend for Tencent Cloud",
        "flannel-cni-plugin:v1.9.1-flannel3": "is the flannel plugin of containernetworking's plugins 0.9.1",
        "containerd.io": "is containerd 2.4.2 from its Go module, with Debian's runc",
    },
)
EDITIONS = (SOURCE, CURRENT)
GO = _GO


def edition(kubernetes: str) -> Edition:
    """Return the edition of a version such as "1.37" or "1.37.2"; raises ProvisionerError if there is none."""
    for each in EDITIONS:
        if kubernetes in (each.minor, each.kubernetes):
            return each
    known = sorted(EDITIONS, key=lambda each: Version.parse(each.kubernetes))
    raise ProvisionerError(
        f"Kubernetes {kubernetes} cannot be built from package registries",
        f"use {' or '.join(each.minor for each in known)}",
    )
