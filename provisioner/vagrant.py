"""Bring up the Vagrant machines of hosts.toml, where Vagrant is installed: the first line of `make cluster`.

Without Vagrant the machines are somebody else's to start; then it is only made sure that one of them answers.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from provisioner.errors import ProvisionerError
from provisioner.site import HostSpec, Site, load


def bring_up(site: Site) -> None:
    """Make sure that the site's machines are up, by `vagrant up` where some do not answer; raise ProvisionerError.

    Machines that all answer are left alone: servers of a site must not get virtual namesakes.
    """
    if site.ssh.jump:
        return  # they are out of sight from here
    with ThreadPoolExecutor(len(site.hosts)) as pool:
        answers = list(pool.map(lambda spec: _answers(site, spec), site.hosts))
    if all(answers):
        return
    vagrant = shutil.which("vagrant")
    if vagrant and (site.directory / "Vagrantfile").is_file():
        environment = os.environ | {"PROVISIONER_SITE": str(site.path.absolute())}
        done = subprocess.run([vagrant, "up"], cwd=site.directory, env=environment, check=False)
        if done.returncode != 0:
            raise ProvisionerError("vagrant up failed", "see its lines above; then make cluster again")
        return
    if not any(answers):
        names = ", ".join(f"{spec.name} ({spec.ssh_address or spec.address})" for spec in site.hosts)
        raise ProvisionerError(
            f"none of {names} answers on SSH, and Vagrant is not installed",
            "name your own machines in hosts.toml, or install Vagrant, or try `make lab`: VMs that need neither",
        )


def _answers(site: Site, spec: HostSpec) -> bool:
    port = spec.ssh.port or site.ssh.port
    try:
        with socket.create_connection((spec.ssh_address or spec.address, port), site.timeout(3)):
            return True
    except OSError:
        return False


def main() -> None:
    """Read the site named by -f and bring its machines up."""
    parser = argparse.ArgumentParser(prog="python -m provisioner.vagrant", description=bring_up.__doc__)
    parser.add_argument("-f", "--file", type=Path, default=Path("hosts.toml"))
    try:
        bring_up(load(parser.parse_args().file))
    except ProvisionerError as error:
        sys.exit(f"provisioner: {error}")


if __name__ == "__main__":
    main()
