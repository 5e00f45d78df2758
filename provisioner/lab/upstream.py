"""Where the lab's cluster gets its software from: upstream, or a mirror.

If upstream is reachable, VMs get an uplink and use it. If not, provisioner/lab/mirror builds what it can from package
registries and serves it inside the lab in upstream's layout.
"""

import http.client
import json
import ssl
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from provisioner.catalogue import release
from provisioner.errors import ProvisionerError
from provisioner.kube.download import fetch
from provisioner.lab import background, kinds, network, recipe
from provisioner.lab.image import Progress
from provisioner.lab.mirror import editions
from provisioner.lab.spec import MIRROR, LabSpec, MirrorInfo
from provisioner.site import load_site

UPSTREAM = (("pkgs.k8s.io", "/"), ("registry.k8s.io", "/v2/"), ("raw.githubusercontent.com", "/"))
PROBE_SECONDS = 5.0
SERVE_SECONDS = 60.0
_SERVE = ("-m", "provisioner.lab.mirror", "serve")
# `-m` finds the package in the working directory: the same one that runs now, installed or not.
_PACKAGES = Path(__file__).resolve().parents[2]


def ensure(wanted: LabSpec, progress: Progress) -> MirrorInfo | None:
    """Return None if upstream is reachable; else build the lab's mirror, unless cached, and return its description.

    A lab that names no Kubernetes gets the current one or, on emulated machines, the oldest: it is lighter.
    """
    unreachable = [host for host, why in probe() if why]
    if not unreachable:
        return None
    progress(f"upstream: {', '.join(unreachable)}: unreachable; using a mirror instead")
    default = editions.SOURCE if kinds.emulated(wanted, progress) else editions.CURRENT
    suites = [recipe.SYSTEMS[system] for system in wanted.systems]
    return build(progress, wanted.small, (wanted.kubernetes or default.minor, *wanted.also), suites)


def probe(targets: Sequence[tuple[str, str]] = UPSTREAM, timeout: float = PROBE_SECONDS) -> list[tuple[str, str]]:
    """Request each (host, path) by HTTPS HEAD; return (host, why it failed), "" if it succeeded."""
    with ThreadPoolExecutor(max_workers=len(targets)) as pool:
        reasons = list(pool.map(lambda target: _head(target[0], target[1], timeout), targets))
    return [(host, why) for (host, _), why in zip(targets, reasons, strict=True)]


def _head(host: str, path: str, timeout: float) -> str:
    connection = http.client.HTTPSConnection(host, timeout=timeout, context=ssl.create_default_context())
    try:
        connection.request("HEAD", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return "" if status < 400 else f"status {status}"


def prefetch(site_file: Path, progress: Progress) -> None:
    """Download the manifests that the lab's cluster needs: its operator machine has no uplink, this one has."""
    site = load_site(site_file)
    programs = [("metallb", site.metallb.version)]
    if site.metrics.enabled:
        programs.append(("metrics_server", site.metrics.version))
    if site.ingress.enabled:
        programs.append((site.ingress_controller, ""))
    if site.cluster.network == "flannel":
        programs.append(("flannel", ""))
    progress("upstream: downloading the manifests of " + ", ".join(name for name, _ in programs))
    for name, version in programs:
        for download in release(name, str(site.version), version).manifests:
            fetch(site, download)


def build(progress: Progress, small: bool, versions: Sequence[str], suites: Sequence[str]) -> MirrorInfo:
    """Build what the cache lacks and return the mirror's description.

    small: omit what only metrics and ingress need. versions: of Kubernetes, such as "1.37", the lab's own first.
    suites: the Debian releases that machines run.
    """
    # Progress (stderr) goes straight to the screen; stdout is one line of JSON.
    done = subprocess.run(
        [
            *(sys.executable, "-m", "provisioner.lab.mirror", "build"),
            *(["--small"] if small else []),
            *("--kubernetes", versions[0]),
            *(word for version in versions[1:] for word in ("--also", version)),
            *(word for suite in suites for word in ("--suite", suite)),
        ],
        cwd=_PACKAGES,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ProvisionerError(
            "building the mirror failed",
            "see the lines above; for blank VMs without it: provisioner lab up --no-mirror",
        )
    mirror = parse(done.stdout)
    for name, why in mirror.left_out.items():
        progress(f"mirror: not included: {name} {why}")
    return mirror


def parse(text: str) -> MirrorInfo:
    """Parse the JSON line that `python -m provisioner.lab.mirror build` prints last."""
    try:
        info: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
        return MirrorInfo(
            directory=Path(info["directory"]),
            key=Path(info["key"]),
            kubernetes=info["kubernetes"],
            metallb=info["metallb"],
            metrics_server=info["metrics_server"],
            left_out=dict(info.get("left_out", {})),
            containerd=f"http://{MIRROR}/download.docker.com" if info.get("containerd") else "",
        )
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ProvisionerError(
            f"the mirror's description cannot be read ({error!r})", "python3 -m provisioner.lab.mirror info"
        ) from error


def serve(spec: LabSpec, mirror: MirrorInfo) -> None:
    """Start the mirror in the lab's namespace, unless it is running, and wait until it answers."""
    if pid(spec) is not None and str(mirror.directory) not in background.arguments(pid(spec) or 0):
        stop(spec)  # an older build
    if pid(spec) is None:
        argv = [sys.executable, *_SERVE, "--directory", str(mirror.directory), "--address", MIRROR]
        background.start(spec.directory, "mirror", network.inside(spec.namespace, argv), _PACKAGES)
    ready = background.wait_until(lambda: pid(spec) is None or _serves(spec), SERVE_SECONDS)
    if not ready or pid(spec) is None:
        raise ProvisionerError("the mirror did not start serving", f"see {spec.directory / 'mirror.log'}")


def _serves(spec: LabSpec) -> bool:
    def request() -> None:
        for port, path in ((80, "/debian/dists/bookworm/InRelease"), (5000, "/v2/")):
            connection = http.client.HTTPConnection(MIRROR, port, timeout=5)
            try:
                connection.request("HEAD", path)
                connection.getresponse()
            finally:
                connection.close()

    try:
        network.within(spec.namespace, request)
    except (OSError, http.client.HTTPException):
        return False
    return True


def pid(spec: LabSpec) -> int | None:
    """Return the PID of the mirror's process, or None if it is not running."""
    return background.pid(spec.directory, "mirror", _SERVE)


def stop(spec: LabSpec) -> None:
    """Stop the mirror's process and wait until it is gone."""
    background.stop(spec.directory, "mirror", _SERVE)
