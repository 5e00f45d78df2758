"""Show a page of Markdown on a terminal: headings at the left, commands and frames as they are."""

from __future__ import annotations

import os
import re
from typing import ClassVar

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from rich.theme import Theme

from provisioner.l2 import terminal

_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")  # to another page, which a terminal cannot open
_CODE = Style(color="cyan")
_THEME = Theme({"markdown.code": "cyan", "markdown.item.bullet": "none"})


class _Heading(Heading):
    """A heading at the left, which Rich would center."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console, options
        yield Text(self.text.plain, style="bold")


class _CodeBlock(CodeBlock):
    """Lines that are indented and never wrapped, so that they can be copied."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console, options
        for line in str(self.text).rstrip().splitlines():
            yield Segment(f"    {line}", _CODE)
            yield Segment.line()


class _Page(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _Heading,
        "fence": _CodeBlock,
        "code_block": _CodeBlock,
    }


def show(page: str, width: int) -> None:
    """Print a page to stdout, wrapped to that many columns; with colors if stdout is a terminal that has them."""
    color = terminal.use_color(os.environ, True)
    console = Console(width=width, highlight=False, no_color=not color, theme=_THEME)
    console.print(_Page(_LINK.sub(r"\1", page)), crop=False)
