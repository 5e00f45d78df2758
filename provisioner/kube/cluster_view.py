"""The API of any cluster, read-only: objects as plain dicts."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any
from urllib.parse import urlencode

from provisioner.errors import ClusterError
from provisioner.kube.access import Access, KubeconfigAccess
from provisioner.kube.api import Api, refusal, status_message
from provisioner.kube.kubeconfig_file import Kubeconfig
from provisioner.kube.objects import Object

Objects = list[Object]  # defined before ClusterView.list shadows the built-in
Lines = list[str]


class ApiState(Enum):
    """What is known about the API. UNREACHABLE never means ABSENT."""

    ABSENT = "no control plane has an admin.conf"
    UNREACHABLE = "the API does not answer"
    READY = "the API answers"


class ClusterView:
    """A Kubernetes API, for reading; connects at first use and again after `disconnect`.

    api_error: why the API did not answer, after `state` or `reachable`.
    """

    def __init__(self, access: Access) -> None:
        self._api = Api(access)
        self.api_error = ""

    @classmethod
    def of_kubeconfig(cls, kubeconfig: Kubeconfig) -> ClusterView:
        """Return the cluster of a context of a kubeconfig."""
        return cls(KubeconfigAccess(kubeconfig))

    @property
    def server(self) -> str:
        """Return the API's URL; "" before the first connection to a site's."""
        return self._api.access.server

    def timeout(self, seconds: float) -> float:
        """Return a timeout in seconds as this cluster needs it."""
        return self._api.access.timeout(seconds)

    def disconnect(self) -> None:
        """Drop the connection and credentials, for example after a control plane was created or removed."""
        self._api.disconnect()

    def kubeconfig(self) -> dict[str, Any] | None:
        """Return the administrator's kubeconfig from a control plane, None if none has one."""
        return self._api.kubeconfig()

    def state(self) -> ApiState:
        """Return whether there is an API and whether it answers; set `api_error` if it does not."""
        if self.kubeconfig() is None:
            return ApiState.ABSENT
        try:
            self.raw("/version", retry_for=0)
        except ClusterError as error:
            self.api_error = str(error)
            return ApiState.UNREACHABLE
        return ApiState.READY

    def reachable(self) -> bool:
        """Return whether the API answers now."""
        return self.state() is ApiState.READY

    def raw(self, path: str, retry_for: float = 30) -> Any:
        """Return the response to GET `path`: parsed JSON, or text if it is not JSON."""
        status, body = self._api.request("GET", path, retry_for=retry_for)
        if status >= 400:
            raise refusal("GET", path, status, body)
        try:
            return json.loads(body)
        except ValueError:
            return body.decode(errors="replace")

    def get(self, kind: str, name: str, namespace: str | None = None, api_version: str = "v1") -> Object | None:
        """Return an object, None if it or its kind does not exist."""
        path = self._api.path(api_version, kind, namespace, name)
        if path is None:
            return None
        status, body = self._api.request("GET", path)
        if status == 404:
            return None
        if status >= 400:
            raise refusal("GET", path, status, body)
        return dict(json.loads(body))

    def list(
        self, kind: str, namespace: str | None = None, api_version: str = "v1", labels: str = "", fields: str = ""
    ) -> Objects:
        """Return all objects of a kind, none if the API has no such kind. Selectors as in kubectl."""
        path = self._api.path(api_version, kind, namespace, None)
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
        """Return a namespace's events as lines, oldest first; with `name`, only those about that object."""
        fields = f"involvedObject.name={name}" if name else ""
        found = self.list("Event", namespace, fields=fields)
        found.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
        return [
            f"{event.get('type', '')} {event.get('reason', '')} {event['involvedObject'].get('kind', '')}/"
            f"{event['involvedObject'].get('name', '')}: {event.get('message', '')}"
            for event in found
        ]

    def logs(self, namespace: str, pod: str, container: str = "", lines: int = 20, previous: bool = False) -> str:
        """Return the last lines of a container's log, or the reason if there is none."""
        query = {"tailLines": str(lines), "previous": str(previous).lower()}
        if container:
            query["container"] = container
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log?{urlencode(query)}"
        status, body = self._api.request("GET", path)
        text = body.decode(errors="replace")
        return text if status < 400 else f"(no log: {status_message(text)})"

    def token(self, namespace: str, account: str, seconds: int) -> str | None:
        """Return a new token of a ServiceAccount (authentication.k8s.io/v1, TokenRequest), None without an account."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        wanted = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        status, body = self._api.request("POST", path, wanted, retry_for=0)
        if status == 404:
            return None
        if status >= 400:
            raise refusal("issue a token for", f"ServiceAccount {namespace}/{account}", status, body)
        return str(json.loads(body)["status"]["token"])
