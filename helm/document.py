"""Write the table of values in the README of the chart from its values and their schema: `python helm/document.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "soilscale"
BEGIN, END = "<!-- values -->\n", "<!-- /values -->\n"
KEY = re.compile(r"^( *)([A-Za-z]\w*):")


def comments(text: str) -> dict[tuple[str, ...], str]:
    """What stands above each key of a YAML text.

    Parameters
    ----------
    text : str
        YAML in block style, indented by two spaces a level.

    Returns
    -------
    dict of tuple of str to str
        Path of a key -> the comment directly above it, on one line.
    """
    found: dict[tuple[str, ...], str] = {}
    path: list[str] = []
    said: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            said.append(line.lstrip(" #"))
            continue
        if key := KEY.match(line):
            path = [*path[: len(key[1]) // 2], key[2]]
            found[tuple(path)] = " ".join(said)
        said = []
    return found


def resolved(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Definition that a node of the schema refers to, or the node."""
    while "$ref" in node:
        node = schema["definitions"][node["$ref"].rpartition("/")[2]]
    return node


def leaves(
    values: dict[str, Any], node: dict[str, Any], schema: dict[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any, dict[str, Any]]]:
    """Every value that is set as a whole.

    Yields
    ------
    tuple
        Path of its keys, its default, and what the schema says of it.
    """
    for key, value in values.items():
        below = resolved(node["properties"][key], schema)
        if isinstance(value, dict) and value and "properties" in below:
            yield from leaves(value, below, schema, (*path, key))
        else:
            yield (*path, key), value, below


def taken(node: dict[str, Any]) -> str:
    """What a value may be, in a few words."""
    if "enum" in node:
        return ", ".join(f"`{one}`" for one in node["enum"])
    if "anyOf" in node:
        return "number or text"
    if {"minimum", "maximum"} <= set(node):
        return f"{node['minimum']} to {node['maximum']}"
    words = {"boolean": "true, false", "object": "mapping", "array": "list", "string": "text", "number": "number"}
    return words[node["type"]]


def table() -> str:
    """Values of the chart as a table in Markdown."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    said = comments(text)
    lines = ["| value | default | takes | meaning |", "|---|---|---|---|"]
    for path, value, node in leaves(yaml.safe_load(text), schema, schema):
        default = json.dumps(value, ensure_ascii=False)
        lines.append(f"| `{'.'.join(path)}` | `{default}` | {taken(node)} | {said[path]} |")
    return "\n".join(lines) + "\n"


def written(readme: str) -> str:
    """README with the table as it should be."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


def main() -> None:
    """Renew the table in the README."""
    readme = CHART / "README.md"
    readme.write_text(written(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
