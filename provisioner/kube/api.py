"""Connect to the API server: requests, retries, API discovery; access.py knows how it is reached."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from provisioner.errors import ApiForbidden, ApiUnreachable, ClusterError
from provisioner.kube.access import Access

if TYPE_CHECKING:
    from provisioner.kube.client import Client

_BUSY = (429, 502, 503, 504)
# In a 500 these mean that the server was too busy to decide, and stored nothing: they come from etcd and from quota
# admission (resourcequota/controller.go), the latter for the first objects of a kind on a loaded machine.
_BUSY_MESSAGES = (b"etcdserver:", b"context deadline exceeded", b"leader changed", b"quota evaluation timed out")
# A Service whose address or port cannot be allocated is invalid, even if only etcd was too slow
# (registry/core/service/storage/alloc.go).
_ALLOCATING = b"failed to allocate"
# How changes of immutable fields are refused (the validation.go of each kind).
_IMMUTABLE = ("immutable", "Forbidden: updates to", "may not change once set")


def retryable(status: int, body: bytes) -> bool:
    """Return whether a response means that the API server was too busy, rather than a refusal."""
    has_reason = status == 500 or (status == 422 and _ALLOCATING in body)
    return status in _BUSY or (has_reason and any(part in body for part in _BUSY_MESSAGES))


def exec_status(text: str) -> tuple[bool, str]:
    """Return whether a command in a pod succeeded, and the reason if it did not run at all.

    text: the error channel's Status (k8s.io/apimachinery, remotecommand v4). It has a cause for an exit status, only a
    message for a missing container or a runtime error, and is empty if the connection broke.
    """
    try:
        status = json.loads(text)
    except ValueError:
        return False, text.strip() or "the connection closed before the command finished"
    if status.get("status") == "Success":
        return True, ""
    causes = (status.get("details") or {}).get("causes") or ()
    if any(cause.get("reason") == "ExitCode" for cause in causes):
        return False, ""
    return False, str(status.get("message") or "the API gives no reason")


class Api:
    """A connection to an API server, opened at first use and reopened after `disconnect`."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._client: Client | None = None
        self._kinds: dict[str, dict[str, tuple[str, bool]]] = {}
        self._connecting = threading.RLock()  # all hosts of a step share the connection and the tunnel
        self._patience: float | None = None
        self._silent: ApiUnreachable | None = None

    @property
    def patience(self) -> float | None:
        """The seconds (not yet scaled) that anything may be waited for at most; None for no limit."""
        return self._patience

    @patience.setter
    def patience(self, seconds: float | None) -> None:
        self._patience, self._silent = seconds, None

    def patient(self, seconds: float) -> float:
        """Return a scaled timeout in seconds, limited by the patience."""
        return seconds if self._patience is None else min(seconds, self.access.timeout(self._patience))

    def disconnect(self) -> None:
        """Drop the connection and credentials, for example after a control plane was created or removed."""
        with self._connecting:
            self.access.close()
            if self._client is not None:
                self._client.close()
            self._client = None
            self._kinds = {}

    def kubeconfig(self) -> dict[str, Any] | None:
        """Return the credentials as a kubeconfig, None if there is no cluster yet."""
        with self._connecting:
            return self.access.kubeconfig()

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", retry_for: float = 30
    ) -> tuple[int, bytes]:
        """Return status and body. Retry a busy or silent API server for `retry_for` seconds (scaled)."""
        if self._silent is not None:
            raise self._silent
        deadline = time.monotonic() + self.patient(self.access.timeout(retry_for))
        client = self._connect()
        while True:
            try:
                status, data = client.request(method, path, body, content_type, self._limit())
                if not retryable(status, data) or time.monotonic() > deadline:
                    return status, data
            except OSError as error:
                if time.monotonic() > deadline:
                    what = f"the API at {self.access.server} does not answer: {error}"
                    unreachable = ApiUnreachable(what, self.access.remedy)
                    if self._patience is not None:
                        self._silent = unreachable
                    raise unreachable from error
            time.sleep(min(1.0, self.access.timeout(0.25)))

    def exec(self, namespace: str, pod: str, command: Sequence[str], container: str = "", timeout: float = 30) -> str:
        """Run a command in a pod and return its stdout; raise ClusterError with its output if it fails."""
        query = [("command", [*command]), ("stdout", "true"), ("stderr", "true")]
        query += [("container", container)] if container else []
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/exec"
        client = self._connect()
        try:
            out, err, status = client.exec(path, query, self.access.timeout(timeout))
        except TimeoutError as error:
            what = f"{' '.join(command)} in pod {namespace}/{pod} timed out after {timeout:.0f} s (scaled)"
            raise ClusterError(what) from error
        except OSError as error:
            reason = status_message(str(error))
            raise ClusterError(f"cannot run a command in pod {namespace}/{pod}: {reason}") from error
        succeeded, reason = exec_status(status)
        if not succeeded:
            what = f"{' '.join(command)} failed in pod {namespace}/{pod}{f': {reason}' if reason else ''}"
            raise ClusterError(what, tail=f"{out}{err}".strip())
        return out

    def path(self, api_version: str, kind: str, namespace: str | None, name: str | None) -> str | None:
        """Return the URL path of an object or a collection, None if the API has no such kind."""
        # An unknown kind may have been defined since the last discovery.
        found = self._kinds.get(api_version, {}).get(kind) or self.discover(api_version).get(kind)
        if found is None:
            return None
        plural, namespaced = found
        prefix = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
        if namespaced and (namespace or name):
            prefix += f"/namespaces/{namespace or 'default'}"
        return f"{prefix}/{plural}" + (f"/{name}" if name else "")

    def discover_all(self, api_versions: set[str]) -> None:
        """Discover the kinds of each API version that is not known yet."""
        for api_version in api_versions - self._kinds.keys():
            self.discover(api_version)

    def discover(self, api_version: str) -> dict[str, tuple[str, bool]]:
        """Return the kinds of an API version: kind -> (plural name, whether it is namespaced)."""
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
        self._kinds[api_version] = found  # in one assignment, since other threads read it
        return found

    def _limit(self) -> float:
        """Return the seconds to wait for a response; longer than what the API server itself is told."""
        return self.access.timeout(15.0 if self._patience is None else 2 * self._patience)

    def _connect(self) -> Client:
        with self._connecting:
            if self._client is None:
                self._client = self.access.connect()
            return self._client


def refusal(action: str, what: str, status: int, body: bytes) -> ClusterError:
    """Return the error for a response with a status of 400 or more."""
    reason = status_message(body.decode(errors="replace"))
    immutable = status == 422 and any(part in reason for part in _IMMUTABLE)
    kind = ApiForbidden if status == 403 else ClusterError
    return kind(
        f"the API refused to {action} {what}: {reason} ({status})",
        "the field is immutable: restore its value, or save the object's data, delete it with kubectl and apply again"
        if immutable
        else "",
    )


def status_message(text: str) -> str:
    """Return the message of a Status, or the first 200 characters of any other text on one line."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return " ".join(text.split())[:200]
