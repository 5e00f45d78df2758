"""Bring up the Vagrant machines of hosts.toml: the first step of `make cluster`.

Without Vagrant, only check that at least one machine answers on SSH.
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
    """Run `vagrant up` if some of the site's machines do not answer on SSH; raise ProvisionerError if that fails.

    Do nothing if all answer, or if one answers that Vagrant did not create: physical servers, one of them switched
    off, must not get virtual twins at their addresses.
    """
    if site.ssh.jump:
        return  # not reachable directly
    with ThreadPoolExecutor(len(site.hosts)) as pool:
        responses = list(pool.map(lambda spec: _responds(site, spec), site.hosts))
    up = [spec.name for spec, responds in zip(site.hosts, responses, strict=True) if responds]
    down = [spec.name for spec in site.hosts if spec.name not in up]
    if not down:
        return
    vagrant = shutil.which("vagrant")
    if vagrant and (site.directory / "Vagrantfile").is_file():
        foreign = sorted(set(up) - _created_machines(vagrant, site)) if up else []
        if foreign:
            print(
                f"provisioner: {', '.join(down)} not reachable on SSH; skipping vagrant up, since Vagrant did not "
                f"create {', '.join(foreign)} and could create duplicates of physical servers",
                file=sys.stderr,
            )
            return
        done = _vagrant(vagrant, site, "up")
        if done.returncode != 0:
            raise ProvisionerError("vagrant up failed", "see its output above, then retry: make cluster")
        return
    if not up:
        names = ", ".join(f"{spec.name} ({spec.ssh_address or spec.address})" for spec in site.hosts)
        raise ProvisionerError(
            f"none of {names} answers on SSH, and Vagrant is not installed",
            "name your own machines in hosts.toml, or install Vagrant, or try `make lab`: VMs that need neither",
        )


def _created_machines(vagrant: str, site: Site) -> set[str]:
    """Return the names of the machines that Vagrant has created here; none if it reports none.

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


def _responds(site: Site, spec: HostSpec) -> bool:
    port = spec.ssh.port or site.ssh.port
    try:
        with socket.create_connection((spec.ssh_address or spec.address, port), site.timeout(3)):
            return True
    except OSError:
        return False


def main() -> None:
    """Bring up the machines of the site given with -f."""
    parser = argparse.ArgumentParser(prog="python -m provisioner.cli.vagrant", description=bring_up.__doc__)
    parser.add_argument("-f", "--file", type=Path, default=Path("hosts.toml"))
    try:
        bring_up(load_site(parser.parse_args().file))
    except ProvisionerError as error:
        sys.exit(f"provisioner: {error}")


if __name__ == "__main__":
    main()
