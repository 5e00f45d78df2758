"""The OpenSSH command line for a site's login settings, for `provisioner ssh`."""

from __future__ import annotations

import shlex

from provisioner.site import HostSpec, Site
from provisioner.ssh import connect


def arguments(site: Site, spec: HostSpec) -> list[str]:
    """Return the ssh command line that uses our settings: user, key, host keys and jump host."""
    target = connect.login(site, spec)
    words = ["ssh", *_options(site, target)]
    jump = connect.jump_login(site)
    if jump is not None:
        # Not -J: ssh would check the jump host's key by the user's own configuration.
        proxy = shlex.join(["ssh", *_options(site, jump), "-W", "[%h]:%p", f"{jump.user}@{jump.address}"])
        words += ["-o", f"ProxyCommand={proxy}"]
    return [*words, f"{target.user}@{target.address}"]


def _options(site: Site, login: connect.Login) -> list[str]:
    strict = {"strict": "yes", "accept-new": "accept-new", "off": "no"}[site.ssh.host_keys]
    file = "/dev/null" if site.ssh.host_keys == "off" else str(connect.known_hosts(site))
    words = ["-p", str(login.port), "-o", f"StrictHostKeyChecking={strict}", "-o", f'UserKnownHostsFile="{file}"']
    if login.key:
        words += ["-i", login.key, "-o", "IdentitiesOnly=yes"]
    return words
