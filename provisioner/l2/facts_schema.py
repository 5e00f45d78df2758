"""The JSON Schema of a facts file, l2facts-v2.schema.json: made from the types in `facts`, kept in the package.

A test holds that the file is what `make` returns; `python -m provisioner.l2.facts_schema` writes it anew.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from provisioner.l2 import facts

PATH = Path(__file__).with_name("schemas") / "l2facts-v2.schema.json"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REQUIRED = ["schema", "nodes"]  # everything else may be missing, which means unknown


def make() -> dict[str, Any]:
    """Return the schema (JSON Schema, draft 2020-12)."""
    made = facts.Facts.model_json_schema(by_alias=True, mode="validation")
    for name, part in {"Facts": made, **made["$defs"]}.items():
        part["description"] = " ".join(inspect.getdoc(getattr(facts, name)).split())  # type: ignore[union-attr]
        part.pop("title", None)
        for one in part["properties"].values():
            one.pop("title", None)
    return {
        "$schema": _DIALECT,
        "$id": "l2facts-v2.schema.json",
        "title": "l2facts/v2, what `provisioner l2 collect` writes and `l2 check --facts` reads",
        **made,
        "required": _REQUIRED,
    }


def text() -> str:
    """Return the schema as the file holds it."""
    return json.dumps(make(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
