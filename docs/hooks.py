"""Hooks of MkDocs: pages that lie outside docs/ become part of the site, and files that pages link to come along.

In the repository every link is relative to the file that holds it, so that a code host and an editor follow it; here
it is translated to the page or file of the site.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
from hosts_toml import markdown

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "README.ko.md": "ko/index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
FILES = "files"  # where the site has the repository's other files
_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)")
_CODE = re.compile(r"(```.*?^```|`[^`\n]*`)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/, and the files that any page links to."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    template = (ROOT / "provisioner" / "site" / "init-template.toml").read_text(encoding="utf-8")
    files.append(File.generated(config, "hosts-toml.md", content=markdown(template)))
    linked = {target for page in files.documentation_pages() for target in _targets(page)}
    for target in sorted(linked):
        if _outside(target):
            path = ROOT / target
            content = _listing(path) if path.is_dir() else path.read_bytes()
            files.append(File.generated(config, _on_site(target), content=content))
    return files


def on_page_markdown(markdown: str, /, *, page: Page, **_: object) -> str:
    """Translate the links of a page."""
    here = PurePosixPath(page.file.src_uri).parent
    source = _source(page.file.src_uri)

    def translated(link: re.Match[str]) -> str:
        target = os.path.normpath(source.parent / link[1])
        return os.path.relpath(_on_site(target), here)

    parts = _CODE.split(markdown)
    return "".join(part if index % 2 else _LINK.sub(translated, part) for index, part in enumerate(parts))


def _source(src_uri: str) -> PurePosixPath:
    """Return a page's path in the repository."""
    outside = {page: source for source, page in PAGES.items()}
    return PurePosixPath(outside.get(src_uri, f"docs/{src_uri}"))


def _targets(page: File) -> set[str]:
    source = _source(page.src_uri)
    text = "".join(_CODE.split(page.content_string)[::2])
    return {os.path.normpath(source.parent / link[1]) for link in _LINK.finditer(text)}


def _outside(target: str) -> bool:
    return target not in PAGES and PurePosixPath(target).parts[0] != "docs"


def _on_site(target: str) -> str:
    """Return where the site has a file or folder of the repository."""
    if target in PAGES:
        return PAGES[target]
    if not _outside(target):
        path = PurePosixPath(*PurePosixPath(target).parts[1:])
        return str(path / "README.md") if (ROOT / target).is_dir() else str(path)
    return f"{FILES}/{target}.txt" if (ROOT / target).is_dir() or "." not in Path(target).name else f"{FILES}/{target}"


def _listing(folder: Path) -> str:
    """Return a folder's files in one text."""
    names = sorted(path for path in folder.iterdir() if path.is_file())
    return "\n".join(f"# --- {path.name}\n\n{path.read_text(encoding='utf-8')}" for path in names)
