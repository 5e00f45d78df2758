"""Part of the step prepare, and of those that configure kubelets: the kernel's settings that a kubelet protects.

With protectKernelDefaults a kubelet does not change them, and does not start where they are others. They are put into
effect before it is installed. A container whose /proc/sys cannot be written keeps what its host has; its kubelet is
then told not to look (KubeletInUserNamespace lets it start there).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from provisioner import yaml_text
from provisioner.engine import Change
from provisioner.engine.changes import file
from provisioner.kube import kubeadm_state
from provisioner.site import Site, hardening
from provisioner.ssh import FactQuery, Host

# What kubelets want (setupKernelTunables in pkg/kubelet/cm/container_manager_linux.go).
SETTINGS: Mapping[str, str] = {
    "vm.overcommit_memory": "1",
    "vm.panic_on_oom": "0",
    "kernel.panic": "10",
    "kernel.panic_on_oops": "1",
    "kernel.keys.root_maxkeys": "1000000",
    "kernel.keys.root_maxbytes": "25000000",
}
FILE = "/etc/sysctl.d/99-zz-provisioner.conf"  # after 99-sysctl.conf, which is /etc/sysctl.conf
CONFIG = "/var/lib/kubelet/config.yaml"
FLAG = "protect-kernel-defaults"
_PATHS = {name: f"/proc/sys/{name.replace('.', '/')}" for name in SETTINGS}
_UNWRITABLE = 'for path in {paths}; do [ -w "$path" ] || echo "$path"; done'
FORBIDDEN = _UNWRITABLE.format(paths=" ".join(_PATHS.values()))  # a script that prints what nobody may set here
QUERY = FactQuery(files=(CONFIG,), exists=(kubeadm_state.KUBELET_CONF,), sysctls=tuple(SETTINGS))


def changes(host: Host, site: Site) -> Iterator[Change]:
    """Yield the settings to change, on a host whose kubelet protects them or is going to."""
    joined = kubeadm_state.exists(host, kubeadm_state.KUBELET_CONF)
    if protected(host) if joined else "kubelet" in hardening.items(site):
        yield from _settings(host)


def before_protection(host: Host, site: Site) -> Iterator[Change]:
    """Yield the settings to change on a node whose kubelet is about to protect them; site: as it is in force."""
    if "kubelet" in hardening.items(site) and not protected(host):
        yield from _settings(host)


def _settings(host: Host) -> Iterator[Change]:
    if not _hold(host):
        return
    yield from file(host, FILE, "".join(f"{name} = {value}\n" for name, value in SETTINGS.items()))
    wrong = _wrong(host)
    if wrong:
        diff = "".join(f"- {name} = {now}\n+ {name} = {SETTINGS[name]}\n" for name, now in wrong.items())
        yield Change(f"set {', '.join(wrong)}", lambda: _load(host), diff)


def protected(host: Host) -> bool:
    """Return whether this host's kubelet protects the settings, by its configuration file."""
    try:
        return yaml_text.load_mapping(host.facts.files[CONFIG].content or "").get(hardening.PROTECT) is True
    except yaml_text.NotYaml:
        return False


def allowed(host: Host, site: Site) -> Site:
    """Return the site, with a flag that ends the protection on a host where the settings cannot hold."""
    if "kubelet" not in hardening.items(site) or FLAG in site.kubeadm.kubelet or _hold(host):
        return site
    flags = {**site.kubeadm.kubelet, FLAG: "false"}
    return site.model_copy(update={"kubeadm": site.kubeadm.model_copy(update={"kubelet": flags})})


def _hold(host: Host) -> bool:
    """Return whether the settings are in effect or can be."""
    wrong = _wrong(host)
    if not wrong:
        return True
    return not host.read(_UNWRITABLE.format(paths=" ".join(_PATHS[name] for name in wrong))).strip()


def _wrong(host: Host) -> dict[str, str]:
    """Return the settings that have another value than kubelets want, with that value."""
    found = host.facts.sysctls
    return {name: found.get(name, "") for name, value in SETTINGS.items() if found.get(name) != value}


def _load(host: Host) -> None:
    host.run(f"sysctl -q -p {FILE}")
