"""Install and configure containerd: systemd cgroup driver, sandbox image, registry mirrors."""

from __future__ import annotations

import re
from collections.abc import Iterator

from provisioner.catalogue import pause_image, signing_keys
from provisioner.engine import Change, Scope, Step, apt
from provisioner.engine.apt_source import AptSource, add_repository
from provisioner.engine.changes import file, needs_restart, packages, unit
from provisioner.kube import Cluster
from provisioner.site import Site, proxy
from provisioner.ssh import FactQuery, Host, HostFacts
from provisioner.steps import containerd_kept
from provisioner.text import unified_diff

CONFIG = "/etc/containerd/config.toml"
CERTS = "/etc/containerd/certs.d"
DROP_IN = "/etc/systemd/system/containerd.service.d/provisioner-proxy.conf"
CRICTL = "/etc/crictl.yaml"
PACKAGE_2 = "containerd.io"
REGISTRIES = ("registry.k8s.io", "docker.io", "quay.io", "ghcr.io")
_SERVERS = {"docker.io": "https://registry-1.docker.io"}

# Debian's own containerd is 1.x, which the kubelet supports up to 1.35; later minors take Docker's 2.x packages.
_CONFIG_1 = """\
version = 2

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"

  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = true

  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{certs}"
"""
_CONFIG_2 = """\
version = 3

[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{pause}"

[plugins."io.containerd.cri.v1.images".registry]
  config_path = "{certs}"

[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/opt/cni/bin"]
  conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
    SystemdCgroup = true
"""


def too_old(facts: HostFacts) -> bool:
    """Return whether Docker's package is installed in a version 1.x, which ignores the configuration of 2.x."""
    installed = facts.packages.get(PACKAGE_2)
    return installed is not None and re.match(r"(?:\d+:)?[01]\.", installed.version) is not None


def needs_docker_packages(site: Site) -> bool:
    """Return whether this Kubernetes needs containerd 2.x, which Debian's archive does not have."""
    return site.version.at_least(1, 36)


def config(site: Site) -> str:
    """Return containerd's config.toml; 1.x and 2.x differ, since 2.x silently ignores the tables of 1.x."""
    template = _CONFIG_2 if needs_docker_packages(site) else _CONFIG_1
    return template.format(pause=pause_image(str(site.version)), certs=CERTS)


def config_on(host: Host, site: Site) -> tuple[str, str]:
    """Return a host's config.toml with what is kept of the operator's own, and words on what is kept and lost."""
    old = host.facts.files[CONFIG].content or ""
    kept = containerd_kept.kept(old)
    return kept.added_to(config(site), 3 if needs_docker_packages(site) else 2), kept.words


def registry_hosts(site: Site, registry: str) -> str:
    """Return certs.d/REGISTRY/hosts.toml: the site's mirror first, then upstream."""
    server = f'server = "{_SERVERS.get(registry, f"https://{registry}")}"\n'
    mirror = site.mirror.images
    if not mirror:
        return server
    address = mirror.replace("{registry}", registry)
    text = f'{server}\n[host."{address}"]\n  capabilities = ["pull", "resolve"]\n'
    return text + ("  override_path = true\n" if "{registry}" in mirror else "")


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the packages, files and restart that containerd needs on this host."""
    del cluster
    if needs_docker_packages(site):
        yield from add_repository(host, docker_repository(site, host.facts.os_id, host.facts.codename))
        yield from packages(host, (PACKAGE_2,))
        if too_old(host.facts):
            version = host.facts.packages[PACKAGE_2].version
            yield Change(
                f"upgrade {PACKAGE_2} from {version} to 2.x, which Kubernetes {site.version.minor_text} needs",
                lambda: apt.install(host, [PACKAGE_2], "--only-upgrade"),
                f"- package {PACKAGE_2} {version}\n+ package {PACKAGE_2} 2.x\n",
            )
    else:
        yield from packages(host, ("containerd", "runc"))
    yield from file(host, CRICTL, "runtime-endpoint: unix:///run/containerd/containerd.sock\ntimeout: 30\n")
    for registry in REGISTRIES:
        yield from file(host, f"{CERTS}/{registry}/hosts.toml", registry_hosts(site, registry))
    wanted, why = config_on(host, site)
    yield from file(host, CONFIG, wanted, why=why)
    restart = needs_restart(host, CONFIG, wanted, "containerd.service")
    drop_in, now = proxy.unit_drop_in(site), host.facts.files[DROP_IN]
    if drop_in:
        yield from file(host, DROP_IN, drop_in, then="systemctl daemon-reload")
        restart = restart or needs_restart(host, DROP_IN, drop_in, "containerd.service")
    elif now.exists:
        diff = unified_diff(DROP_IN, now.content or "", "")
        yield Change(f"remove {DROP_IN}", lambda: _remove_drop_in(host), diff)
    yield from unit(host, "containerd.service", restart=restart)


def _remove_drop_in(host: Host) -> None:
    # Emptied first and removed last: a run that is killed in between finds it and does it again.
    host.run(f": >{DROP_IN}; systemctl daemon-reload; systemctl restart containerd; rm {DROP_IN}", timeout=120)


def docker_repository(site: Site, system: str, codename: str) -> AptSource:
    """Return Docker's apt repository for a system, by the words of its os-release."""
    base = site.mirror.containerd or "https://download.docker.com"
    url = f"{base}/linux/{system}"
    keys = site.mirror.containerd_key or signing_keys("docker")
    return AptSource("docker", url, f"{url}/gpg", f"{codename} stable", keys, "containerd_key")


STEP = Step(
    name="containerd",
    summary="container runtime: systemd cgroups, sandbox image, registry mirrors",
    scope=Scope.ALL,
    changes=changes,
    query=lambda site: FactQuery(
        files=(
            CONFIG,
            CRICTL,
            DROP_IN,
            *(f"{CERTS}/{registry}/hosts.toml" for registry in REGISTRIES),
            *(AptSource.query("docker") if needs_docker_packages(site) else ()),
        ),
        packages=("containerd", "containerd.io", "runc"),
        units=("containerd.service",),
    ),
)
