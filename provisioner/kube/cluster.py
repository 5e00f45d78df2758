"""The cluster through its API: objects as plain dicts, server-side apply, diffs, waits."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from provisioner.errors import ClusterError
from provisioner.kube.access import SiteAccess
from provisioner.kube.api import refusal, status_message
from provisioner.kube.cluster_view import ClusterView, Lines
from provisioner.kube.objects import FIELD_MANAGER, Object, difference, join_name, object_name, with_port_protocols
from provisioner.ssh import Host

if TYPE_CHECKING:
    from provisioner.site import Site


T = TypeVar("T")
# 1.20's API server has no field management for these and closes the connection on a server-side apply.
_MERGED_KINDS = ("APIService",)
_MAX_READS = 5  # of an object that others keep changing
IMPATIENT = 3.0  # seconds (scaled) that a plan waits for anything at most
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
        if self._api.patience is not None:  # ends a webhook that does not answer, with an error that names it
            query["timeout"] = f"{math.ceil(self.timeout(IMPATIENT))}s"
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

    def diffs_exactly(self, manifests: Sequence[Mapping[str, Any]]) -> Lines:
        """Return the diff of each manifest that `overwrite` would make, 4 in parallel; "" for no change."""
        self._api.discover_all({str(manifest["apiVersion"]) for manifest in manifests})
        with ThreadPoolExecutor(4) as pool:
            return [*pool.map(self._diff_exactly, manifests)]

    def _diff_exactly(self, manifest: Mapping[str, Any]) -> str:
        live, wanted = self._replaced(manifest, dry_run=True)
        return difference(object_name(manifest), live, wanted)

    def overwrite(self, manifest: Mapping[str, Any]) -> None:
        """Give an object what a manifest says and, other than `apply`, nothing that somebody added to it since.

        Labels and annotations of others stay, and so does everything that is not in the manifest at its top level.
        """
        self._replaced(manifest, dry_run=False)

    def _replaced(self, manifest: Mapping[str, Any], *, dry_run: bool) -> tuple[Object | None, Object]:
        """Return the live object and what a replacement makes of it; None and the manifest if it does not exist."""
        metadata, kind = manifest["metadata"], manifest["kind"]
        for attempts_left in reversed(range(_MAX_READS)):
            live = self.get(kind, metadata["name"], metadata.get("namespace"), manifest["apiVersion"])
            if live is None:
                return None, dict(manifest) if dry_run else self.apply(manifest)
            body = {**live, **manifest, "metadata": copy.deepcopy(live["metadata"])}
            for part in ("labels", "annotations"):
                if metadata.get(part):
                    body["metadata"][part] = {**(body["metadata"].get(part) or {}), **metadata[part]}
            query = {"fieldManager": FIELD_MANAGER} | ({"dryRun": "All"} if dry_run else {})
            path = self._api.path(manifest["apiVersion"], kind, metadata.get("namespace"), metadata["name"])
            status, answer = self._api.request("PUT", f"{path}?{urlencode(query)}", body)
            if status == 409 and attempts_left:  # somebody else has written it in between
                continue
            if status >= 400:
                raise refusal("replace", object_name(manifest), status, answer)
            return live, dict(json.loads(answer))
        raise AssertionError("the last attempt returns or raises")

    # --- pods ----------------------------------------------------------------------------------------------

    def exec(self, namespace: str, pod: str, command: Sequence[str], container: str = "", timeout: float = 30) -> str:
        """Run a command in a pod and return its stdout; raise ClusterError with its output if it fails."""
        return self._api.exec(namespace, pod, command, container, timeout)

    # --- waiting -------------------------------------------------------------------------------------------

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """Wait for nothing longer than a few seconds in this context: what is not ready is then an error that says so.

        A plan runs in it. Once the API has not answered, it is not asked again.
        """
        self._api.patience = IMPATIENT
        try:
            yield
        finally:
            self._api.patience = None

    def wait(
        self, what: str, poll: Callable[[], T | None], timeout: float, explain: Callable[[], str] = lambda: ""
    ) -> T:
        """Poll until the result is true, and return it; a ClusterError counts as "not yet".

        what: for "waiting for WHAT". timeout: seconds (scaled). explain: returns lines (events, logs) for the error;
        while waiting, the last of them is shown as progress from time to time. Raise ClusterError at the timeout.
        """
        started = time.monotonic()
        deadline = started + self._api.patient(self.timeout(timeout))
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
