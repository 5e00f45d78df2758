"""The key that signs the mirror's apt repositories: generated once into the cache, for this machine only."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from provisioner.lab.mirror import cache
from provisioner.lab.mirror.progress import run

USER = "Mirror of a lab <mirror@lab.invalid>"


def key() -> Path:
    """Return the directory of the key: `secret.asc` (mode 0600) and `public.asc`, both ASCII-armored."""
    return cache.artifact("key", {"user": USER, "algorithm": "ed25519"}, _generate)


def _generate(directory: Path) -> None:
    directory.chmod(0o700)
    with _gpg() as gpg:
        _run(*gpg, "--passphrase", "", "--quick-generate-key", USER, "ed25519", "sign", "never")
        (directory / "secret.asc").touch(0o600)
        _run(*gpg, "--yes", "--armor", "--output", directory / "secret.asc", "--export-secret-keys")
        (directory / "secret.asc").chmod(0o600)
        _run(*gpg, "--armor", "--output", directory / "public.asc", "--export")


def sign(directory: Path, release: Path) -> None:
    """Sign a Release file with the key in `directory`: Release.gpg (detached) and InRelease (inline) beside it."""
    with _gpg() as gpg:
        _run(*gpg, "--import", directory / "secret.asc")
        _run(*gpg, "--armor", "--output", release.parent / "Release.gpg", "--detach-sign", release)
        _run(*gpg, "--output", release.parent / "InRelease", "--clear-sign", release)


@contextmanager
def _gpg() -> Iterator[tuple[str | Path, ...]]:
    """Yield a gpg command with a temporary home, short enough for the agent's socket; stop the agent afterwards."""
    home = Path(tempfile.mkdtemp(prefix="gpg-"))
    try:
        yield ("gpg", "--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback")
    finally:
        _run("gpgconf", "--homedir", home, "--kill", "all")
        shutil.rmtree(home)


def _run(*argv: str | Path) -> None:
    run(argv, cache.root() / "logs/gpg.log")
