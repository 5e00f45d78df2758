"""The images: what each is made of, and the registry's storage that holds them all.

Names are upstream's paths without the registry's host, tags are those that manifests and kubeadm ask for. Where the
program inside has another version than the tag, the label org.opencontainers.image.version tells the true one.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.mirror import apt, cache, oci, registry, traefik
from tests.mirror.editions import Edition
from tests.mirror.kubernetes_source import CONTROL_PLANE
from tests.mirror.progress import output, run

_PAUSE_SOURCE = Path(__file__).parent / "pause/pause.c"
# Of Debian's packages, what no program reads in a container.
_UNUSED = ("usr/share", "usr/lib/x86_64-linux-gnu/gconv", "var", "etc/init.d", "etc/default", "lib/systemd")
# Go's runtime spends half of an idle control plane's time on waking threads, on the watch over them and on collecting
# garbage, all of it dear where processors are emulated (docs/decisions/0012-how-machines-are-emulated.md).
_CALM = ("GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1", "GOGC=200")
_TITLE = "org.opencontainers.image.title"
_VERSION = "org.opencontainers.image.version"


NGINX = "1.22.1"  # Debian's


@dataclass(frozen=True)
class Etcd:
    """Where etcd and etcdctl lie, and what version they are."""

    directory: Path
    version: str


@dataclass(frozen=True)
class Image:
    """An image: a shared layer below, or none, and one layer of files (path inside -> path here)."""

    name: str
    tags: tuple[str, ...]
    version: str
    files: Mapping[str, Path]
    below: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


def images(edition: Edition, kube: Path, programs: Mapping[str, Path], etcd: Etcd, pause: Path) -> tuple[Image, ...]:
    """List all images whose programs there are.

    kube: directory of Kubernetes' binaries; programs: the Go programs by name; pause: the pause program.
    """
    release = f"v{edition.kubernetes}"
    static = tuple(
        Image(name, (release,), release, {f"usr/local/bin/{name}": kube / name}, entrypoint=(name,))
        for name in CONTROL_PLANE
    )
    metallb, metrics, ingress = f"v{edition.metallb}", f"v{edition.metrics_server}", f"v{edition.traefik}"
    return (
        *static,
        Image(
            "kube-proxy",
            (release,),
            release,
            {"usr/local/bin/kube-proxy": kube / "kube-proxy"},
            below="base",
            entrypoint=("kube-proxy",),
        ),
        Image(
            "etcd",
            (edition.etcd_tag,),
            etcd.version,
            {f"usr/local/bin/{name}": etcd.directory / name for name in ("etcd", "etcdctl")},
            below="base",
            entrypoint=("etcd",),
        ),
        Image(
            edition.coredns,
            (edition.coredns_tag,),
            edition.coredns_tag,
            {"coredns": programs["coredns"]},
            entrypoint=("/coredns",),
        ),
        Image("pause", edition.pause_tags, "own", {"pause": pause}, entrypoint=("/pause",)),
        *(
            Image(
                f"metallb/{name}",
                (metallb,),
                metallb,
                {name: programs[f"metallb-{name}"]},
                entrypoint=(f"/{name}",),
            )
            for name in ("controller", "speaker")
        ),
        *(
            Image(
                "metrics-server/metrics-server",
                (metrics,),
                metrics,
                {"metrics-server": program},
                entrypoint=("/metrics-server",),
            )
            for program in _there(programs, "metrics-server")
        ),
        *(
            Image(
                "library/traefik",
                (ingress,),
                ingress,
                {"usr/local/bin/traefik": program},
                entrypoint=("traefik",),
            )
            for program in _there(programs, traefik.NAME)
        ),
        *(_flannel(edition, programs) if edition.flannel else ()),
        Image("library/nginx", (edition.nginx_tag,), NGINX, {}, below="web", entrypoint=("nginx",)),
        Image(
            "e2e-test-images/agnhost",
            (edition.agnhost_tag, edition.agnhost),
            edition.agnhost,
            {"agnhost": kube / "agnhost"},
            below="shell",
            entrypoint=("/agnhost",),
            command=("pause",),
        ),
    )


def _flannel(edition: Edition, programs: Mapping[str, Path]) -> tuple[Image, ...]:
    version = f"v{edition.flannel}"
    return (
        Image(
            "flannel-io/flannel",
            (version,),
            version,
            {f"opt/bin/{name}": programs[name] for name in ("flanneld", "install-conf")},
            below="base",
            entrypoint=("/opt/bin/flanneld",),
        ),
        Image(
            "flannel-io/flannel-cni-plugin",
            (edition.flannel_plugin_tag,),
            "0.9.1",
            {"flannel": programs["flannel-plugin"]},
            below="shell",
        ),
    )


def _there(programs: Mapping[str, Path], name: str) -> list[Path]:
    return [programs[name]] if name in programs else []


def build(edition: Edition, kube: Path, programs: Mapping[str, Path], ingredients: Path) -> Path:
    """Return a directory with the registry's storage (`registry`) and `etcd`, `etcdctl` in `bin`.

    kube: directory of Kubernetes' binaries; programs: path of each Go program by name, etcd's among them unless
    Debian's will do; ingredients: the Debian packages of `apt.ingredients`.
    """
    recipe: dict[str, object] = {
        "edition": edition.kubernetes,
        "inputs": (str(kube), str(ingredients), {name: str(path) for name, path in programs.items()}),
        "pause": _PAUSE_SOURCE.read_text(),
        "steps": cache.own_source("images.py", "oci.py", "editions.py"),
    }
    return cache.artefact("images", recipe, lambda directory: _make(directory, edition, kube, programs, ingredients))


def _make(directory: Path, edition: Edition, kube: Path, programs: Mapping[str, Path], ingredients: Path) -> None:
    log = cache.root() / "logs/images.log"
    scratch = directory / "scratch"
    scratch.mkdir(parents=True)
    etcd = _etcd(directory / "bin", programs, ingredients, scratch / "etcd")
    pause = scratch / "pause"
    run(["gcc", "-Os", "-static", "-s", "-Wall", "-Werror", "-o", pause, _PAUSE_SOURCE], log)
    shared = {
        "base": lambda tree: _base(ingredients, tree),
        "shell": lambda tree: _shell(ingredients, tree),
        "web": lambda tree: _web(ingredients, tree),
    }
    with registry.running(directory / "registry", "127.0.0.1", 0, readonly=False) as (_, port):
        client = registry.Client(port)
        below = {name: _layer(scratch / name, fill) for name, fill in shared.items()}
        for image in images(edition, kube, programs, etcd, pause):
            _push(client, image, below.get(image.below), scratch / image.name.replace("/", "-"))
        client.close()
    shutil.rmtree(scratch)


def _etcd(target: Path, programs: Mapping[str, Path], ingredients: Path, scratch: Path) -> Etcd:
    """Put etcd and etcdctl into `target`: those of the Go ecosystem where they were built, else Debian's."""
    target.mkdir()
    scratch.mkdir()
    for package, program in (("etcd-server", "etcd"), ("etcd-client", "etcdctl")):
        if program in programs:
            shutil.copy(programs[program], target / program)
        else:
            apt.unpack(ingredients, package, scratch)
            (scratch / "usr/bin" / program).rename(target / program)
    said = output([target / "etcd", "--version"], cache.root() / "logs/images.log")
    return Etcd(target, said.split()[2])  # etcd Version: 3.4.23


def _layer(tree: Path, fill: Callable[[Path], None]) -> tuple[oci.Blob, Path]:
    tree.mkdir(parents=True)
    fill(tree)
    tar = tree.with_name(f"{tree.name}.tar")
    blob = oci.write_layer(tree, tar)
    shutil.rmtree(tree)
    return blob, tar


def _push(client: registry.Client, image: Image, below: tuple[oci.Blob, Path] | None, tree: Path) -> None:
    layers = [below] if below else []
    layers.append(_layer(tree.with_name(f"{tree.name}-files"), lambda place: _files(image, place)))
    for blob, path in layers:
        client.push_blob(image.name, blob, path)
    blobs = [blob for blob, _ in layers]
    labels = {_TITLE: image.name, _VERSION: image.version}
    configuration = oci.config(
        blobs, entrypoint=image.entrypoint, command=image.command, labels=labels, environment=_CALM
    )
    client.push_blob(image.name, oci.describe(configuration), configuration)
    manifest = oci.manifest(configuration, blobs)
    for tag in image.tags:
        client.push_manifest(image.name, tag, manifest)
    layers[-1][1].unlink()


def _files(image: Image, tree: Path) -> None:
    for place, source in image.files.items():
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, tree / place)
        (tree / place).chmod(0o755)
    (tree / "tmp").mkdir()
    (tree / "tmp").chmod(0o1777)


def _shell(ingredients: Path, tree: Path) -> None:
    """Fill a tree with busybox under all its names."""
    apt.unpack(ingredients, "busybox-static", tree)
    shutil.rmtree(tree / "usr/share")
    _busybox_links(tree)


def _web(ingredients: Path, tree: Path) -> None:
    """Fill a tree with a web server that wants its configuration named."""
    for package in apt.WEB_PACKAGES:
        apt.unpack(ingredients, package, tree)
    for place in _UNUSED:
        shutil.rmtree(tree / place, ignore_errors=True)


def _base(ingredients: Path, tree: Path) -> None:
    """Fill a tree with the base packages, and busybox for what they lack."""
    for package in apt.BASE_PACKAGES:
        apt.unpack(ingredients, package, tree)
    apt.unpack(ingredients, "busybox-static", tree)
    for place in _UNUSED:
        shutil.rmtree(tree / place, ignore_errors=True)
    # What the packages' maintainer scripts choose on a Debian host (update-alternatives): the nft variant.
    for family in ("iptables", "ip6tables"):
        for ending in ("", "-save", "-restore"):
            os.symlink("xtables-nft-multi", tree / f"usr/sbin/{family}{ending}")
    _busybox_links(tree)


def _busybox_links(tree: Path) -> None:
    listing = output([tree / "bin/busybox", "--list"], cache.root() / "logs/images.log")
    taken = {path.name for place in ("bin", "sbin", "usr/bin", "usr/sbin") for path in (tree / place).glob("*")}
    for name in sorted(set(listing.split()) - taken):
        os.symlink("busybox", tree / "bin" / name)
