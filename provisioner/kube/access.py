"""How an API server is reached and with whose credentials: a site's, over SSH, or a kubeconfig's.

A site's API server is reached directly or, if its address cannot be reached from here, through an SSH tunnel to a
control plane. Its credentials are read over SSH and kept in memory only.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from provisioner import yaml_text
from provisioner.errors import ApiUnreachable, HostError, NoCluster
from provisioner.kube.kubeconfig_file import Kubeconfig
from provisioner.ssh import Host, Tunnel

if TYPE_CHECKING:
    from provisioner.kube.client import Client
    from provisioner.site import Site

ADMIN_CONF = "/etc/kubernetes/admin.conf"


class Access(Protocol):
    """How to reach an API server. server: its URL for messages, once connected; remedy: for one that is silent."""

    @property
    def server(self) -> str: ...
    @property
    def remedy(self) -> str: ...

    def timeout(self, seconds: float) -> float:
        """Return a timeout in seconds as this cluster needs it."""

    def kubeconfig(self) -> dict[str, Any] | None:
        """Return the credentials as a kubeconfig, None if there is no cluster yet."""

    def connect(self) -> Client:
        """Return a client. Raises ClusterError."""

    def close(self) -> None:
        """Forget the credentials and close what `connect` opened besides the client."""


class SiteAccess:
    """Access to a site's API server as its administrator."""

    def __init__(self, site: Site, hosts: Mapping[str, Host]) -> None:
        self._site = site
        self._control_planes = [hosts[spec.name] for spec in site.control_planes]
        self._config: dict[str, Any] | None = None
        self._tunnel: Tunnel | None = None
        self.server = ""

    @property
    def remedy(self) -> str:
        """Return what to look at if the API server is silent."""
        name = self._control_planes[0].name
        if self._tunnel is not None and self._tunnel.prohibited:
            return (
                f"the SSH server of {name} forwards no connections: set AllowTcpForwarding to yes or local in "
                "/etc/ssh/sshd_config on it (and check PermitOpen and DisableForwarding), or run this where the API "
                "can be reached directly"
            )
        return f"check the control plane: provisioner ssh {name} -- sudo crictl ps -a"

    def timeout(self, seconds: float) -> float:
        """Return a timeout scaled by the site's timeout_scale."""
        return self._site.timeout(seconds)

    def kubeconfig(self) -> dict[str, Any] | None:
        """Return the administrator's kubeconfig from a control plane that answers, None if none has one."""
        if self._config is None:
            silent: HostError | None = None
            for host in self._control_planes:
                try:
                    text = host.run(f"cat {ADMIN_CONF} 2>/dev/null || true", secret=True).stdout
                except HostError as error:
                    silent = silent or error
                    continue
                if text.strip():
                    self._config = _sound(host, text)
                    break
            if self._config is None and silent is not None:
                raise silent  # that no other one has a cluster proves nothing about this one
        return self._config

    def connect(self) -> Client:
        """Return a client. Raises ClusterError without a cluster."""
        config = self.kubeconfig()
        if config is None:
            raise NoCluster("there is no cluster yet", "provisioner apply")
        # Imported here only: loading the kubernetes client takes longer than `--help` may.
        from provisioner.kube.client import Client

        return Client.of_admin(self._address(str(config["clusters"][0]["cluster"]["server"])), config)

    def close(self) -> None:
        """Close the tunnel and forget the credentials."""
        if self._tunnel is not None:
            self._tunnel.close()
        self._config = self._tunnel = None

    def _address(self, server: str) -> str:
        """Return the API's URL: the server's, or that of a tunnel if the server cannot be reached."""
        address, port = server.removeprefix("https://").rsplit(":", 1)
        self.server = server
        try:
            with socket.create_connection((address.strip("[]"), int(port)), timeout=self._site.timeout(3)):
                return server
        except OSError:
            host, self._tunnel = self._through(server)
            self.server = f"{server} (through {host.name})"
            return f"https://{self._tunnel.address}:{self._tunnel.port}"

    def _through(self, server: str) -> tuple[Host, Tunnel]:
        """Return a tunnel to the first control plane that answers. Raises ApiUnreachable if none does."""
        errors = []
        for host in self._control_planes:
            try:
                return host, host.forward(host.spec.address, 6443)
            except HostError as error:
                errors.append((host.name, error))
        name, first = errors[0]
        raise ApiUnreachable(f"cannot reach the API at {server}, directly or through {name}: {first}") from first


class KubeconfigAccess:
    """Access to any cluster with a user's kubeconfig, as kubectl has it."""

    def __init__(self, kubeconfig: Kubeconfig) -> None:
        self._kubeconfig = kubeconfig
        self.server = kubeconfig.server
        self.remedy = f"check it with: kubectl --context {kubeconfig.context} get --raw /version"

    def timeout(self, seconds: float) -> float:
        """Return the timeout unscaled."""
        return seconds

    def kubeconfig(self) -> dict[str, Any]:
        """Return the context as a kubeconfig of its own."""
        own = self._kubeconfig
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": own.cluster}],
            "users": [{"name": "u", "user": own.user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }

    def connect(self) -> Client:
        """Return a client. Raises ClusterError if the credentials cannot be used."""
        from provisioner.kube.client import Client

        return Client.of_kubeconfig(self.kubeconfig())

    def close(self) -> None:
        """Do nothing: the client holds what is open."""

    @property
    def endpoint(self) -> tuple[str, int]:
        """Return the API's host and port."""
        split = urlsplit(self.server)
        return split.hostname or "", split.port or (443 if split.scheme == "https" else 80)


def _sound(host: Host, text: str) -> dict[str, Any]:
    """Return an administrator's kubeconfig from a control plane; raise HostError if it is damaged."""
    try:
        config = yaml_text.load_mapping(text)
        str(config["clusters"][0]["cluster"]["server"])
    except (yaml_text.NotYaml, LookupError, TypeError):
        raise HostError(
            host.name,
            f"{ADMIN_CONF} is damaged: it names no server",
            f"make it again: provisioner ssh {host.name} -- 'sudo mv {ADMIN_CONF} {ADMIN_CONF}.damaged && "
            "sudo kubeadm init phase kubeconfig admin'",
        ) from None
    return config
