"""Read YAML that hosts, the API and people's files hold: the document, or one error that shows none of it."""

from __future__ import annotations

from typing import Any

import yaml


class NotYaml(ValueError):
    """A text that is not YAML, or not what was expected of it. line: where, counted from 1; 0 if unknown.

    The message does not quote the text, which may hold keys and passwords.
    """

    def __init__(self, problem: str, line: int = 0) -> None:
        super().__init__(f"{problem} (line {line})" if line else problem)
        self.line = line


def load(text: str) -> Any:
    """Return the only document of a text, None if it is empty. Raises NotYaml."""
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        raise NotYaml("not YAML", error.problem_mark.line + 1 if error.problem_mark else 0) from None
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        # PyYAML lets a value through that does not fit its tag, such as the date 2026-13-45.
        raise NotYaml("not YAML") from None


def load_mapping(text: str) -> dict[str, Any]:
    """Return the mapping that a text holds, an empty one for an empty text. Raises NotYaml."""
    document = load(text)
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise NotYaml("not a mapping")
    return document
