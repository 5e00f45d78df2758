"""mount.nfs, and the process that serves one mount of it, in a systemd unit of its own.

mount.nfs starts the unit and waits until the mount stands; what the unit says on failure is mount.nfs's message.
"""

import asyncio
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from provisioner.lab.nfs import device, operations, options
from provisioner.lab.nfs.attributes import Attributes
from provisioner.lab.nfs.device import Device, Request
from provisioner.lab.nfs.filesystem import FileSystem, mount_root
from provisioner.lab.nfs.operations import NfsError
from provisioner.lab.nfs.options import Mount, Usage
from provisioner.lab.nfs.rpc import Refused, Transport
from provisioner.lab.nfs.session import Session

_RUN = Path("/run/nfs-mounts")
_PYTHON = Path(__file__).resolve().parents[3]
_KIND = "nfs4"
# mount(8), EXIT STATUS.
_USAGE, _FAILED = 1, 32


def main(arguments: list[str]) -> int:
    """Mount as mount.nfs(8) does and return its exit status."""
    try:
        wanted = options.parse(arguments)
    except Usage as error:
        return _fail(str(error), _USAGE)
    if wanted.fake:
        return 0
    reason = _refusal(wanted)
    if reason:
        return _fail(reason, _FAILED)
    wanted.target = os.path.realpath(wanted.target)
    if wanted.flags & options.REMOUNT:
        return subprocess.run(["mount", "-i", "-o", _remounting(wanted), wanted.target], check=False).returncode
    return _begin_unit(wanted)


def _refusal(wanted: Mount) -> str:
    if not os.path.isdir(wanted.target):
        return f"mount point {wanted.target} does not exist"
    if not Path("/run/systemd/system").is_dir():
        return "systemd does not run, and a mount is a service of its"
    return ""


def _begin_unit(wanted: Mount) -> int:
    """Start the unit that serves the mount, and wait until it does."""
    _RUN.mkdir(mode=0o700, exist_ok=True)
    handle, said = tempfile.mkstemp(dir=_RUN)
    os.close(handle)
    try:
        begun = subprocess.run(_unit(wanted, said), capture_output=True, text=True, check=False)
        if begun.returncode == 0:
            return 0
        reason = Path(said).read_text() or f"{begun.stderr.strip()}; journalctl -t mount.nfs"
        return _fail(reason, _FAILED)
    finally:
        Path(said).unlink()


def _unit(wanted: Mount, said: str) -> list[str]:
    """Return the command that runs `serve` as a unit: it outlives who mounts, and a shutdown until the unmount."""
    properties = (
        "Type=notify", "NotifyAccess=main", "TimeoutStartSec=infinity", "DefaultDependencies=no", "KillMode=process",
        "SendSIGKILL=no", "SyslogIdentifier=mount.nfs", "OOMScoreAdjust=0", "TasksMax=infinity",
    )  # fmt: skip
    return [
        "systemd-run", "--quiet", "--collect", f"--description=NFS client of {wanted.target}",
        *(f"--property={one}" for one in properties), f"--setenv=PYTHONPATH={_PYTHON}",
        sys.executable, "-P", "-m", __package__, "serve", json.dumps(asdict(wanted)), said,
    ]  # fmt: skip


def _remounting(wanted: Mount) -> str:
    return "remount,ro" if wanted.flags & 1 else "remount,rw"


def _fail(reason: str, status: int) -> int:
    print(f"mount.nfs: {reason}", file=sys.stderr)
    return status


def serve(wanted: Mount, said: Path) -> int:
    """Mount and serve the mount until it is unmounted. said: where the reason is written if it cannot be mounted."""
    try:
        asyncio.run(_serve(wanted))
    except (OSError, TimeoutError) as error:
        said.write_text(_reason(wanted, error))
        return _FAILED
    return 0


def _reason(wanted: Mount, error: OSError | TimeoutError) -> str:
    if isinstance(error, NfsError) and error.status in (operations.NOENT, operations.ACCESS):
        # A server does not tell strangers what it exports.
        return f"access denied by server while mounting {wanted.source}: it exports no such directory to this address"
    if isinstance(error, NfsError) and error.status == operations.MINOR_VERS_MISMATCH:
        return f"requested NFS version or transport protocol is not supported: the server has no NFS 4.{wanted.minor}"
    if isinstance(error, Refused):
        return f"access denied by server while mounting {wanted.source}: {error.strerror}"
    return f"mounting {wanted.source} failed: {error.strerror or error}"


async def _serve(wanted: Mount) -> None:
    transport = Transport(await _address(wanted.host), wanted.port, privileged=wanted.privileged, log=_log)
    session = Session(transport, wanted.minor, _log)
    try:
        root = await _within(wanted.retry, _begin(session, wanted.path), transport)
        file_system = FileSystem(session, root)
        served = Device(
            device.mount(wanted.source, wanted.target, _KIND, wanted.flags),
            _deadline(file_system, wanted.soft), file_system.forget, _log,
        )  # fmt: skip
        file_system.invalidate = served.invalidate
        renewing = asyncio.get_running_loop().create_task(session.keep(session.lease))
        # A shutdown unmounts; only then may this end, or what programs have yet to write would be lost.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _notify("READY=1")
        await served.serve()
        renewing.cancel()
        await session.end()
    finally:
        await transport.close()


async def _begin(session: Session, path: str) -> tuple[bytes, Attributes]:
    await session.begin()
    return await mount_root(session, path)


async def _within(
    seconds: float, work: Awaitable[tuple[bytes, Attributes]], transport: Transport
) -> tuple[bytes, Attributes]:
    """Await the first words with a server; without an answer in so many seconds, TimeoutError with the reason."""
    try:
        return await asyncio.wait_for(work, max(seconds, 10.0))
    except TimeoutError:
        raise OSError(
            errno.ETIMEDOUT, f"no answer from the server ({transport.trouble or 'it is connected'})"
        ) from None


def _deadline(file_system: FileSystem, seconds: float) -> device.Handler:
    """Return what answers requests: a hard mount waits for its server, a soft one for so many seconds."""
    if not seconds:
        return file_system.answer

    async def answer(request: Request) -> bytes:
        return await asyncio.wait_for(file_system.answer(request), seconds)

    return answer


async def _address(host: str) -> str:
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return str(found[0][4][0])


def _notify(text: str) -> None:
    """Tell systemd, sd_notify(3)."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link, suppress(OSError):
            link.sendto(text.encode(), "\0" + path[1:] if path.startswith("@") else path)


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
