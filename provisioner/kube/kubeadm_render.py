"""What kubeadm itself makes of the site's configuration, rendered on a node by the kubeadm that is installed there.

Its phases have a dry run that writes to another folder. So what a node has is compared with what this version of
kubeadm would write on this node, and no knowledge of any version is repeated here.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from provisioner.errors import HostError, NotYet
from provisioner.kube import kubeadm
from provisioner.site import HostSpec, Site
from provisioner.ssh import Host

_PART = re.compile(r"^@part (\S+) (\S+)\n?", re.MULTILINE)
_NO_PKI = "/nonexistent/pki"
# Names an option that a kubeadm lacks; the phases learned --dry-run and --print-manifest after 1.20.
_LACKING = "unknown flag: --"


@dataclass(frozen=True)
class Rendering:
    """files: text by base name, such as config.yaml and kube-apiserver.yaml; empty if this kubeadm cannot render them.

    addons: objects of kube-proxy and CoreDNS, rendered on the first control plane only. clients: PEM certificates in
    /etc/kubernetes/*.conf, by base name.
    """

    files: dict[str, str] = field(default_factory=dict)
    addons: list[dict[str, Any]] = field(default_factory=list)
    clients: dict[str, bytes] = field(default_factory=dict)


def render(host: Host, site: Site) -> Rendering:
    """Return what kubeadm would write on this node; read once, like facts.

    site: with the hardening that the cluster has. Raises HostError if kubeadm fails, NotYet without it.
    """
    return parse(host.name, host.read(script(site, host.spec)))


def script(site: Site, spec: HostSpec) -> str:
    """Return the shell commands that render on a node, and print each result after a line `@part KIND NAME`."""
    wanted = kubeadm.init_documents(site, spec)
    if not spec.is_control_plane:
        # A worker has the CA's certificate without its key, which kubeadm takes for an external CA.
        wanted[1]["certificatesDir"] = _NO_PKI
        wanted[0].pop("patches", None)  # of static pods, which only control planes have
    documents = yaml.safe_dump_all(wanted, sort_keys=False)
    phases = ["kubelet-start"] + (["control-plane all", "etcd local"] if spec.is_control_plane else [])
    lines = [
        "command -v kubeadm >/dev/null || { echo '@part absent kubeadm'; exit 0; }",
        # The value of the variable is the folder, and before about 1.33 one that contains it.
        'umask 077; t=$(mktemp -d); trap \'rm -rf "$t"\' EXIT; mkdir "$t/out"',
        f"cat >\"$t/config\" <<'END-OF-CONFIG'\n{documents}END-OF-CONFIG",
        'export KUBEADM_INIT_DRYRUN_DIR="$t/out"',
        'phase() { kubeadm init phase "$@" --config "$t/config" >"$t/printed" 2>"$t/said" && return\n'
        '  printf \'@part failed %s\\n\' "$1"; cat "$t/said"; exit 0; }',
        *(f"phase {phase} --dry-run" for phase in phases),
        'find "$t/out" -type f | while read -r file; do',
        f"  printf '@part file %s\\n' \"${{file##*/}}\"; sed 's|{_NO_PKI}|/etc/kubernetes/pki|' \"$file\"; echo",
        "done",
        # Only certificates, never the keys beside them.
        'for file in /etc/kubernetes/*.conf; do [ -e "$file" ] || continue',
        "  printf '@part client %s\\n' \"${file##*/}\"; sed -n 's/^ *client-certificate-data: *//p' \"$file\"",
        "done",
    ]
    if spec.name == site.first.name:
        lines += [
            f"phase addon {name} --print-manifest; printf '@part addon %s\\n' {name}; cat \"$t/printed\""
            for name in ("kube-proxy", "coredns")
        ]
    return "\n".join([*lines, "echo '@part end -'"])


def parse(host: str, output: str) -> Rendering:
    """Return the rendering in the script's output."""
    found = Rendering()
    pieces = _PART.split(output)[1:]
    kinds = pieces[::3]
    if "absent" in kinds:
        raise NotYet(f"{host} has no kubeadm, which knows what it would write there", "provisioner apply")
    if "failed" not in kinds and kinds[-1:] != ["end"]:
        raise _unreadable(host, "the output is incomplete", output)
    for kind, name, text in zip(kinds, pieces[1::3], pieces[2::3], strict=True):
        if kind == "failed":
            if _LACKING not in text:
                raise HostError(
                    host,
                    f"kubeadm cannot render its phase {name} from hosts.toml",
                    f"see what it says: provisioner ssh {host} -- kubeadm version",
                    tail=text.strip(),
                )
            if name != "addon":
                return Rendering()
        elif kind == "file":
            found.files[name] = text.removesuffix("\n")
        elif kind == "client" and text.strip():
            try:
                found.clients[name] = base64.b64decode(text.strip(), validate=True)
            except ValueError:  # not base64
                found.clients[name] = b""
        elif kind == "addon":
            found.addons.extend(_objects(host, text))
    return found


def _objects(host: str, text: str) -> list[dict[str, Any]]:
    try:
        objects = [item for item in yaml.safe_load_all(text) if item]
        for item in objects:
            item["metadata"].pop("resourceVersion", None)  # "0" in kube-dns, which only an update understands
            if not isinstance(item["kind"], str) or not isinstance(item["metadata"]["name"], str):
                raise TypeError("kind and name are words")
    except (yaml.YAMLError, TypeError, LookupError, AttributeError, ValueError, RecursionError) as error:
        raise _unreadable(host, "an add-on is no Kubernetes object", text) from error
    return objects


def _unreadable(host: str, why: str, output: str) -> HostError:
    return HostError(host, f"what kubeadm would write could not be read: {why}", "run it again", tail=output)
