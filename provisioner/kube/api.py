"""How the API is reached: credentials, connection, tunnel and paths.

The API server is reached directly or, where its address is out of reach from here, through an SSH tunnel to a control
plane. Credentials are read over SSH and held in memory only.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from provisioner.errors import ClusterError, HostError
from provisioner.site import Site
from provisioner.ssh import Host, Tunnel

if TYPE_CHECKING:
    from provisioner.kube.client import Client

ADMIN_CONF = "/etc/kubernetes/admin.conf"
_BUSY = (429, 502, 503, 504)  # the API server asks to come again
# What it says with a 500 when it was too busy to decide: etcd's words, and the quota admission's (resourcequota/
# controller.go), which a loaded machine shows for its first objects of a kind. Nothing was stored then.
_BUSY_WORDS = (b"etcdserver:", b"context deadline exceeded", b"leader changed", b"quota evaluation timed out")
# A Service whose address or port could not be allocated is called invalid, also where etcd was too slow for it
# (registry/core/service/storage/alloc.go).
_ALLOCATING = b"failed to allocate"
# How it refuses a change of what cannot change (the validation.go of each kind).
_FIXED = ("immutable", "Forbidden: updates to", "may not change once set")


def retryable(status: int, body: bytes) -> bool:
    """Tell whether an answer of the API server means "come again", rather than a refusal."""
    told = status == 500 or (status == 422 and _ALLOCATING in body)
    return status in _BUSY or (told and any(words in body for words in _BUSY_WORDS))


def exec_status(text: str) -> tuple[bool, str]:
    """Return whether a command in a pod ended well, and if it was not even run, why.

    text: the error channel's Status (k8s.io/apimachinery, remotecommand v4). An exit status is a cause of its own; a
    container that has gone, or a runtime that refuses, is told by words only. Nothing at all: the connection broke.
    """
    try:
        status = json.loads(text)
    except ValueError:
        return False, text.strip() or "the connection ended before the command did"
    if status.get("status") == "Success":
        return True, ""
    causes = (status.get("details") or {}).get("causes") or ()
    if any(cause.get("reason") == "ExitCode" for cause in causes):
        return False, ""
    return False, str(status.get("message") or "the API does not say why")


class Api:
    """A connection to a site's API server, made at first use and again after `disconnect`."""

    def __init__(self, site: Site, hosts: Mapping[str, Host]) -> None:
        self.site = site
        self._control_planes = [hosts[spec.name] for spec in site.control_planes]
        self._client: Client | None = None
        self._config: dict[str, Any] | None = None
        self._tunnel: Tunnel | None = None
        self._kinds: dict[str, dict[str, tuple[str, bool]]] = {}
        self._server = ""
        self._connecting = threading.RLock()  # the hosts of a step share one connection, and one tunnel

    def disconnect(self) -> None:
        """Drop the connection and credentials (a control plane was made or removed)."""
        with self._connecting:
            if self._tunnel is not None:
                self._tunnel.close()
            if self._client is not None:
                self._client.close()
            self._client = self._config = self._tunnel = None
            self._kinds = {}

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

    def request(
        self, method: str, path: str, body: Any = None, content: str = "application/json", patience: float = 30
    ) -> tuple[int, bytes]:
        """Return status and body. An API that asks to come again is asked again for `patience` seconds (scaled)."""
        deadline = time.monotonic() + self.site.timeout(patience)
        client = self._connect()
        while True:
            try:
                status, data = client.request(method, path, body, content, self.site.timeout(15))
                if not retryable(status, data) or time.monotonic() > deadline:
                    return status, data
            except OSError as error:
                if time.monotonic() > deadline:
                    raise ClusterError(
                        f"the API at {self._server} does not answer: {error}",
                        "look at the control plane: provisioner ssh "
                        f"{self._control_planes[0].name} -- sudo crictl ps -a",
                    ) from error
            time.sleep(min(1.0, self.site.timeout(0.25)))

    def exec(self, namespace: str, pod: str, command: Sequence[str], container: str = "", timeout: float = 30) -> str:
        """Run a command in a pod and return its stdout. Raises ClusterError with stderr when it fails."""
        query = [("command", [*command]), ("stdout", "true"), ("stderr", "true")]
        query += [("container", container)] if container else []
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/exec"
        client = self._connect()
        try:
            out, err, status = client.exec(path, query, self.site.timeout(timeout))
        except TimeoutError as error:
            what = f"{' '.join(command)} in pod {namespace}/{pod} took over {timeout:.0f} s (scaled)"
            raise ClusterError(what) from error
        except OSError as error:
            reason = status_message(str(error))
            raise ClusterError(f"cannot run a command in pod {namespace}/{pod}: {reason}") from error
        ended, why = exec_status(status)
        if not ended:
            what = f"{' '.join(command)} failed in pod {namespace}/{pod}{f': {why}' if why else ''}"
            raise ClusterError(what, tail=f"{out}{err}".strip())
        return out

    def path(self, api_version: str, kind: str, namespace: str | None, name: str | None) -> str | None:
        """Return the URL path of an object or a collection, None when the API has no such kind."""
        # A kind that is not known may have been defined since.
        found = self._kinds.get(api_version, {}).get(kind) or self.discover(api_version).get(kind)
        if found is None:
            return None
        plural, namespaced = found
        prefix = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
        if namespaced and (namespace or name):
            prefix += f"/namespaces/{namespace or 'default'}"
        return f"{prefix}/{plural}" + (f"/{name}" if name else "")

    def discover_all(self, api_versions: set[str]) -> None:
        """Ask for the kinds of each API version that has not been asked for yet."""
        for api_version in api_versions - self._kinds.keys():
            self.discover(api_version)

    def discover(self, api_version: str) -> dict[str, tuple[str, bool]]:
        """Ask the API which kinds it has under an API version: kind -> plural name, whether in a namespace."""
        prefix = "/api" if "/" not in api_version else "/apis"
        status, body = self.request("GET", f"{prefix}/{api_version}")
        if status == 404:
            return {}
        if status >= 400:
            raise refusal("GET", api_version, status, body)
        found = {
            item["kind"]: (item["name"], item["namespaced"])
            for item in json.loads(body)["resources"]
            if "/" not in item["name"]
        }
        self._kinds[api_version] = found  # as a whole: other threads read it
        return found

    def _connect(self) -> Client:
        with self._connecting:
            if self._client is None:
                config = self.kubeconfig()
                if config is None:
                    raise ClusterError("there is no cluster yet", "provisioner apply")
                # The only import of the kubernetes client, which takes longer than `--help` may.
                from provisioner.kube.client import Client

                self._client = Client(self._address(str(config["clusters"][0]["cluster"]["server"])), config)
            return self._client

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


def refusal(action: str, what: str, status: int, body: bytes) -> ClusterError:
    """Return the error for a request that the API answered with a status of 400 or more."""
    said = status_message(body.decode(errors="replace"))
    fixed = status == 422 and any(words in said for words in _FIXED)
    return ClusterError(
        f"the API refused to {action} {what}: {said} ({status})",
        "that cannot change while the object is there: put it back as it was, or save what the object keeps for you, "
        "delete it with kubectl, and apply again"
        if fixed
        else "",
    )


def status_message(text: str) -> str:
    """Return the message of a Status; of anything else its beginning, on one line."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return " ".join(text.split())[:200]
