"""Read hosts.toml into a Site, or refuse it with every mistake at once."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from provisioner.errors import ProvisionerError, SiteError
from provisioner.site import messages, rules
from provisioner.site.model import Site


class SiteErrors(ProvisionerError):
    """Report every mistake in hosts.toml at once: `errors`, one line each."""

    def __init__(self, errors: tuple[SiteError, ...]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = errors


def load_site(path: Path) -> Site:
    """Read and validate hosts.toml; SiteErrors with a line for each mistake."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        error = SiteError(str(path), 0, "no such file", "`provisioner init` writes one, -f names another")
    except IsADirectoryError:
        error = SiteError(str(path), 0, "is a folder", "-f names the file, as in -f hosts.toml")
    except OSError as reason:
        error = SiteError(str(path), 0, f"cannot be read ({reason.strerror})", "check its permissions")
    else:
        return parse_site(content, path)
    raise SiteErrors((error,))


def parse_site(content: bytes | str, path: Path = Path("hosts.toml")) -> Site:
    """Validate the content of a hosts.toml that is, or would be, at `path`; SiteErrors as `load` raises them."""
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SiteErrors((messages.unreadable(content, path, error),)) from None
    try:
        site = Site.model_validate(data)
        problems = [*rules.conflicts(site), *rules.gaps(site)]
    except ValidationError as error:
        problems = messages.problems(data, error)
    if problems:
        raise SiteErrors(messages.placed(problems, text, path))
    site._path = path
    return site
