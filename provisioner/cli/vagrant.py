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
from provisioner.site import HostSpec, Site, load_site


def bring_up(site: Site) -> None:
    """Make sure that the site's machines are up, by `vagrant up` where some do not answer; raise ProvisionerError.

    Where all answer, or one answers that Vagrant did not make, all are left alone: servers of a site, one of them
    switched off, must not get virtual namesakes at their addresses.
    """
    if site.ssh.jump:
        return  # they are out of sight from here
    with ThreadPoolExecutor(len(site.hosts)) as pool:
        answers = list(pool.map(lambda spec: _answers(site, spec), site.hosts))
    up = [spec.name for spec, answer in zip(site.hosts, answers, strict=True) if answer]
    down = [spec.name for spec in site.hosts if spec.name not in up]
    if not down:
        return
    vagrant = shutil.which("vagrant")
    if vagrant and (site.directory / "Vagrantfile").is_file():
        foreign = sorted(set(up) - _made(vagrant, site)) if up else []
        if foreign:
            print(
                f"provisioner: no answer from {', '.join(down)}, and vagrant up is left out: Vagrant did not make "
                f"{', '.join(foreign)}, and could make namesakes of servers",
                file=sys.stderr,
            )
            return
        done = _vagrant(vagrant, site, "up")
        if done.returncode != 0:
            raise ProvisionerError("vagrant up failed", "see its lines above; then make cluster again")
        return
    if not up:
        names = ", ".join(f"{spec.name} ({spec.ssh_address or spec.address})" for spec in site.hosts)
        raise ProvisionerError(
            f"none of {names} answers on SSH, and Vagrant is not installed",
            "name your own machines in hosts.toml, or install Vagrant, or try `make lab`: VMs that need neither",
        )


def _made(vagrant: str, site: Site) -> set[str]:
    """Return the names of the machines that Vagrant has made here; none where it does not say.

    Source: developer.hashicorp.com, Vagrant, "Machine Readable Output": timestamp,target,type,data.
    """
    done = _vagrant(vagrant, site, "status", "--machine-readable", stdout=subprocess.PIPE)
    fields = (line.split(",") for line in (done.stdout or "").splitlines())
    states = {field[1]: field[3] for field in fields if len(field) > 3 and field[2] == "state"}
    return {name for name, state in states.items() if state != "not_created"}


def _vagrant(program: str, site: Site, *words: str, stdout: int | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PROVISIONER_SITE": str(site.path.absolute())}
    command = [program, *words]
    return subprocess.run(command, cwd=site.directory, env=environment, check=False, stdout=stdout, text=True)


def _answers(site: Site, spec: HostSpec) -> bool:
    port = spec.ssh.port or site.ssh.port
    try:
        with socket.create_connection((spec.ssh_address or spec.address, port), site.timeout(3)):
            return True
    except OSError:
        return False


def main() -> None:
    """Read the site named by -f and bring its machines up."""
    parser = argparse.ArgumentParser(prog="python -m provisioner.cli.vagrant", description=bring_up.__doc__)
    parser.add_argument("-f", "--file", type=Path, default=Path("hosts.toml"))
    try:
        bring_up(load_site(parser.parse_args().file))
    except ProvisionerError as error:
        sys.exit(f"provisioner: {error}")


if __name__ == "__main__":
    main()
