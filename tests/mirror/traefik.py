"""Traefik's ingress controller, built from its Go module as the main module: it has `replace` lines, which
`go install` refuses.

Built without the DNS providers of its ACME client: 760 of 1870 packages and 170 of 310 MB to fetch, for a challenge
that needs an account at one of a hundred vendors. One import is changed for that, see `_without_dns_providers`. The
module carries no dashboard either; upstream's release builds that from npm. What 3.x embeds for products that extend
it, in a module of its own that is not published, is empty in upstream's release, and here. Its fork of a library for
basic and digest authentication is that of 3.6, since the one of 3.7 is not offered.
"""

import re
from pathlib import Path

from provisioner.errors import ProvisionerError
from tests.mirror import cache
from tests.mirror.goprograms import LDFLAGS, from_tree

NAME = "traefik"
_GO = "1.26.4"  # the toolchain that metrics-server is built with: one download less
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
# What go.mod of 3.7 names, and what can be had.
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
    """Return the path of Traefik's static binary, in a version such as "2.11.2", built unless the cache has it."""
    return cache.artefact(NAME, recipe(version), lambda directory: _compile(version, directory)) / NAME


def recipe(version: str) -> dict[str, object]:
    """Return all that determines the program, for the cache."""
    return {
        "module": f"{_module(version)}@v{version}",
        "go": _GO,
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
        _without_dns_providers(tree, version)
        if _major(version) > 2:
            (tree / _EXTENSION).mkdir()
            for name, text in _EXTENSION_SOURCES.items():
                (tree / _EXTENSION / name).write_text(text)
            requirements = tree / "go.mod"
            requirements.write_text(requirements.read_text().replace(*_FORK))

    mode = "-mod=mod" if _major(version) > 2 else "-mod=readonly"  # go.sum has to learn of the other fork
    flags = f"{LDFLAGS} -X {module}/pkg/version.Version={version}"
    from_tree(module, version, _GO, change, directory, NAME, mode, "-ldflags", flags, "./cmd/traefik")


def _without_dns_providers(tree: Path, version: str) -> None:
    """Let the ACME client import a package that knows no DNS provider, in place of lego's with all of them."""
    source = tree / _ACME
    text = source.read_text()
    found = _DNS_PROVIDERS.findall(text)
    if len(found) != 1:
        raise ProvisionerError(
            f"{_ACME} of Traefik {version} does not import lego's DNS providers", "adapt tests/mirror/traefik.py"
        )
    (tree / _NONE).mkdir()
    (tree / _NONE / "dns.go").write_text(_NONE_SOURCE.replace("LEGO", found[0]))
    source.write_text(_DNS_PROVIDERS.sub(f'"{_module(version)}/{_NONE}"', text))
