"""Build kubeadm's configuration in the API version of a Kubernetes version.

v1beta2 before 1.22, v1beta3 for 1.22–1.30, v1beta4 from 1.31 (kubernetes.io, "kubeadm Configuration"). In v1beta4
every extraArgs is a list of name and value, and timeouts are under `timeouts`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from provisioner.site import HostSpec, Site, hardening

Document = dict[str, Any]
PATCHES = "/var/lib/provisioner/kubeadm-patches"
# The static pods of a control plane, and the failureThreshold of their liveness probes, which run every ten seconds
# (cmd/kubeadm/app/util/staticpod/utils.go, LivenessProbe).
STATIC_PODS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
FAILURE_THRESHOLD = 8
TOKEN_LIFETIME = "1h0m0s"  # long enough for the slowest join, worthless the next day


def api_version(site: Site) -> str:
    """Return the `apiVersion` of kubeadm's configuration for the site's Kubernetes."""
    version = site.version
    beta = "v1beta4" if version.at_least(1, 31) else "v1beta3" if version.at_least(1, 22) else "v1beta2"
    return f"kubeadm.k8s.io/{beta}"


def init_documents(site: Site, host: HostSpec) -> list[Document]:
    """Return the documents for `kubeadm init` on the first control plane; they contain no secret."""
    return [
        {
            "apiVersion": api_version(site),
            "kind": "InitConfiguration",
            # kubeadm generates a token, which only has to expire soon: every join gets its own.
            "bootstrapTokens": [{"ttl": TOKEN_LIFETIME}],
            "localAPIEndpoint": local_endpoint(host),
            "nodeRegistration": _registration(site, host),
            **_timeouts(site),
            **_patches(site),
        },
        cluster_configuration(site),
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "cgroupDriver": "systemd",
            # The cluster's CA signs serving certificates, so that metrics-server can verify kubelets.
            hardening.BOOTSTRAP: True,
            **hardening.kubelet_configuration(site),
            **site.kubeadm.kubelet_configuration,
        },
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            **site.kubeadm.kube_proxy_configuration,
        },
    ]


def local_endpoint(host: HostSpec) -> Document:
    """Return the localAPIEndpoint of a control plane: its own API server, on the cluster's segment."""
    return {"advertiseAddress": host.address, "bindPort": 6443}


def cluster_configuration(site: Site) -> Document:
    """Return the ClusterConfiguration, which all control planes share."""
    extra = site.kubeadm
    api_server: Document = {
        "certSANs": _certificate_names(site),
        **_extra_args(site, {**hardening.api_server_flags(site), **extra.api_server}),
    }
    if volumes := hardening.api_server_volumes(site):
        api_server["extraVolumes"] = volumes
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
    if site.shared_endpoint:
        document["controlPlaneEndpoint"] = site.shared_endpoint
    return document


def join_document(site: Site, host: HostSpec, *, token: str, ca_hash: str, certificate_key: str = "") -> Document:
    """Return the JoinConfiguration; it contains the bootstrap token, so never log or keep it.

    token: `abcdef.0123456789abcdef`. ca_hash: `sha256:HEX` of the cluster CA's public key (RFC 7469 style).
    certificate_key: for an additional control plane, the key of the uploaded certificates.
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
            "localAPIEndpoint": local_endpoint(host),
            "certificateKey": certificate_key,
        }
        document |= _patches(site)
    return document


def patches(site: Site) -> dict[str, str]:
    """Return kubeadm's patches of a control plane's static pods by path; none unless the site is slow.

    On a slow site the kubelet must not restart these pods for being slow: a restarted API server has half a minute to
    write its roles while all clients reconnect at once, and exits if it does not succeed.
    """
    if not site.slow:
        return {}
    threshold = math.ceil(site.timeout(FAILURE_THRESHOLD))
    return {
        f"{PATCHES}/{name}+strategic.json": json.dumps(
            {"spec": {"containers": [{"name": name, "livenessProbe": {"failureThreshold": threshold}}]}}
        )
        + "\n"
        for name in STATIC_PODS
    }


def patches_flag(site: Site) -> str:
    """Return the flag for the patches of a kubeadm whose configuration has no field for them (before v1beta3)."""
    return f" --experimental-patches {PATCHES}" if site.slow and api_version(site).endswith("v1beta2") else ""


def _patches(site: Site) -> Document:
    if not site.slow or api_version(site).endswith("v1beta2"):
        return {}
    return {"patches": {"directory": PATCHES}}


CONTROL_PLANE_KEYS = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
"""kubeadm's label and taint of a control plane: until 1.24 the second, then for some versions both."""


def control_plane_taint(site: Site) -> str:
    """Return the key of the taint that kubeadm puts on a control plane: `…/master` before 1.24."""
    return CONTROL_PLANE_KEYS[0 if site.version.at_least(1, 24) else 1]


def _registration(site: Site, host: HostSpec) -> Document:
    scheme = "unix://" if site.version.at_least(1, 24) else ""
    kubelet = {"node-ip": host.address, **site.kubeadm.kubelet}
    document: Document = {
        "name": host.name,
        "criSocket": f"{scheme}/run/containerd/containerd.sock",
        "kubeletExtraArgs": _arguments(site, kubelet),
    }
    if site.kubeadm.ignore_preflight_errors:
        document["ignorePreflightErrors"] = list(site.kubeadm.ignore_preflight_errors)
    taints = _taints(host)
    if taints is not None:
        document["taints"] = taints
    return document


def _taints(host: HostSpec) -> list[Document] | None:
    """Return the taints at registration; None for kubeadm's default."""
    if host.is_control_plane and host.is_worker:
        return []
    return None


def _certificate_names(site: Site) -> list[str]:
    names = [spec.address for spec in site.control_planes] + [spec.name for spec in site.control_planes]
    # 127.0.0.1: the near end of an SSH tunnel to the API.
    names += [site.endpoint.rsplit(":", 1)[0].strip("[]"), "127.0.0.1", "localhost"]
    return list(dict.fromkeys(names))


def _key_algorithm(site: Site) -> Document:
    """Return the key algorithm: a field in v1beta4, a feature gate before."""
    if site.kubeadm.key_algorithm == "RSA-2048":
        return {}  # kubeadm's default
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
            # Also how long init waits for the API server (EnsureAdminClusterRoleBinding in phases/kubeconfig), one
            # minute by default.
            "kubernetesAPICall": timeout,
            "tlsBootstrap": timeout,
        }
    }
