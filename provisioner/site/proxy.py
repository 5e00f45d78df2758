"""What a `[proxy]` means for programs: their environment, and which addresses are reached without it."""

from __future__ import annotations

import ipaddress
import shlex
from urllib.parse import urlsplit

from provisioner.addresses import split_host_port
from provisioner.site.model import API_PORT, Site


def no_proxy(site: Site) -> tuple[str, ...]:
    """Return what is reached without the proxy: the cluster's own machines and networks, the mirrors, the operator's.

    Go programs, and curl since 7.86, take networks; a mirror inside one of them is therefore also there by its name.
    """
    endpoint, _ = split_host_port(site.endpoint, API_PORT)
    mirrors = (site.mirror.packages, site.mirror.images, site.mirror.manifests, site.mirror.containerd)
    inside = [host for host in (urlsplit(url.replace("{registry}", "")).hostname for url in mirrors if url) if host]
    return tuple(
        dict.fromkeys([
            "localhost", "127.0.0.1", "::1",
            *(host.name for host in site.hosts), *(host.address for host in site.hosts), endpoint,
            site.cluster.pod_cidr, site.cluster.service_cidr, ".svc", ".cluster.local",
            *(host for host in inside if _is_private(host)), *site.proxy.no_proxy,
        ])
    )  # fmt: skip


def environment(site: Site) -> dict[str, str]:
    """Return the variables that programs read, in both spellings; none without a proxy."""
    proxy = site.proxy
    values = {"http_proxy": proxy.http, "https_proxy": proxy.https}
    found = {name: value for name, value in values.items() if value}
    if not found:
        return {}
    found["no_proxy"] = ",".join(no_proxy(site))
    return found | {name.upper(): value for name, value in found.items()}


def shell_prefix(site: Site) -> str:
    """Return `export …` for a POSIX shell, with a newline; "" without a proxy."""
    words = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment(site).items())
    return f"export {words}\n" if words else ""


def apt_settings(site: Site) -> str:
    """Return apt.conf(5) settings; "" without a proxy. apt knows no networks: only names and addresses are direct."""
    if not environment(site):
        return ""
    lines = [
        f'Acquire::{scheme}::Proxy "{url}";'
        for scheme, url in (("http", site.proxy.http), ("https", site.proxy.https))
        if url
    ]
    direct = [host for host in no_proxy(site) if "/" not in host and not host.startswith(".") and host != "::1"]
    lines += [f'Acquire::{scheme}::Proxy::{host} "DIRECT";' for host in direct for scheme in ("http", "https")]
    return "".join(f"{line}\n" for line in lines)


def unit_drop_in(site: Site) -> str:
    """Return a drop-in that gives a systemd unit the environment (systemd.exec(5)); "" without a proxy."""
    lines = [f'Environment="{name}={value.replace("%", "%%")}"' for name, value in environment(site).items()]
    return "[Service]\n" + "".join(f"{line}\n" for line in lines) if lines else ""


def _is_private(host: str) -> bool:
    """Return whether a mirror's host is inside: a private address, or a name without a public domain."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".lan", ".local", ".internal", ".home.arpa"))
