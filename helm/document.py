"""Write what is made of other files: `python helm/document.py`.

The sections of a configuration in the chart's schema are those that the package takes; the table of values in the
chart's README comes from its values and that schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from soilscale.config import inputs, publication, sections

CHART = Path(__file__).parent / "soilscale"
SCHEMA = CHART / "values.schema.json"
BEGIN, END = "<!-- values -->\n", "<!-- /values -->\n"
KEY = re.compile(r"^( *)([A-Za-z]\w*):")
SECTIONS = {
    "source": inputs.SourceSection,
    "partedSource": inputs.HarmonisedSection,
    "quality": inputs.QualitySection,
    "place": inputs.PlaceSection,
    "antecedent": inputs.AntecedentSection,
    "samples": sections.SamplesSection,
    "models": sections.Models,
    "maps": sections.Maps,
    "validation": sections.Validation,
    "limits": sections.Limits,
    "publication": publication.Publication,
    "provider": publication.Provider,
}
"""Definition in the chart's schema -> the section of a configuration that it describes."""

TOLD = {"title", "description", "default", "required", "$defs"}
"""Of a section, what the chart's schema leaves out: a profile may give what is required, a schedule a part."""


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


def plain(node: Any) -> Any:
    """A schema of pydantic's in the words of JSON Schema's draft 7, which Helm reads."""
    if isinstance(node, list):
        return [plain(one) for one in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        of = node["$ref"].rpartition("/")[2]
        (name,) = (name for name, section in SECTIONS.items() if section.__name__ == of)
        return {"$ref": f"#/definitions/{name}"}
    made = {key: plain(value) for key, value in node.items() if key not in TOLD}
    if "properties" in node:
        made["properties"] = {key: plain(value) for key, value in node["properties"].items()}
    if "prefixItems" in made:
        made["items"] = made.pop("prefixItems")[0]
    return made


def with_sections(schema: dict[str, Any]) -> dict[str, Any]:
    """Schema of the chart's values with the sections of a configuration as the package takes them."""
    made = {name: plain(section.model_json_schema()) for name, section in SECTIONS.items()}
    return schema | {"definitions": schema["definitions"] | made}


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
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
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
    """Renew the schema, then the table in the README."""
    schema = with_sections(json.loads(SCHEMA.read_text(encoding="utf-8")))
    SCHEMA.write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")
    readme = CHART / "README.md"
    readme.write_text(written(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
