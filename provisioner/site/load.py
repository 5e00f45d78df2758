"""Read hosts.toml into a Site, or report every mistake in it at once."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from provisioner.errors import ProvisionerError, SiteError
from provisioner.site import messages, rules
from provisioner.site.model import Site


class SiteErrors(ProvisionerError):
    """Every mistake in hosts.toml, one line each: `errors`."""

    def __init__(self, errors: tuple[SiteError, ...]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = errors


def load_site(path: Path) -> Site:
    """Read and validate hosts.toml; raise SiteErrors with a line for each mistake."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a named pipe would be waited for
            raise SiteErrors(
                (SiteError(str(path), 0, "is not a regular file", "-f takes a file, as in -f hosts.toml"),)
            )
        content = path.read_bytes()
    except FileNotFoundError:
        error = SiteError(str(path), 0, "no such file", "`provisioner init` creates one, -f selects another")
    except IsADirectoryError:
        error = SiteError(str(path), 0, "is a directory", "-f takes the file, as in -f hosts.toml")
    except OSError as reason:
        error = SiteError(str(path), 0, f"cannot be read: {reason.strerror}", "check its permissions")
    else:
        return parse_site(content, path)
    raise SiteErrors((error,))


def parse_site(content: bytes | str, path: Path = Path("hosts.toml")) -> Site:
    """Validate the content of a hosts.toml whose path is `path`; raise SiteErrors as load_site does."""
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SiteErrors((messages.toml_error(content, path, error),)) from None
    try:
        site = Site.model_validate(data)
        problems = [*rules.conflicts(site), *rules.omissions(site)]
    except ValidationError as error:
        problems = messages.problems(data, error)
    if problems:
        raise SiteErrors(messages.locate(problems, text, path))
    site._path = path
    return site
