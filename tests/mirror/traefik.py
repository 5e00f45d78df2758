"""Traefik's ingress controller, built from its Go module as the main module: it has `replace` lines, which
`go install` refuses.

Built without the DNS providers of its ACME client: 760 of 1870 packages and 170 of 310 MB to fetch, for a challenge
that needs an account at one of a hundred vendors. One import is changed for that, see `_without_dns_providers`. The
module carries no dashboard either; upstream's release builds that from npm.
"""

import json
import shutil
from pathlib import Path

from provisioner.errors import ProvisionerError
from tests.mirror import cache
from tests.mirror.goprograms import LDFLAGS, environment, toolchain
from tests.mirror.progress import output, run

VERSION = "2.11.2"
NAME = "traefik"
_MODULE = "github.com/traefik/traefik/v2"
_GO = "1.26.4"  # the toolchain that metrics-server is built with: one download less
_ACME = "pkg/provider/acme/provider.go"
_DNS_PROVIDERS = '"github.com/go-acme/lego/v4/providers/dns"'
_NONE = "pkg/nodns"
_NONE_SOURCE = """\
// Package dns stands where lego's DNS providers would: it knows none.
package dns

import (
	"fmt"

	"github.com/go-acme/lego/v4/challenge"
)

// NewDNSChallengeProviderByName refuses every name.
func NewDNSChallengeProviderByName(name string) (challenge.Provider, error) {
	return nil, fmt.Errorf("this Traefik was built without DNS providers: %q", name)
}
"""


def build() -> Path:
    """Return the path of Traefik's static binary, built unless the cache has it."""
    return cache.artefact(NAME, recipe(), _compile) / NAME


def recipe() -> dict[str, object]:
    """Return all that determines the program, for the cache."""
    return {
        "module": f"{_MODULE}@v{VERSION}",
        "go": _GO,
        "ldflags": LDFLAGS,
        "changes": (_ACME, _DNS_PROVIDERS, _NONE_SOURCE),
    }


def _compile(directory: Path) -> None:
    log = cache.root() / "logs" / f"{NAME}.log"
    go = toolchain(_GO)
    env = environment() | {"GOROOT": str(go.parent.parent), "CGO_ENABLED": "0"}
    listing = output([go, "mod", "download", "-json", f"{_MODULE}@v{VERSION}"], log, cwd=cache.work(), env=env)
    tree = directory / "tree"
    shutil.copytree(json.loads(listing)["Dir"], tree)
    _without_dns_providers(tree)
    flags = f"{LDFLAGS} -X {_MODULE}/pkg/version.Version={VERSION}"
    run([go, "build", "-trimpath", "-ldflags", flags, "-o", directory / NAME, "./cmd/traefik"], log, cwd=tree, env=env)
    shutil.rmtree(tree)


def _without_dns_providers(tree: Path) -> None:
    """Let the ACME client import a package that knows no DNS provider, in place of lego's with all of them."""
    (tree / _NONE).mkdir()
    (tree / _NONE / "dns.go").write_text(_NONE_SOURCE)
    source = tree / _ACME
    text = source.read_text()
    if text.count(_DNS_PROVIDERS) != 1:
        raise ProvisionerError(f"{_ACME} of Traefik {VERSION} does not import {_DNS_PROVIDERS}", "adapt this recipe")
    source.write_text(text.replace(_DNS_PROVIDERS, f'"{_MODULE}/{_NONE}"'))
