"""JSON Schema of a configuration, by which editors complete keys, explain them and mark what is wrong."""

from __future__ import annotations

import ast
import inspect
from typing import Any

from soilscale.config import area, inputs, sections
from soilscale.config.sections import Config

DIALECT = "https://json-schema.org/draft/2020-12/schema"

FILLED = ("collection", "asset")
"""Keys of a source that its profile or the preset of its catalog may fill in."""


def json_schema() -> dict[str, Any]:
    """JSON Schema of a configuration, draft 2020-12, with what the code says of each key.

    What only the whole configuration shows, such as a season without a month, `config.load` alone refuses.
    """
    schema = Config.model_json_schema()
    schema["$schema"], schema["title"] = DIALECT, "soilscale configuration"
    parts = {"Config": schema, **schema["$defs"]}
    for module in (area, inputs, sections):
        _describe(ast.parse(inspect.getsource(module)), parts)
    source = parts["SourceSection"]
    source["required"] = [key for key in source["required"] if key not in FILLED]
    return schema


def _describe(module: ast.Module, parts: dict[str, Any]) -> None:
    """Say of each key what stands below its field in a module."""
    for section in (node for node in module.body if isinstance(node, ast.ClassDef) and node.name in parts):
        for field, text in zip(section.body, section.body[1:], strict=False):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                parts[section.name]["properties"][field.target.id]["description"] = str(text.value.value)
