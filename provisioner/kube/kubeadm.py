"""Build kubeadm's configuration for the API version that a Kubernetes version needs.

v1beta2 below 1.22, v1beta3 for 1.22–1.30, v1beta4 from 1.31 (kubernetes.io, "kubeadm Configuration"). In v1beta4
every extraArgs is a list of name and value, and timeouts moved under `timeouts`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from provisioner.site import HostSpec, Site

Document = dict[str, Any]
PATCHES = "/var/lib/provisioner/kubeadm-patches"
# The static pods of a control plane, and how often kubeadm lets each miss its liveness probe, ten seconds apart
# (cmd/kubeadm/app/util/staticpod/utils.go, LivenessProbe).
STATIC_PODS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
MISSES = 8
TOKEN_LIFETIME = "1h0m0s"  # long enough for the slowest join, short enough to be worthless tomorrow


def api_version(site: Site) -> str:
    """Return the kubeadm config API version for the site's Kubernetes, as in `apiVersion`."""
    version = site.version
    beta = "v1beta4" if version.at_least(1, 31) else "v1beta3" if version.at_least(1, 22) else "v1beta2"
    return f"kubeadm.k8s.io/{beta}"


def init_documents(site: Site, host: HostSpec) -> list[Document]:
    """Return the documents for `kubeadm init` on the first control plane; none holds a secret."""
    return [
        {
            "apiVersion": api_version(site),
            "kind": "InitConfiguration",
            # No token is given: kubeadm makes a random one; it only has to die soon, since joins get their own.
            "bootstrapTokens": [{"ttl": TOKEN_LIFETIME}],
            "localAPIEndpoint": {"advertiseAddress": host.address, "bindPort": 6443},
            "nodeRegistration": _registration(site, host),
            **_timeouts(site),
            **_patched(site),
        },
        cluster_configuration(site),
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "cgroupDriver": "systemd",
            # Serving certificates signed by the cluster's CA, so that metrics-server can verify kubelets.
            "serverTLSBootstrap": True,
            **site.kubeadm.kubelet_configuration,
        },
        {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration"},
    ]


def cluster_configuration(site: Site) -> Document:
    """Return the ClusterConfiguration: what all control planes share."""
    extra = site.kubeadm
    api_server: Document = {
        "certSANs": _certificate_names(site),
        **_extra_args(site, extra.api_server),
    }
    if not _is_v1beta4(site):
        api_server["timeoutForControlPlane"] = _init_timeout(site)
    document: Document = {
        "apiVersion": api_version(site),
        "kind": "ClusterConfiguration",
        "clusterName": site.cluster.name,
        "kubernetesVersion": f"v{site.version}",
        "imageRepository": "registry.k8s.io",
        "networking": {"podSubnet": site.cluster.pod_cidr, "serviceSubnet": site.cluster.service_cidr},
        "apiServer": api_server,
        "controllerManager": _extra_args(site, extra.controller_manager),
        "scheduler": _extra_args(site, extra.scheduler),
        "etcd": {"local": {"dataDir": "/var/lib/etcd", **_extra_args(site, extra.etcd)}},
        **_key_algorithm(site),
    }
    if site.cluster.endpoint:
        document["controlPlaneEndpoint"] = site.endpoint
    return document


def join_document(site: Site, host: HostSpec, *, token: str, ca_hash: str, certificate_key: str = "") -> Document:
    """Return the JoinConfiguration; it holds the bootstrap token, so it is never logged nor kept.

    token: `abcdef.0123456789abcdef`. ca_hash: `sha256:HEX` of the cluster CA's public key (RFC 7469 style).
    certificate_key: for a further control plane, the key of the uploaded certificates.
    """
    document: Document = {
        "apiVersion": api_version(site),
        "kind": "JoinConfiguration",
        "discovery": {
            "bootstrapToken": {
                "token": token,
                "apiServerEndpoint": site.endpoint,
                "caCertHashes": [ca_hash],
            },
            "tlsBootstrapToken": token,
        },
        "nodeRegistration": _registration(site, host),
        **_timeouts(site),
    }
    if not _is_v1beta4(site):
        document["discovery"]["timeout"] = _init_timeout(site)
    if host.is_control_plane:
        document["controlPlane"] = {
            "localAPIEndpoint": {"advertiseAddress": host.address, "bindPort": 6443},
            "certificateKey": certificate_key,
        }
        document |= _patched(site)
    return document


def patches(site: Site) -> dict[str, str]:
    """Return the files, by path, that kubeadm lays over a control plane's static pods; none but on a slow site.

    There the kubelet ends none of them for being slow before all else is given up: an API server that begins anew has
    half a minute to write its roles, with everybody's connections coming back at once, and if it misses that it ends.
    """
    if not site.slow:
        return {}
    misses = math.ceil(site.timeout(MISSES))
    return {
        f"{PATCHES}/{name}+strategic.json": json.dumps(
            {"spec": {"containers": [{"name": name, "livenessProbe": {"failureThreshold": misses}}]}}
        )
        + "\n"
        for name in STATIC_PODS
    }


def patches_flag(site: Site) -> str:
    """Return what tells a kubeadm of the patches whose configuration has no word for them (below v1beta3)."""
    return f" --experimental-patches {PATCHES}" if site.slow and api_version(site).endswith("v1beta2") else ""


def _patched(site: Site) -> Document:
    if not site.slow or api_version(site).endswith("v1beta2"):
        return {}
    return {"patches": {"directory": PATCHES}}


CONTROL_PLANE_KEYS = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
"""What kubeadm calls a control plane, as label and as taint: the second until 1.24, both in between."""


def control_plane_taint(site: Site) -> str:
    """Return the taint key that kubeadm gives a control plane: `…/master` before 1.24."""
    return CONTROL_PLANE_KEYS[0 if site.version.at_least(1, 24) else 1]


def _registration(site: Site, host: HostSpec) -> Document:
    scheme = "unix://" if site.version.at_least(1, 24) else ""
    kubelet = {"node-ip": host.address, **site.kubeadm.kubelet}
    document: Document = {
        "name": host.name,
        "criSocket": f"{scheme}/run/containerd/containerd.sock",
        "kubeletExtraArgs": _arguments(site, kubelet),
    }
    taints = _taints(host)
    if taints is not None:
        document["taints"] = taints
    return document


def _taints(host: HostSpec) -> list[Document] | None:
    """Return the taints at registration; None leaves kubeadm's own default in place."""
    if host.is_control_plane and host.is_worker:
        return []
    return None


def _certificate_names(site: Site) -> list[str]:
    names = [spec.address for spec in site.control_planes] + [spec.name for spec in site.control_planes]
    # 127.0.0.1: where the API is reached through an SSH tunnel.
    names += [site.endpoint.rsplit(":", 1)[0].strip("[]"), "127.0.0.1", "localhost"]
    return list(dict.fromkeys(names))


def _key_algorithm(site: Site) -> Document:
    """Return what makes kubeadm's keys: a field of its own in v1beta4, a feature gate before."""
    if site.kubeadm.key_algorithm == "RSA-2048":
        return {}  # kubeadm's own default
    if _is_v1beta4(site):
        return {"encryptionAlgorithm": site.kubeadm.key_algorithm}
    return {"featureGates": {"PublicKeysECDSA": True}}


def _is_v1beta4(site: Site) -> bool:
    return api_version(site).endswith("v1beta4")


def _arguments(site: Site, arguments: Mapping[str, str]) -> Any:
    if _is_v1beta4(site):
        return [{"name": name, "value": value} for name, value in arguments.items()]
    return dict(arguments)


def _extra_args(site: Site, arguments: Mapping[str, str]) -> Document:
    return {"extraArgs": _arguments(site, arguments)} if arguments else {}


def _init_timeout(site: Site) -> str:
    return f"{int(site.timeout(site.kubeadm.init_seconds))}s"


def _timeouts(site: Site) -> Document:
    if not _is_v1beta4(site):
        return {}
    timeout = _init_timeout(site)
    return {
        "timeouts": {
            "controlPlaneComponentHealthCheck": timeout,
            "discovery": timeout,
            "kubeletHealthCheck": timeout,
            "tlsBootstrap": timeout,
        }
    }
