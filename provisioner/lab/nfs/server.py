"""NFS-Ganesha in the place of the kernel's server: what exportfs(8) has put into effect, in Ganesha's words.

exportfs itself is Debian's: it reads /etc/exports and writes the exports in effect into etab. Ganesha is told that.
"""

import os
import re
import signal
import subprocess
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

ETAB = Path("/var/lib/nfs/etab")
RUN = Path("/run/nfs-standin")
_CONFIG = RUN / "ganesha.conf"
_PID = RUN / "ganesha.pid"
_LOG = RUN / "ganesha.log"
_PORT = 2049
_READY_SECONDS = 30.0
_RELOADED = "Reread exports complete"
# Short, since a lab's machines lose power on purpose: locks of one that is gone last for a lease, and after a restart
# new files wait for those that do not come back for the grace period. Nothing is cached, so that what is changed on
# the server itself is seen at once, as with the kernel's server.
_HEAD = """\
NFS_CORE_PARAM {{
  Protocols = 4;
  Plugins_Dir = "{plugins}";
  Enable_UDP = false; Enable_NLM = false; Enable_RQUOTA = false; Clustered = false;
}}
NFS_KRB5 {{ Active_krb5 = false; }}
NFSv4 {{
  Lease_Lifetime = 20; Grace_Period = 20; UseGetpwnam = true; Only_Numeric_Owners = true; Delegations = false;
}}
MDCACHE {{ Dir_Chunk = 0; }}
EXPORT_DEFAULTS {{ Attr_Expiration_Time = 0; SecType = sys; Manage_Gids = {manage_gids}; }}
LOG {{ Default_Log_Level = WARN; Components {{ CONFIG = EVENT; }} }}
"""
_EXPORT = """\
EXPORT {{
  Export_Id = {number}; Path = "{path}"; Pseudo = "{path}"; Protocols = 4; Transports = TCP;
  Access_Type = None;
  FSAL {{ Name = VFS; }}
{clients}}}
"""
_CLIENT = (
    "  CLIENT {{ Clients = {client}; Access_Type = {access}; Squash = {squash}; Anonymous_uid = {uid}; "
    "Anonymous_gid = {gid}; PrivilegedPort = {privileged}; }}\n"
)


def exports(etab: str) -> str:
    """Return Ganesha's exports for the text of etab: a line for each path and client, path TAB client(options)."""
    by_path: dict[str, list[str]] = {}
    for line in filter(None, etab.splitlines()):
        path, _, rest = line.partition("\t")
        client, _, options = rest.strip().rstrip(")").partition("(")
        by_path.setdefault(_unescaped(path), []).append(_client(client, options.split(",")))
    return "".join(
        _EXPORT.format(number=number, path=path, clients="".join(by_path[path]))
        for number, path in zip(_numbers(by_path), by_path, strict=True)
    )


def _client(client: str, options: list[str]) -> str:
    values = dict(option.split("=", 1) for option in options if "=" in option)
    squash = "No_Root_Squash"
    if "all_squash" in options:
        squash = "All_Squash"
    elif "root_squash" in options:
        squash = "Root_Squash"
    return _CLIENT.format(
        client=client or "*", access="RW" if "rw" in options else "RO", squash=squash,
        uid=values.get("anonuid", "65534"), gid=values.get("anongid", "65534"),
        privileged=str("secure" in options).lower(),
    )  # fmt: skip


def _numbers(paths: dict[str, list[str]]) -> Iterator[int]:
    """Yield a number for each path that is the same whenever the path is exported: file handles contain it."""
    taken: set[int] = set()
    for path in paths:
        number = zlib.crc32(path.encode()) % 65535 + 1
        while number in taken:
            number = number % 65535 + 1
        taken.add(number)
        yield number


def _unescaped(path: str) -> str:
    """Return a path of etab, in which exportfs writes spaces and the like as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def configure(plugins: str) -> None:
    """Write Ganesha's configuration at a start of the server; settings of nfs.conf take effect only then."""
    asked = subprocess.run(["nfsconf", "--get", "mountd", "manage-gids"], capture_output=True, text=True, check=False)
    # Words for true of nfs-utils, support/nfs/conffile.c.
    manage = asked.stdout.strip().lower() in ("1", "t", "true", "y", "yes", "on")
    RUN.mkdir(mode=0o700, exist_ok=True)
    head = _HEAD.format(plugins=plugins, manage_gids=str(manage).lower())
    (RUN / "head").write_text(head)
    _CONFIG.write_text(head + exports(_etab()))
    _LOG.write_text("")


def wait_until_ready() -> None:
    """Return when the server listens; TimeoutError if it does not."""
    wanted = f":{_PORT:04X}"
    deadline = time.monotonic() + _READY_SECONDS
    while not any(_listens(Path(f"/proc/net/{table}"), wanted) for table in ("tcp", "tcp6")):
        if time.monotonic() > deadline:
            raise TimeoutError(f"NFS-Ganesha does not listen after {_READY_SECONDS:.0f} s: see {_LOG}")
        time.sleep(0.05)


def _listens(table: Path, wanted: str) -> bool:
    lines = (line.split() for line in table.read_text().splitlines()[1:]) if table.exists() else ()
    return any(line[1].endswith(wanted) and line[3] == "0A" for line in lines)


def refresh() -> None:
    """Have a running server export what etab has now; return when it does."""
    if not _runs():
        return
    wanted = (RUN / "head").read_text() + exports(_etab())
    if _CONFIG.read_text() == wanted:
        return
    scratch = _CONFIG.with_suffix(".new")
    scratch.write_text(wanted)
    scratch.rename(_CONFIG)
    before = _reloads()
    os.kill(int(_PID.read_text()), signal.SIGHUP)
    deadline = time.monotonic() + _READY_SECONDS
    while _reloads() == before and _runs():
        if time.monotonic() > deadline:
            raise TimeoutError(f"NFS-Ganesha does not read its exports again: see {_LOG}")
        time.sleep(0.05)


def _reloads() -> int:
    return _LOG.read_text(errors="replace").count(_RELOADED) if _LOG.exists() else 0


def _runs() -> bool:
    try:
        os.kill(int(_PID.read_text()), 0)
    except (OSError, ValueError):
        return False
    return True


def _etab() -> str:
    return ETAB.read_text() if ETAB.exists() else ""
