"""The images: what each is made of, and the registry storage that holds them all.

Names are upstream's paths without the registry's host; tags are those that manifests and kubeadm request. If the
program's version differs from the tag, the label org.opencontainers.image.version has the program's.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from provisioner.lab.mirror import apt, cache, oci, registry, traefik
from provisioner.lab.mirror.editions import Edition
from provisioner.lab.mirror.kubernetes_source import CONTROL_PLANE
from provisioner.lab.mirror.progress import output, run

_PAUSE_SOURCE = Path(__file__).parent / "pause/pause.c"
# Parts of Debian's packages that no program reads in a container.
_UNUSED = ("usr/share", "usr/lib/x86_64-linux-gnu/gconv", "var", "etc/init.d", "etc/default", "lib/systemd")
# Half of an idle control plane's CPU time is Go waking threads, monitoring them and collecting garbage, which is
# expensive on emulated processors (docs/decisions/0012-how-machines-are-emulated.md).
_CALM = ("GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1", "GOGC=200")
_TITLE = "org.opencontainers.image.title"
_VERSION = "org.opencontainers.image.version"
NGINX = "1.22.1"  # Debian's
_ETCD = ("etcd", "etcdctl", "etcdutl")  # the last since 3.5


@dataclass(frozen=True)
class Image:
    """An image of one layer of files (path in the image -> path here), on top of a shared layer or none."""

    name: str
    tags: tuple[str, ...]
    version: str
    files: Mapping[str, Path]
    shared_layer: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


def images(
    edition: Edition, kube: Path, programs: Mapping[str, Path], etcd_version: str, pause: Path
) -> tuple[Image, ...]:
    """Return all images whose programs have been built.

    kube: directory of Kubernetes' programs; programs: path of every other program by name; pause: the pause program.
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
            shared_layer="base",
            entrypoint=("kube-proxy",),
        ),
        Image(
            "etcd",
            (edition.etcd_tag,),
            etcd_version,
            {f"usr/local/bin/{name}": programs[name] for name in _ETCD if name in programs},
            shared_layer="base",
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
            for program in _built(programs, "metrics-server")
        ),
        *(
            Image(
                "library/traefik",
                (ingress,),
                ingress,
                {"usr/local/bin/traefik": program},
                entrypoint=("traefik",),
            )
            for program in _built(programs, traefik.NAME)
        ),
        *(_flannel(edition, programs) if edition.flannel else ()),
        Image("library/nginx", (edition.nginx_tag,), NGINX, {}, shared_layer="web", entrypoint=("nginx",)),
        Image(
            "e2e-test-images/agnhost",
            (edition.agnhost_tag, edition.agnhost),
            edition.agnhost,
            {"agnhost": kube / "agnhost"},
            shared_layer="shell",
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
            shared_layer="base",
            entrypoint=("/opt/bin/flanneld",),
        ),
        Image(
            "flannel-io/flannel-cni-plugin",
            (edition.flannel_plugin_tag,),
            "0.9.1",
            {"flannel": programs["flannel-plugin"]},
            shared_layer="shell",
        ),
    )


def _built(programs: Mapping[str, Path], name: str) -> list[Path]:
    return [programs[name]] if name in programs else []


def build(edition: Edition, kube: Path, programs: Mapping[str, Path], ingredients: Path) -> Path:
    """Return a directory with the registry's storage, `registry`.

    kube: directory of Kubernetes' programs; programs: path of every other program by name; ingredients: see
    `apt.ingredients`.
    """
    recipe: dict[str, object] = {
        "edition": edition.kubernetes,
        "inputs": (str(kube), str(ingredients), {name: str(path) for name, path in programs.items()}),
        "pause": _PAUSE_SOURCE.read_text(),
        "steps": cache.source_hash("images.py", "oci.py", "editions.py"),
    }
    return cache.artifact("images", recipe, lambda directory: _make(directory, edition, kube, programs, ingredients))


def _make(directory: Path, edition: Edition, kube: Path, programs: Mapping[str, Path], ingredients: Path) -> None:
    log = cache.root() / "logs/images.log"
    scratch = directory / "scratch"
    scratch.mkdir(parents=True)
    etcd_version = output([programs["etcd"], "--version"], log).split()[2]  # etcd Version: 3.4.23
    pause = scratch / "pause"
    run(["gcc", "-Os", "-static", "-s", "-Wall", "-Werror", "-o", pause, _PAUSE_SOURCE], log)
    shared = {
        "base": lambda tree: _base(ingredients, tree),
        "shell": lambda tree: _shell(ingredients, tree),
        "web": lambda tree: _web(ingredients, tree),
    }
    with registry.running(directory / "registry", "127.0.0.1", 0, readonly=False) as (_, port):
        client = registry.Client(port)
        layers = {name: _layer(scratch / name, fill) for name, fill in shared.items()}
        for image in images(edition, kube, programs, etcd_version, pause):
            _push(client, image, layers.get(image.shared_layer), scratch / image.name.replace("/", "-"))
        client.close()
    shutil.rmtree(scratch)


def _layer(tree: Path, fill: Callable[[Path], None]) -> tuple[oci.Blob, Path]:
    tree.mkdir(parents=True)
    fill(tree)
    tar = tree.with_name(f"{tree.name}.tar")
    blob = oci.write_layer(tree, tar)
    shutil.rmtree(tree)
    return blob, tar


def _push(client: registry.Client, image: Image, shared: tuple[oci.Blob, Path] | None, tree: Path) -> None:
    layers = [shared] if shared else []
    layers.append(_layer(tree.with_name(f"{tree.name}-files"), lambda root: _copy_files(image, root)))
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


def _copy_files(image: Image, tree: Path) -> None:
    for path, source in image.files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, tree / path)
        (tree / path).chmod(0o755)
    (tree / "tmp").mkdir()
    (tree / "tmp").chmod(0o1777)


def _shell(ingredients: Path, tree: Path) -> None:
    """Fill a tree with busybox and a link for each of its applets."""
    apt.unpack(ingredients, "busybox-static", tree)
    shutil.rmtree(tree / "usr/share")
    _busybox_links(tree)


def _web(ingredients: Path, tree: Path) -> None:
    """Fill a tree with a web server; its configuration file must be passed on the command line."""
    for package in apt.WEB_PACKAGES:
        apt.unpack(ingredients, package, tree)
    for path in _UNUSED:
        shutil.rmtree(tree / path, ignore_errors=True)


def _base(ingredients: Path, tree: Path) -> None:
    """Fill a tree with the base packages, and busybox for the commands that they lack."""
    for package in apt.BASE_PACKAGES:
        apt.unpack(ingredients, package, tree)
    apt.unpack(ingredients, "busybox-static", tree)
    for path in _UNUSED:
        shutil.rmtree(tree / path, ignore_errors=True)
    # The nft variant, as update-alternatives selects on a Debian host.
    for family in ("iptables", "ip6tables"):
        for suffix in ("", "-save", "-restore"):
            os.symlink("xtables-nft-multi", tree / f"usr/sbin/{family}{suffix}")
    _busybox_links(tree)


def _busybox_links(tree: Path) -> None:
    listing = output([tree / "bin/busybox", "--list"], cache.root() / "logs/images.log")
    existing = {path.name for folder in ("bin", "sbin", "usr/bin", "usr/sbin") for path in (tree / folder).glob("*")}
    for name in sorted(set(listing.split()) - existing):
        os.symlink("busybox", tree / "bin" / name)
