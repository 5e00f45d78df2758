"""The cluster through its API: objects as plain dicts, server-side apply, diffs, waits."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlencode

from provisioner.errors import ClusterError
from provisioner.kube.access import SiteAccess
from provisioner.kube.api import refusal, status_message
from provisioner.kube.cluster_view import ClusterView, Lines
from provisioner.kube.objects import FIELD_MANAGER, Object, difference, join_name, object_name, with_port_protocols
from provisioner.site import Site
from provisioner.ssh import Host

T = TypeVar("T")
# 1.20's API server has no field management for these and closes the connection on a server-side apply.
_MERGED_KINDS = ("APIService",)
_MAX_READS = 5  # of an object that others keep changing
EXPLAIN_AFTER = 15.0  # seconds (scaled) after which a wait reports what it is waiting on


class Cluster(ClusterView):
    """The Kubernetes API of a site, also for writing."""

    def __init__(self, site: Site, hosts: Mapping[str, Host]) -> None:
        super().__init__(SiteAccess(site, hosts))
        self.site = site
        self.progress: Callable[[str], None] = lambda text: None

    # --- writing -------------------------------------------------------------------------------------------

    def apply(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Server-side apply an object as our field manager, taking over conflicting fields."""
        metadata, name = manifest["metadata"], manifest["metadata"]["name"]
        path = self._api.path(manifest["apiVersion"], manifest["kind"], metadata.get("namespace"), name)
        if path is None:
            raise ClusterError(
                f"the API has no kind {manifest['kind']} in {manifest['apiVersion']}",
                f"create the CustomResourceDefinition of {object_name(manifest)} first",
            )
        query = {"fieldManager": FIELD_MANAGER} | ({"dryRun": "All"} if dry_run else {})
        if manifest["kind"] in _MERGED_KINDS:
            status, body = self._create_or_merge(path, name, urlencode(query), manifest)
        else:
            query["force"] = "true"
            content_type = "application/apply-patch+yaml"
            status, body = self._api.request(
                "PATCH", f"{path}?{urlencode(query)}", with_port_protocols(manifest), content_type
            )
        if status >= 400:
            raise refusal("apply", object_name(manifest), status, body)
        return dict(json.loads(body))

    def merge(self, kind: str, name: str, patch: Mapping[str, Any], **where: Any) -> Object:
        """Merge-patch an object (RFC 7396); `subresource`, `namespace` and `api_version` as keywords."""
        path = self._api.path(where.get("api_version", "v1"), kind, where.get("namespace"), name)
        path = f"{path}/{where['subresource']}" if where.get("subresource") else path
        status, body = self._api.request("PATCH", str(path), dict(patch), "application/merge-patch+json")
        if status >= 400:
            raise refusal("patch", f"{kind} {join_name(name, where.get('namespace'))}", status, body)
        return dict(json.loads(body))

    def delete(
        self, kind: str, name: str, namespace: str | None = None, api_version: str = "v1", *, version: str = ""
    ) -> None:
        """Delete an object and, in the background, its dependents, as kubectl does; ignore one that does not exist.

        version: raise ClusterError if the object has another resourceVersion.
        """
        path = self._api.path(api_version, kind, namespace, name)
        if path is None:
            return
        # By default the API orphans the pods of a Job (pkg/registry/batch/job, for batch/v1).
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if version:
            options["preconditions"] = {"resourceVersion": version}
        status, body = self._api.request("DELETE", path, options)
        if status >= 400 and status != 404:
            raise refusal("delete", f"{kind} {join_name(name, namespace)}", status, body)

    def evict(self, namespace: str, pod: str) -> str:
        """Evict a pod (policy, Eviction); return "", or the reason if a PodDisruptionBudget forbids it now.

        Ignore a pod that does not exist. The API accepts policy/v1 from 1.22, v1beta1 before.
        """
        current = self.site.version.at_least(1, 22)
        eviction = {
            "apiVersion": "policy/v1" if current else "policy/v1beta1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
        }
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
        status, body = self._api.request("POST", path, eviction, retry_for=0)
        if status == 429:
            return status_message(body.decode(errors="replace"))
        if status >= 400 and status != 404:
            raise refusal("evict", f"Pod {namespace}/{pod}", status, body)
        return ""

    def diffs(self, manifests: Sequence[Mapping[str, Any]]) -> Lines:
        """Return the diff of each manifest as `diff` does, 4 in parallel."""
        self._api.discover_all({str(manifest["apiVersion"]) for manifest in manifests})
        with ThreadPoolExecutor(4) as pool:
            return [*pool.map(self.diff, manifests)]

    def diff(self, manifest: Mapping[str, Any]) -> str:
        """Return the unified diff of a server-side apply (a dry run), "" for no change.

        A dry run returns the resourceVersion that it started from. If it is not the one that was read, somebody else
        has written in between (an autoscaler keeps its status in annotations for autoscaling/v1), and the diff would
        show their change: read both again.
        """
        metadata = manifest["metadata"]
        for _ in range(_MAX_READS):
            live = self.get(manifest["kind"], metadata["name"], metadata.get("namespace"), manifest["apiVersion"])
            wanted = manifest if live is None else self.apply(manifest, dry_run=True)
            if live is None or wanted["metadata"].get("resourceVersion") == live["metadata"]["resourceVersion"]:
                break
        return difference(object_name(manifest), live, wanted)

    # --- pods ----------------------------------------------------------------------------------------------

    def exec(self, namespace: str, pod: str, command: Sequence[str], container: str = "", timeout: float = 30) -> str:
        """Run a command in a pod and return its stdout; raise ClusterError with its output if it fails."""
        return self._api.exec(namespace, pod, command, container, timeout)

    # --- waiting -------------------------------------------------------------------------------------------

    def wait(
        self, what: str, poll: Callable[[], T | None], timeout: float, explain: Callable[[], str] = lambda: ""
    ) -> T:
        """Poll until the result is true, and return it; a ClusterError counts as "not yet".

        what: for "waiting for WHAT". timeout: seconds (scaled). explain: returns lines (events, logs) for the error;
        while waiting, the last of them is shown as progress from time to time. Raise ClusterError at the timeout.
        """
        started = time.monotonic()
        deadline = started + self.timeout(timeout)
        explain_at = started + self.timeout(EXPLAIN_AFTER)
        last = because = ""
        while True:
            try:
                if found := poll():
                    return found
                last = ""
            except ClusterError as error:
                last = str(error)
            if time.monotonic() > deadline:
                waited = f"{time.monotonic() - started:.0f} s"
                raise ClusterError(
                    f"waited {waited} for {what}" + (f" ({last})" if last else ""), tail=_explained(explain)
                )
            if time.monotonic() > explain_at:
                explain_at = time.monotonic() + self.timeout(EXPLAIN_AFTER)
                because = "".join(_explained(explain).splitlines()[-1:])
            passed = f"{time.monotonic() - started:.0f} s"
            self.progress(f"waiting for {what} ({passed})" + (f": {because}" if because else ""))
            time.sleep(min(2.0, self.timeout(0.5)))

    def _create_or_merge(self, path: str, name: str, query: str, manifest: Mapping[str, Any]) -> tuple[int, bytes]:
        collection = path.removesuffix(f"/{name}")
        status, body = self._api.request("PATCH", f"{path}?{query}", dict(manifest), "application/merge-patch+json")
        return (status, body) if status != 404 else self._api.request("POST", f"{collection}?{query}", dict(manifest))


def _explained(explain: Callable[[], str]) -> str:
    try:
        return explain()
    except ClusterError as error:
        return f"(no explanation: {error})"
