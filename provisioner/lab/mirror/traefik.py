"""Traefik's ingress controller, built from its Go module as the main module: `go install` refuses its `replace` lines.

It is built without the DNS providers of its ACME client: 760 of 1870 packages and 170 of 310 MB to download, for a
challenge that needs an account with one of a hundred vendors. That takes one changed import, see
`_remove_dns_providers`. The module has no dashboard; upstream's release builds that with npm. The module that 3.x
embeds for products that extend it is not published; it is empty in upstream's release, and here. Its fork of a library
for basic and digest authentication is that of 3.6, since that of 3.7 is not on the Go module proxy.
"""

import re
from pathlib import Path

from provisioner.errors import ProvisionerError
from provisioner.lab.mirror import cache
from provisioner.lab.mirror.goprograms import GO, LDFLAGS, build_from_tree

NAME = "traefik"
_ACME = "pkg/provider/acme/provider.go"
_DNS_PROVIDERS = re.compile(r'"(github\.com/go-acme/lego/v\d+)/providers/dns"')
_NONE = "pkg/nodns"
_NONE_SOURCE = """\
// Package dns stands where lego's DNS providers would: it knows none.
package dns

import (
	"fmt"

	"LEGO/challenge"
)

// NewDNSChallengeProviderByName refuses every name.
func NewDNSChallengeProviderByName(name string) (challenge.Provider, error) {
	return nil, fmt.Errorf("this Traefik was built without DNS providers: %q", name)
}
"""
# What the go.mod of 3.7 requires, and what the Go module proxy has.
_FORK = (
    "containous/go-http-auth v0.4.1-0.20260804094822-b975dcaa8c48",
    "containous/go-http-auth v0.4.1-0.20200324110947-a37a7636d23e",
)
_EXTENSION = "pkg/config/dynamic/ext"
_EXTENSION_SOURCES = {
    "go.mod": "module github.com/traefik/traefik/dynamic/ext\n\ngo 1.22\n",
    "ext.go": "// Package ext adds nothing to the dynamic configuration.\npackage ext\n\n"
    "// HTTP adds nothing.\ntype HTTP struct{}\n\n// Router adds nothing.\ntype Router struct{}\n",
}


def build(version: str) -> Path:
    """Return the path of Traefik's static binary at a version such as "2.11.2", building it unless it is cached."""
    return cache.artifact(NAME, recipe(version), lambda directory: _compile(version, directory)) / NAME


def recipe(version: str) -> dict[str, object]:
    """Return everything that determines the program, for the cache."""
    return {
        "module": f"{_module(version)}@v{version}",
        "go": GO,
        "ldflags": LDFLAGS,
        "changes": (_ACME, _NONE_SOURCE, (_EXTENSION_SOURCES, _FORK) if _major(version) > 2 else ""),
    }


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def _module(version: str) -> str:
    return f"github.com/traefik/traefik/v{_major(version)}"


def _compile(version: str, directory: Path) -> None:
    module = _module(version)

    def change(tree: Path) -> None:
        _remove_dns_providers(tree, version)
        if _major(version) > 2:
            (tree / _EXTENSION).mkdir()
            for name, text in _EXTENSION_SOURCES.items():
                (tree / _EXTENSION / name).write_text(text)
            requirements = tree / "go.mod"
            requirements.write_text(requirements.read_text().replace(*_FORK))

    mode = "-mod=mod" if _major(version) > 2 else "-mod=readonly"  # go.sum lacks the other fork
    flags = f"{LDFLAGS} -X {module}/pkg/version.Version={version}"
    argv = (mode, "-ldflags", flags, "./cmd/traefik")
    build_from_tree(module, version, change, *argv, go=GO, target=directory / NAME)


def _remove_dns_providers(tree: Path, version: str) -> None:
    """Replace the ACME client's import of all of lego's DNS providers by a package without any."""
    source = tree / _ACME
    text = source.read_text()
    found = _DNS_PROVIDERS.findall(text)
    if len(found) != 1:
        raise ProvisionerError(
            f"{_ACME} of Traefik {version} does not import lego's DNS providers",
            "adapt provisioner/lab/mirror/traefik.py",
        )
    (tree / _NONE).mkdir()
    (tree / _NONE / "dns.go").write_text(_NONE_SOURCE.replace("LEGO", found[0]))
    source.write_text(_DNS_PROVIDERS.sub(f'"{_module(version)}/{_NONE}"', text))
