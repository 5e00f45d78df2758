"""A Cluster in memory for unit tests: kube.Cluster's methods over a list of plain objects.

Like client-go's fake clientset, it stores what it is given and validates nothing; what a real API server does to an
object is shown by the integration tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from provisioner.errors import ApiUnreachable, ClusterError
from provisioner.kube import ApiState, Object
from provisioner.kube.objects import difference


class FakeCluster:
    """Store objects and record requests.

    api, api_error: whether the API answers, and if not, why.
    errors: what a read raises, by kind or path. answers: what a GET of a path returns.
    shell: what a command in a pod prints. budgets: by pod, why its disruption budget forbids an eviction.
    admit: an admission plugin, asked in a dry run.
    on_merge, on_delete: stand in for controllers, called after the write.
    reads: the kinds and paths that were read. progress_lines: what was reported while waiting.
    """

    def __init__(self, *objects: Object, api: ApiState = ApiState.READY, kubeconfig: Object | None = None) -> None:
        self.objects = list(objects)
        self.api = api
        self.api_error = "connection refused"
        self.admin_conf = kubeconfig
        self.errors: dict[str, Exception] = {}
        self.answers: dict[str, Any] = {}
        self.shell: Callable[[str, Sequence[str]], str] = lambda pod, command: ""
        self.budgets: dict[str, str] = {}
        self.admit: Callable[[Object], object] = lambda manifest: None
        self.on_merge: Callable[[str, str, Object], object] = lambda kind, name, patch: None
        self.on_delete: Callable[[str, str], object] = lambda kind, name: None
        self.reads: list[str] = []
        self.applied: list[Object] = []
        self.merged: list[tuple[str, str, Object]] = []
        self.deleted: list[tuple[str, str, str]] = []  # (kind, namespace, name)
        self.evicted: list[str] = []
        self.waits: list[str] = []
        self.disconnects = 0
        self.patient = True
        self.progress_lines: list[str] = []
        self.progress: Callable[[str], None] = self.progress_lines.append

    # --- for tests ---------------------------------------------------------------------------------------------

    def hold(self, *objects: Object) -> FakeCluster:
        """Store objects, each in place of one of the same kind, namespace and name."""
        for item in objects:
            self.objects = [one for one in self.objects if _identity(one) != _identity(item)] + [item]
        return self

    def live(self, kind: str, name: str, namespace: str = "") -> Object:
        """Return an object that has to be there, without a request."""
        (found,) = [one for one in self.objects if _identity(one) == (kind, namespace, name)]
        return found

    def names(self, kind: str) -> list[str]:
        """Return the names of all objects of a kind, without a request."""
        return [one["metadata"]["name"] for one in self.objects if one["kind"] == kind]

    # --- connection --------------------------------------------------------------------------------------------

    def state(self) -> ApiState:
        return self.api

    def reachable(self) -> bool:
        return self.api is ApiState.READY

    def disconnect(self) -> None:
        self.disconnects += 1

    server = ""

    def kubeconfig(self) -> Object | None:
        return self.admin_conf

    # --- reading -----------------------------------------------------------------------------------------------

    def raw(self, path: str, retry_for: float = 30) -> Any:
        self._request(path)
        if path not in self.answers:
            raise ClusterError(f"the API refused to GET {path}: not found (404)")
        return self.answers[path]

    def list(
        self, kind: str, namespace: str | None = None, api_version: str = "v1", labels: str = "", fields: str = ""
    ) -> list[Object]:
        self._request(kind)
        wanted = dict(part.split("=") for part in labels.split(",") if part).items()
        path, _, value = fields.partition("=")
        return [
            one
            for one in self.objects
            if one["kind"] == kind
            and one.get("apiVersion", api_version) == api_version
            and namespace in (None, one["metadata"].get("namespace"))
            and wanted <= (one["metadata"].get("labels") or {}).items()
            and (not fields or _field(one, path) == value)
        ]

    def get(self, kind: str, name: str, namespace: str | None = None, api_version: str = "v1") -> Object | None:
        found = self.list(kind, namespace, api_version)
        return next((one for one in found if one["metadata"]["name"] == name), None)

    def nodes(self) -> dict[str, Object]:
        return {one["metadata"]["name"]: one for one in self.list("Node")}

    def events(self, namespace: str, name: str = "") -> Sequence[str]:
        return [f"Warning Something about {namespace}/{name}"]

    def logs(self, namespace: str, pod: str, container: str = "", lines: int = 20, previous: bool = False) -> str:
        return f"log of {namespace}/{pod} {container} {lines} {previous}"

    def diff(self, manifest: Mapping[str, Any]) -> str:
        metadata = manifest["metadata"]
        live = self.get(manifest["kind"], metadata["name"], metadata.get("namespace"), manifest["apiVersion"])
        return difference(f"{manifest['kind']}/{metadata['name']}", live, manifest)

    def diffs(self, manifests: Iterable[Mapping[str, Any]]) -> Sequence[str]:
        return [self.diff(manifest) for manifest in manifests]

    def diffs_exactly(self, manifests: Iterable[Mapping[str, Any]]) -> Sequence[str]:
        return self.diffs(manifests)

    def overwrite(self, manifest: Object) -> None:
        self.apply(manifest)

    # --- writing -----------------------------------------------------------------------------------------------

    def apply(self, manifest: Object, *, dry_run: bool = False) -> Object:
        """Store an object; like a real API server, refuse a nodePort that another Service has."""
        self._answer()
        if dry_run:
            self.admit(manifest)
            return manifest
        others = [one for one in self.objects if _identity(one) != _identity(manifest)]
        taken = _node_ports(manifest) & {port for one in others for port in _node_ports(one)}
        if taken:
            raise ClusterError(
                "the API refused to apply Service: spec.ports[0].nodePort: "
                f"Invalid value: {min(taken)}: provided port is already allocated (422)"
            )
        self.applied.append(manifest)
        self.hold(manifest)
        return manifest

    def merge(self, kind: str, name: str, patch: Object, **where: Any) -> Object:
        self._answer()
        one = self.live(kind, name, where.get("namespace") or "")
        self.merged.append((kind, name, patch))
        _merge(one, patch)
        self.on_merge(kind, name, patch)
        return one

    def delete(
        self, kind: str, name: str, namespace: str | None = None, api_version: str = "v1", *, version: str = ""
    ) -> None:
        self._answer()
        found = [one for one in self.objects if _identity(one) == (kind, namespace or "", name)]
        if version and any(one["metadata"].get("resourceVersion") != version for one in found):
            raise ClusterError(f"the API refused to delete {kind} {name}: Precondition failed (409)")
        self.deleted.append((kind, namespace or "", name))
        self.objects = [one for one in self.objects if one not in found]
        self.on_delete(kind, name)

    def evict(self, namespace: str, pod: str) -> str:
        self._answer()
        self.evicted.append(f"{namespace}/{pod}")
        refusal = self.budgets.get(f"{namespace}/{pod}", "")
        if not refusal:
            self.objects = [one for one in self.objects if _identity(one) != ("Pod", namespace, pod)]
        return refusal

    def exec(self, namespace: str, pod: str, command: Sequence[str], container: str = "", timeout: float = 30) -> str:
        self._answer()
        return self.shell(pod, command)

    # --- waiting -----------------------------------------------------------------------------------------------

    @contextmanager
    def impatient(self) -> Iterator[None]:
        self.patient = False
        yield
        self.patient = True

    def wait(self, what: str, look: Callable[[], Any], timeout: float, why: Callable[[], str] = lambda: "") -> Any:
        """Look like kube.Cluster, but ten times without a pause instead of `timeout` seconds."""
        self.waits.append(what)
        last = ""
        for _ in range(10 if timeout else 1):
            try:
                if found := look():
                    return found
            except ClusterError as error:
                last = str(error)
            self.progress(f"waiting for {what}")
        raise ClusterError(f"waited {timeout:.0f} s for {what}" + (f" ({last})" if last else ""), tail=why())

    def _request(self, about: str) -> None:
        self.reads.append(about)
        self._answer()
        if about in self.errors:
            raise self.errors[about]

    def _answer(self) -> None:
        if self.api is not ApiState.READY:
            raise ApiUnreachable(f"the API does not answer: {self.api_error}")


def _identity(item: Mapping[str, Any]) -> tuple[str, str, str]:
    return item["kind"], item["metadata"].get("namespace") or "", item["metadata"]["name"]


def _field(item: Object, path: str) -> Any:
    value: Any = item
    for key in path.split("."):
        value = value.get(key, {})
    return value


def _node_ports(item: Mapping[str, Any]) -> set[int]:
    ports = item.get("spec", {}).get("ports", ()) if item["kind"] == "Service" else ()
    return {port["nodePort"] for port in ports if port.get("nodePort")}


def _merge(target: Object, patch: Mapping[str, Any]) -> None:
    """Apply a JSON merge patch in place (RFC 7396)."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, Mapping):
            _merge(target.setdefault(key, {}), value)
        else:
            target[key] = value
