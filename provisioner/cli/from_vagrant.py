"""The machines of a Vagrantfile, for `init --from-vagrant`: as `vagrant ssh-config` tells, or as the file says."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from provisioner.cli.named import Named, checked, chosen, read
from provisioner.errors import ProvisionerError

_WHAT = "a folder with a Vagrantfile, or a file with the output of vagrant ssh-config"
_SAVE = "where Vagrant is: vagrant ssh-config >machines.txt; then: provisioner init --from-vagrant machines.txt"
_DEFINE = re.compile(r"""\.vm\.define\s*\(?\s*(?::(\w+)|"([^"]+)"|'([^']+)'|(\S+))""")
_PRIVATE = re.compile(r"""["':]private_network["']?\s*,\s*(?:\w+:\s*[^,]+,\s*)*?ip:\s*["']([0-9.]+)["']""")


def machines(source: str, words: Sequence[str]) -> list[Named]:
    """Return the machines of a Vagrantfile's folder, of a saved `vagrant ssh-config`, or of standard input ("-").

    words: the names of the machines to take, none for all. Raises ProvisionerError.
    """
    path = Path(source)
    if source == "-":
        found, origin = parse_ssh_config(sys.stdin.read()), "the input"
    elif path.is_dir() or path.name == "Vagrantfile":
        folder = path if path.is_dir() else path.parent
        found, origin = _of_folder(folder), str(folder / "Vagrantfile")
    else:
        found, origin = parse_ssh_config(read(path, _WHAT)), source
    return checked(chosen(found, {}, words, origin), origin)


def _of_folder(folder: Path) -> list[Named]:
    if not (folder / "Vagrantfile").is_file():
        raise ProvisionerError(f"{folder} has no Vagrantfile", f"name {_WHAT}: --from-vagrant PATH")
    program = shutil.which("vagrant")
    if program is None:
        return parse_vagrantfile(read(folder / "Vagrantfile", _WHAT), folder)
    done = subprocess.run([program, "ssh-config"], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return parse_ssh_config(done.stdout)
    lines = (done.stderr.strip() or "it said nothing").splitlines()
    raise ProvisionerError(f"vagrant ssh-config failed: {lines[0]}", f"vagrant up in {folder}, then run this again")


def parse_ssh_config(text: str) -> list[Named]:
    """Return the hosts of an ssh_config(5) as Vagrant prints it. Raises ProvisionerError for anything else."""
    found: list[dict[str, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = _words(line, number)
        if not words:
            continue
        key, value = words[0].lower(), " ".join(words[1:])
        if key == "host":
            found.append({"host": value})
        elif not found:
            raise ProvisionerError(
                f"line {number} is not of vagrant ssh-config: {line.strip()[:60]!r}", f"name {_WHAT}"
            )
        else:
            found[-1].setdefault(key, value)
    return [_named(one) for one in found]


def _words(line: str, number: int) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError as error:
        raise ProvisionerError(f"line {number} is not of vagrant ssh-config: {error}", f"name {_WHAT}") from None


def _named(entry: dict[str, str]) -> Named:
    port = entry.get("port", "22")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ProvisionerError(f"{entry['host']}: {port!r} is no port", f"name {_WHAT}")
    return Named(
        entry["host"],
        entry.get("hostname", entry["host"]),
        entry.get("user", "vagrant"),
        0 if port == "22" else int(port),
        entry.get("identityfile", ""),
    )


def parse_vagrantfile(text: str, folder: Path) -> list[Named]:
    """Return the machines that a Vagrantfile names with addresses, both as plain text; Ruby is not run.

    Raises ProvisionerError for one that computes them.
    """
    text = re.sub(r"(?m)^\s*#.*$", "", text)
    starts = [*_DEFINE.finditer(text)]
    found = []
    for number, start in enumerate(starts):
        name = start[1] or start[2] or start[3] or ""
        end = starts[number + 1].start() if number + 1 < len(starts) else len(text)
        address = _PRIVATE.search(text, start.end(), end)
        if not name or "#{" in name or address is None:
            break
        keys = sorted(str(path.absolute()) for path in folder.glob(f".vagrant/machines/{name}/*/private_key"))
        found.append(Named(name, address[1], "vagrant", key=keys[0] if len(keys) == 1 else ""))
    if len(found) < len(starts) or not found:
        raise ProvisionerError(
            f"{folder / 'Vagrantfile'} computes its machines, and Vagrant is not installed here to ask", _SAVE
        )
    return found
