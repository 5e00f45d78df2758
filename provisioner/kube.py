"""The cluster's API: the only module that imports the kubernetes client.

Objects are plain dicts. The API is reached directly or, where its address is out of reach from here, through an
SSH tunnel to a control plane. Credentials are read over SSH and held in memory only.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

import yaml

from provisioner.errors import ClusterError, HostError
from provisioner.objects import Object, difference, explicit

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

    from provisioner.host import Host
    from provisioner.site import Site
    from provisioner.tunnel import Tunnel

T = TypeVar("T")
Objects = list[Object]  # named before Cluster.list hides the built-in
Lines = list[str]
ADMIN_CONF = "/etc/kubernetes/admin.conf"
FIELD_MANAGER = "provisioner"
_BUSY = (429, 502, 503, 504)  # the API server asks to come again; etcd's own words for it come with a 500
_BUSY_WORDS = ("etcdserver:", "context deadline exceeded", "leader changed")
# An API server that serves these without field management (1.20) breaks off over a server-side apply of one.
_MERGED_KINDS = ("APIService",)


class State(Enum):
    """What is known of the API. UNREACHABLE is never read as ABSENT."""

    ABSENT = "no control plane has an admin.conf"
    UNREACHABLE = "the API does not answer"
    READY = "the API answers"


class Cluster:
    """The Kubernetes API of a site; connects at first use and again after `forget`."""

    def __init__(self, site: Site, hosts: Mapping[str, Host]) -> None:
        self.site = site
        self.progress: Callable[[str], None] = lambda text: None
        self._control_planes = [hosts[spec.name] for spec in site.control_planes]
        self._client: ApiClient | None = None
        self._config: dict[str, Any] | None = None
        self._tunnel: Tunnel | None = None
        self._kinds: dict[str, dict[str, tuple[str, bool]]] = {}
        self._server = ""
        self._connecting = threading.RLock()  # the hosts of a step share one connection, and one tunnel
        self.why = ""

    def forget(self) -> None:
        """Drop the connection and credentials (a control plane was made or removed)."""
        with self._connecting:
            if self._tunnel is not None:
                self._tunnel.close()
            self._client = self._config = self._tunnel = None
            self._kinds = {}

    close = forget

    def state(self) -> State:
        """Return whether the API is there; `why` then says what was seen."""
        if self.kubeconfig() is None:
            return State.ABSENT
        try:
            self.raw("/version", patience=0)
        except ClusterError as error:
            self.why = str(error)
            return State.UNREACHABLE
        return State.READY

    def reachable(self) -> bool:
        """Return whether the API answers now."""
        return self.state() is State.READY

    def kubeconfig(self) -> dict[str, Any] | None:
        """Return the administrator's kubeconfig as read from a control plane, None when none has one."""
        with self._connecting:
            if self._config is None:
                for host in self._control_planes:
                    text = host.run(f"cat {ADMIN_CONF} 2>/dev/null || true", secret=True).stdout
                    if text.strip():
                        self._config = yaml.safe_load(text)
                        break
            return self._config

    # --- reading -------------------------------------------------------------------------------------------

    def raw(self, path: str, patience: float = 30) -> Any:
        """Return what GET `path` answers: the parsed JSON, or text where it is none."""
        status, body = self._request("GET", path, patience=patience)
        if status >= 400:
            raise _refused("GET", path, status, body)
        try:
            return json.loads(body)
        except ValueError:
            return body.decode(errors="replace")

    def get(self, kind: str, name: str, namespace: str | None = None, api_version: str = "v1") -> Object | None:
        """Return one object, None when it (or its kind) does not exist."""
        path = self._path(api_version, kind, namespace, name)
        if path is None:
            return None
        status, body = self._request("GET", path)
        if status == 404:
            return None
        if status >= 400:
            raise _refused("GET", path, status, body)
        return dict(json.loads(body))

    def list(
        self, kind: str, namespace: str | None = None, api_version: str = "v1", labels: str = "", fields: str = ""
    ) -> Objects:
        """Return all objects of a kind; empty where the API has no such kind. Selectors as in kubectl."""
        path = self._path(api_version, kind, namespace, None)
        if path is None:
            return []
        query = {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
        answer = self.raw(f"{path}?{urlencode(query)}" if query else path)
        singular = answer["kind"].removesuffix("List")
        return [{"apiVersion": answer["apiVersion"], "kind": singular, **item} for item in answer["items"] or []]

    def nodes(self) -> dict[str, Object]:
        """Return the nodes by name."""
        return {node["metadata"]["name"]: node for node in self.list("Node")}

    def events(self, namespace: str, name: str = "") -> Lines:
        """Return a namespace's events as lines, oldest first; with `name`, those about that object."""
        fields = f"involvedObject.name={name}" if name else ""
        found = self.list("Event", namespace, fields=fields)
        found.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
        return [
            f"{event.get('type', '')} {event.get('reason', '')} {event['involvedObject'].get('kind', '')}/"
            f"{event['involvedObject'].get('name', '')}: {event.get('message', '')}"
            for event in found
        ]

    def logs(self, namespace: str, pod: str, container: str = "", lines: int = 20, previous: bool = False) -> str:
        """Return the last lines of a container's log; why it cannot be had, where it cannot."""
        query = {"tailLines": str(lines), "previous": str(previous).lower()}
        if container:
            query["container"] = container
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log?{urlencode(query)}"
        status, body = self._request("GET", path)
        text = body.decode(errors="replace")
        return text if status < 400 else f"(no log: {_message(text)})"

    # --- writing -------------------------------------------------------------------------------------------

    def apply(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Server-side apply one object as our field manager, taking over fields that others set."""
        metadata, name = manifest["metadata"], manifest["metadata"]["name"]
        path = self._path(manifest["apiVersion"], manifest["kind"], metadata.get("namespace"), name)
        label = f"{manifest['kind']} {metadata['name']}"
        if path is None:
            raise ClusterError(
                f"the API does not know {manifest['apiVersion']} {manifest['kind']}",
                f"{label} needs its definition (CRD) first",
            )
        query = {"fieldManager": FIELD_MANAGER} | ({"dryRun": "All"} if dry_run else {})
        if manifest["kind"] in _MERGED_KINDS:
            status, body = self._create_or_merge(path, name, urlencode(query), manifest)
        else:
            query["force"] = "true"
            content = "application/apply-patch+yaml"
            status, body = self._request("PATCH", f"{path}?{urlencode(query)}", explicit(manifest), content)
        if status >= 400:
            raise _refused("apply", label, status, body)
        return dict(json.loads(body))

    def merge(self, kind: str, name: str, patch: Mapping[str, Any], **where: Any) -> Object:
        """Merge-patch one object (RFC 7396); `subresource`, `namespace` and `api_version` as keywords."""
        path = self._path(where.get("api_version", "v1"), kind, where.get("namespace"), name)
        path = f"{path}/{where['subresource']}" if where.get("subresource") else path
        status, body = self._request("PATCH", str(path), dict(patch), "application/merge-patch+json")
        if status >= 400:
            raise _refused("patch", f"{kind} {name}", status, body)
        return dict(json.loads(body))

    def delete(self, kind: str, name: str, namespace: str | None = None, api_version: str = "v1") -> None:
        """Delete one object; one that is not there is fine."""
        path = self._path(api_version, kind, namespace, name)
        if path is None:
            return
        status, body = self._request("DELETE", path)
        if status >= 400 and status != 404:
            raise _refused("delete", f"{kind} {name}", status, body)

    def diffs(self, manifests: Sequence[Mapping[str, Any]]) -> Lines:
        """Return for each manifest what a server-side apply would change, "" for nothing (dry runs, 4 at once)."""
        for api_version in {str(manifest["apiVersion"]) for manifest in manifests} - self._kinds.keys():
            self._learn(api_version)
        with ThreadPoolExecutor(4) as pool:
            return [*pool.map(self.diff, manifests)]

    def diff(self, manifest: Mapping[str, Any]) -> str:
        """Return the unified diff that a server-side apply would cause, "" for none."""
        metadata = manifest["metadata"]
        live = self.get(manifest["kind"], metadata["name"], metadata.get("namespace"), manifest["apiVersion"])
        wanted = manifest if live is None else self.apply(manifest, dry_run=True)
        return difference(f"{manifest['kind']}/{metadata['name']}", live, wanted)

    # --- pods ----------------------------------------------------------------------------------------------

    def exec(self, namespace: str, pod: str, command: Sequence[str], container: str = "", timeout: float = 30) -> str:
        """Run a command in a pod and return its stdout. Raises ClusterError with stderr when it fails."""
        from kubernetes.client.exceptions import ApiException
        from kubernetes.stream.ws_client import WSClient, get_websocket_url
        from websocket import WebSocketException

        query = [("command", [*command]), ("stdout", "true"), ("stderr", "true")]
        query += [("container", container)] if container else []
        client = self._connect()
        url = get_websocket_url(f"{client.configuration.host}/api/v1/namespaces/{namespace}/pods/{pod}/exec", query)
        try:
            stream = WSClient(client.configuration, url, {}, True)
            stream.run_forever(timeout=self.site.timeout(timeout))
        except (OSError, ApiException, WebSocketException) as error:
            body = getattr(error, "resp_body", None)  # the API's own answer to the handshake
            reason = _message(body.decode(errors="replace")) if body else error
            raise ClusterError(f"cannot run a command in pod {namespace}/{pod}: {reason}") from error
        if stream.is_open():
            stream.close()
            raise ClusterError(f"{' '.join(command)} in pod {namespace}/{pod} took over {timeout:.0f} s (scaled)")
        out, err = stream.read_channel(1), stream.read_channel(2)
        if stream.returncode != 0:
            raise ClusterError(f"{' '.join(command)} failed in pod {namespace}/{pod}", tail=f"{out}{err}".strip())
        return str(out)

    # --- waiting -------------------------------------------------------------------------------------------

    def wait(self, what: str, look: Callable[[], T | None], timeout: float, why: Callable[[], str] = lambda: "") -> T:
        """Look until something true comes back and return it; errors of a busy API count as not yet.

        what: for "waiting for WHAT". timeout: seconds, scaled by the site. why: called once when time is up; its
        lines (events, logs) end up in the error. Raises ClusterError.
        """
        started = time.monotonic()
        deadline = started + self.site.timeout(timeout)
        last = ""
        while True:
            try:
                if found := look():
                    return found
                last = ""
            except ClusterError as error:
                last = str(error)
            if time.monotonic() > deadline:
                waited = f"{time.monotonic() - started:.0f} s"
                raise ClusterError(f"waited {waited} for {what}" + (f" ({last})" if last else ""), tail=_explain(why))
            self.progress(f"waiting for {what} ({time.monotonic() - started:.0f} s)")
            time.sleep(min(2.0, self.site.timeout(0.5)))

    # --- the wire ------------------------------------------------------------------------------------------

    def _create_or_merge(self, path: str, name: str, query: str, manifest: Mapping[str, Any]) -> tuple[int, bytes]:
        collection = path.removesuffix(f"/{name}")
        status, body = self._request("PATCH", f"{path}?{query}", dict(manifest), "application/merge-patch+json")
        return (status, body) if status != 404 else self._request("POST", f"{collection}?{query}", dict(manifest))

    def _learn(self, api_version: str) -> dict[str, tuple[str, bool]]:
        """Ask the API which kinds it has under an API version: kind -> plural name, whether in a namespace."""
        prefix = "/api" if "/" not in api_version else "/apis"
        status, body = self._request("GET", f"{prefix}/{api_version}")
        if status == 404:
            return {}
        if status >= 400:
            raise _refused("GET", api_version, status, body)
        found = {
            item["kind"]: (item["name"], item["namespaced"])
            for item in json.loads(body)["resources"]
            if "/" not in item["name"]
        }
        self._kinds[api_version] = found  # as a whole: other threads read it
        return found

    def _path(self, api_version: str, kind: str, namespace: str | None, name: str | None) -> str | None:
        """Return the URL path of an object or a collection, None when the API has no such kind."""
        # A kind that is not known may have been defined since.
        found = self._kinds.get(api_version, {}).get(kind) or self._learn(api_version).get(kind)
        if found is None:
            return None
        plural, namespaced = found
        prefix = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
        if namespaced and (namespace or name):
            prefix += f"/namespaces/{namespace or 'default'}"
        return f"{prefix}/{plural}" + (f"/{name}" if name else "")

    def _request(
        self, method: str, path: str, body: Any = None, content: str = "application/json", patience: float = 30
    ) -> tuple[int, bytes]:
        """Return status and body. An API that asks to come again is asked again for `patience` seconds (scaled)."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        deadline = time.monotonic() + self.site.timeout(patience)
        client = self._connect()
        headers = {"Content-Type": content, "Accept": "application/json"}
        while True:
            try:
                answer = client.call_api(
                    method,
                    f"{client.configuration.host}{path}",
                    dict(headers),
                    body,
                    _request_timeout=self.site.timeout(15),
                )
                answer.read()
                status, data = answer.status, answer.data or b""
                busy = status in _BUSY or (status == 500 and any(word.encode() in data for word in _BUSY_WORDS))
                if not busy or time.monotonic() > deadline:
                    return status, data
            except (HTTPError, ApiException, OSError) as error:
                if time.monotonic() > deadline:
                    raise ClusterError(
                        f"the API at {self._server} does not answer: {_reason(error)}",
                        "look at the control plane: provisioner ssh "
                        f"{self._control_planes[0].name} -- sudo crictl ps -a",
                    ) from error
            time.sleep(min(1.0, self.site.timeout(0.25)))

    def _connect(self) -> ApiClient:
        with self._connecting:
            if self._client is None:
                self._client = self._new_client()
            return self._client

    def _new_client(self) -> ApiClient:
        config = self.kubeconfig()
        if config is None:
            raise ClusterError("there is no cluster yet", "provisioner apply")
        from kubernetes.client import ApiClient, Configuration

        user, cluster = config["users"][0]["user"], config["clusters"][0]["cluster"]
        configuration = Configuration()
        configuration.host = self._address(str(cluster["server"]))
        configuration.tls_server_name = "kubernetes"  # in every API certificate, also through the tunnel
        configuration.ssl_ca_cert = _in_memory(cluster["certificate-authority-data"])
        configuration.cert_file = _in_memory(user["client-certificate-data"])
        configuration.key_file = _in_memory(user["client-key-data"])
        configuration.connection_pool_maxsize = 8
        configuration.retries = False
        configuration.no_proxy = "*"
        return ApiClient(configuration)

    def _address(self, server: str) -> str:
        """Return the API's URL: the server's own, or the near end of a tunnel when that is out of reach."""
        address, port = server.removeprefix("https://").rsplit(":", 1)
        self._server = server
        try:
            with socket.create_connection((address.strip("[]"), int(port)), timeout=self.site.timeout(3)):
                return server
        except OSError:
            host = self._control_planes[0]
            try:
                self._tunnel = host.forward(host.spec.address, 6443)
            except HostError as error:
                raise ClusterError(f"the API at {server} is out of reach, and so is {host.name}: {error}") from error
            self._server = f"{server} (through {host.name})"
            return f"https://{self._tunnel.address}:{self._tunnel.port}"


def connect(site: Site, hosts: Mapping[str, Host]) -> Cluster:
    """Return the site's Cluster; nothing is contacted before its first use."""
    return Cluster(site, hosts)


def approve_csr(cluster: Cluster, request: Object) -> None:
    """Approve a certificate signing request (certificates.k8s.io/v1, subresource `approval`)."""
    condition = {
        "type": "Approved",
        "status": "True",
        "reason": "ProvisionerApprove",
        "message": "a host of hosts.toml asks for its own kubelet's addresses",
    }
    cluster.merge(
        "CertificateSigningRequest",
        request["metadata"]["name"],
        {"status": {"conditions": [condition]}},
        api_version="certificates.k8s.io/v1",
        subresource="approval",
    )


def _in_memory(data: str) -> str:
    """Return a path under /proc to base64 data kept in anonymous memory, for libraries that insist on a file."""
    descriptor = os.memfd_create("provisioner")
    os.write(descriptor, base64.b64decode(data))
    return f"/proc/self/fd/{descriptor}"


def _explain(why: Callable[[], str]) -> str:
    try:
        return why()
    except ClusterError as error:
        return f"(no explanation to be had: {error})"


def _reason(error: BaseException) -> str:
    """Return the innermost words of a urllib3 error, which wraps the one that matters."""
    inner = getattr(error, "reason", None) or (error.args[-1] if error.args else None)
    if isinstance(inner, BaseException):
        return _reason(inner)
    return str(error).rsplit("): ", 1)[-1]


def _refused(action: str, what: str, status: int, body: bytes) -> ClusterError:
    return ClusterError(f"the API refused to {action} {what}: {_message(body.decode(errors='replace'))} ({status})")


def _message(text: str) -> str:
    """Return the message of a Status; of anything else its beginning, on one line."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return " ".join(text.split())[:200]
