"""A plan waits for nothing: how long an API that does not answer is asked, and how often."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from provisioner.errors import ApiUnreachable, ClusterError
from provisioner.kube import Cluster
from provisioner.kube.access import Access
from provisioner.kube.api import Api
from provisioner.kube.cluster import IMPATIENT
from provisioner.ssh import Host
from tests.hosts_toml import site


class _Access:
    """An API server that is told what to do; timeouts are a hundredth."""

    server, remedy = "https://api:6443", "switch it on"

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.requests: list[tuple[str, str, float]] = []

    def timeout(self, seconds: float) -> float:
        return seconds / 100

    def kubeconfig(self) -> dict[str, Any]:
        return {}

    def connect(self) -> Any:
        return self

    def close(self) -> None:
        pass

    def request(self, method: str, path: str, body: Any, content_type: str, timeout: float) -> tuple[int, bytes]:
        del body, content_type
        self.requests.append((method, path, timeout))
        answer = self.answers.pop(0) if self.answers else OSError("refused")
        if isinstance(answer, OSError):
            raise answer
        return cast("tuple[int, bytes]", answer)


@pytest.fixture
def access() -> _Access:
    return _Access()


@pytest.fixture
def cluster(access: _Access) -> Cluster:
    here = site()
    cluster = Cluster(here, dict.fromkeys((spec.name for spec in here.hosts), cast(Host, None)))
    cluster._api = Api(cast(Access, access))
    return cluster


def test_a_silent_api_is_not_asked_again_in_a_plan(cluster: Cluster, access: _Access) -> None:
    with cluster.impatient():
        for _ in range(3):
            with pytest.raises(ApiUnreachable, match="refused"):
                cluster.raw("/version")
    asked = len(access.requests)
    assert {timeout for _, _, timeout in access.requests} == {2 * IMPATIENT / 100}
    access.answers = [(200, b'{"major": "1"}')]
    assert cluster.raw("/version") == {"major": "1"}
    assert len(access.requests) == asked + 1


def test_a_wait_ends_early_in_a_plan_and_says_what_it_waited_for(cluster: Cluster) -> None:
    def never() -> None:
        raise ClusterError("kube-proxy is missing")

    started = time.monotonic()
    with cluster.impatient(), pytest.raises(ClusterError, match=r"for the webhook \(kube-proxy is missing\)"):
        cluster.wait("the webhook", never, 3600)
    assert time.monotonic() - started < cluster.timeout(3600), "the limit of a plan, not the step's own"


def test_only_a_plan_tells_the_api_server_how_long_a_webhook_may_take(cluster: Cluster, access: _Access) -> None:
    kinds = b'{"resources": [{"name": "configmaps", "kind": "ConfigMap", "namespaced": true}]}'
    access.answers = [(200, kinds), (200, b"{}"), (200, b"{}")]
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"}}
    with cluster.impatient():
        cluster.apply(manifest, dry_run=True)
    cluster.apply(manifest)
    paths = [path for method, path, _ in access.requests if method == "PATCH"]
    assert ["timeout=1s" in path for path in paths] == [True, False]
