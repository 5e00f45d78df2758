"""The OpenSSH command line for a site's login settings, for `provisioner ssh`."""

from __future__ import annotations

import shlex
from pathlib import Path

from provisioner.site import HostSpec, Site
from provisioner.ssh.host_keys import path as known_hosts
from provisioner.ssh.login import Login, login


def arguments(site: Site, spec: HostSpec) -> list[str]:
    """Return the ssh command line that uses our settings: user, key, host keys and jump hosts."""
    target = login(site, spec)
    words = ["ssh", *_options(site, target)]
    proxy: list[str] = []
    for jump in target.jumps:
        # Not -J: ssh would check the jump host's key by the user's own configuration.
        through = ["-o", f"ProxyCommand={shlex.join(proxy)}"] if proxy else []
        proxy = ["ssh", *_options(site, jump), *through, "-W", "[%h]:%p", f"{jump.user}@{jump.address}"]
    if proxy:
        words += ["-o", f"ProxyCommand={shlex.join(proxy)}"]
    if target.alias and target.alias != target.address:
        # By the name of its Host, so that its other options count, too.
        return [*words, "-o", f"HostName={target.address}", f"{target.user}@{target.alias}"]
    return [*words, f"{target.user}@{target.address}"]


def _options(site: Site, login: Login) -> list[str]:
    strict = {"strict": "yes", "accept-new": "accept-new", "off": "no"}[site.ssh.host_keys]
    file = "/dev/null" if site.ssh.host_keys == "off" else str(known_hosts(site))
    words = ["-F", "none"] if not site.ssh.config else []
    if site.ssh.config and "config" in site.ssh.model_fields_set:
        words = ["-F", str(site.directory / Path(site.ssh.config).expanduser())]
    words += ["-p", str(login.port), "-o", f"StrictHostKeyChecking={strict}", "-o", f'UserKnownHostsFile="{file}"']
    if login.key:
        words += ["-i", login.key, "-o", "IdentitiesOnly=yes"]
    else:
        for path in login.files:
            words += ["-i", path]
    return words
