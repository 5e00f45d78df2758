"""Metrics that require a token: MetalLB's from 0.16, over HTTPS at each pod's own address.

The API's pod proxy strips the Authorization header (apiserver/pkg/endpoints/filters), so such a pod is read from its
own node, through SSH. Its certificate is self-signed (controller-runtime, SecureServing); the node's SSH host key
vouches for the peer. The token lasts ten minutes, allows /metrics only, and stays in memory.
"""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Mapping

from provisioner.errors import ClusterError
from provisioner.kube import ClusterView, Object, templates
from provisioner.l2.collect.nodes import host_of
from provisioner.ssh import Host

ACCOUNT = "provisioner-metrics"  # metallb/metrics.yaml
REMEDY = f"kubectl create -f {templates.shipped('metallb/metrics.yaml')}"
SECONDS = 600  # the shortest lifetime that the API grants (TokenRequestSpec.expirationSeconds)
# Unknown user; not allowed; MetalLB itself may not ask the API about the user (controller-runtime, filters).
_REFUSALS = (401, 403, 500)


class MetricsClient:
    """Reads pods' metrics with a token, requested on first use."""

    def __init__(self, cluster: ClusterView, hosts: Mapping[str, Host] | None, namespace: str) -> None:
        self._cluster = cluster
        self._hosts = hosts
        self._namespace = namespace
        self._token = ""
        self._lock = threading.Lock()

    def token(self) -> str:
        """Return the token. Raises ClusterError, with the remedy, if MetalLB's service account for it is missing."""
        with self._lock:
            if not self._token:
                token = self._cluster.token(self._namespace, ACCOUNT, SECONDS)
                if token is None:
                    raise ClusterError(
                        f"they require a token, and there is no ServiceAccount {ACCOUNT} in "
                        f"{self._namespace}: {REMEDY}"
                    )
                self._token = token
            return self._token

    def metrics(self, pod: Object, port: int) -> str:
        """Return the metrics at a port of a pod's own address. Raises ClusterError or HostError."""
        token, status = self.token(), pod.get("status") or {}
        node, address = pod["spec"].get("nodeName") or "", status.get("podIP") or status.get("hostIP") or ""
        hosts = self._hosts
        if hosts is None:
            raise ClusterError("the API's proxy drops the token that they require, and there is no SSH to the node")
        name = host_of(node, [status.get("hostIP") or ""], hosts)
        if name is None or not address:
            raise ClusterError(f"the API's proxy drops tokens, and its node {node or '(none)'} is not in hosts.toml")
        place = f"https://{address}:{port}/metrics, requested from {name},"
        with hosts[name].tunnel(address, port) as tunnel:
            connection = http.client.HTTPSConnection(
                tunnel.address, tunnel.port, timeout=self._cluster.timeout(10), context=_unverified()
            )
            try:
                connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"})
                answer = connection.getresponse()
                text = answer.read().decode(errors="replace")
            except (OSError, http.client.HTTPException) as error:
                raise ClusterError(f"{place} does not answer: {error}") from error
            finally:
                connection.close()
        if answer.status in _REFUSALS:
            raise ClusterError(f"it does not accept the token of {ACCOUNT} ({answer.status}): {REMEDY}")
        if answer.status != 200:
            raise ClusterError(f"{place} answers with status {answer.status}")
        return text


def _unverified() -> ssl.SSLContext:
    """Return a context that accepts any certificate: the pod signs its own, and publishes no fingerprint."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
