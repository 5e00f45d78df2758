"""The editions of the mirror: one for each Kubernetes version that package registries offer, and what goes with it.

Names and tags are those of kubeadm's constants (cmd/kubeadm/app/constants) and of the catalogue; a program of another
version under such a tag is listed in `substitutes`.
"""

from dataclasses import dataclass, field

from provisioner.errors import ProvisionerError
from provisioner.lab.mirror.goprograms import GO, Program
from provisioner.version import Version

_NO_FLANNEL = 'of that age is not on the Go module proxy; use cluster.network = "bridge"'
METRICS_SERVER = Program("metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server", "v0.9.0", GO)


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


def _of_modules(kubernetes: str, *, etcd: str, coredns: str, agnhost: str, crictl: str) -> Edition:
    """Return the edition of a current Kubernetes, see kubernetes_modules.py, with what fits any of them."""
    return Edition(
        kubernetes=kubernetes,
        etcd_tag=f"{etcd}-0",
        coredns="coredns/coredns",
        coredns_tag=f"v{coredns}",
        pause_tags=("3.10.2",),
        agnhost=agnhost,
        agnhost_tag="2.53",
        nginx_tag="1.28.0",
        metallb="0.16.1",
        traefik="3.7.13",
        programs=(
            *_metallb("0.16.1", GO),
            Program("coredns", "github.com/coredns/coredns", f"v{coredns}", GO),
            METRICS_SERVER,
            *(
                Program(name, f"go.etcd.io/etcd/{module}/v3", f"v{etcd}", GO, f"go.etcd.io/etcd/{module}/v3")
                for name, module in {"etcd": "server", "etcdctl": "etcdctl", "etcdutl": "etcdutl"}.items()
            ),
            Program("crictl", "sigs.k8s.io/cri-tools/cmd/crictl", f"v{crictl}", GO),
            Program("install-conf", "github.com/flannel-io/flannel/cmd/install_conf", "v0.28.9", GO),
            # Where flannel's plugin was before it moved to a repository of its own, which is not on the Go module
            # proxy.
            Program("flannel-plugin", "github.com/containernetworking/plugins/plugins/meta/flannel", "v0.9.1", GO),
            *(
                Program(name, f"github.com/containerd/containerd/v2/cmd/{name}", "v2.4.2", GO)
                for name in ("containerd", "containerd-shim-runc-v2", "ctr")
            ),
        ),
        flannel="0.28.9",
        flannel_plugin_tag="v1.9.1-flannel3",
        containerd="2.4.2",
        substitutes={
            "agnhost:2.53": f"is {agnhost}, from the module of Kubernetes {kubernetes}",
            "flannel:v0.28.9": "is built without the backend for Tencent Cloud",
            "flannel-cni-plugin:v1.9.1-flannel3": "is the flannel plugin of containernetworking's plugins 0.9.1",
            "containerd.io": "is containerd 2.4.2 from its Go module, with Debian's runc",
        },
    )


# etcd and CoreDNS as in kubeadm's constants, agnhost as in test/images/agnhost/VERSION of each.
CURRENT = _of_modules("1.37.2", etcd="3.7.0", coredns="1.14.6", agnhost="2.66.1", crictl="1.37.0")
# What a cluster of the current version is upgraded from: the minor before it, and a patch of the same minor.
PREVIOUS = _of_modules("1.36.4", etcd="3.6.8", coredns="1.14.2", agnhost="2.63.0", crictl="1.36.0")
PATCH = _of_modules("1.37.1", etcd="3.7.0", coredns="1.14.6", agnhost="2.66.1", crictl="1.37.0")
EDITIONS = (SOURCE, PREVIOUS, PATCH, CURRENT)


def edition(kubernetes: str) -> Edition:
    """Return the edition of a version such as "1.37.1", or of the newest patch of a minor such as "1.37".

    Raises ProvisionerError if there is none.
    """
    known = sorted(EDITIONS, key=lambda each: Version.parse(each.kubernetes))
    fitting = [each for each in known if kubernetes in (each.minor, each.kubernetes)]
    if not fitting:
        raise ProvisionerError(
            f"Kubernetes {kubernetes} cannot be built from package registries",
            f"use one of {', '.join(dict.fromkeys(each.minor for each in known))} for its newest patch, or one of "
            f"{', '.join(each.kubernetes for each in known)}",
        )
    return fitting[-1]
