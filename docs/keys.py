"""Write the tables of configuration.md, which come from the sections of the configuration: `make schema`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from soilscale.config.base import Section
from soilscale.config.schema import meanings

PAGE = Path(__file__).with_name("configuration.md")
TABLE = re.compile(r"(<!-- keys of (\w+) -->\n).*?(\n\n<!-- /keys -->)", re.DOTALL)
DEFAULT = re.compile(r" (?:Default: |(?=Required, ))([^.]+(?:\.\w[^.]*)*)\.$")
"""Last sentence of a meaning: the default, where that is no plain value."""


def table(section: type[Section]) -> str:
    """Table of a section: its keys, their defaults and meanings.

    Parameters
    ----------
    section
        Class of the section.
    """
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for key, meaning in meanings(section).items():
        stated = DEFAULT.search(meaning)
        default = stated[1] if stated else _plain(section, key)
        text = DEFAULT.sub("", meaning).removesuffix(".").replace("|", "\\|")
        lines.append(f"| `{key}` | {default[0].lower()}{default[1:]} | {text} |")
    return "\n".join(lines)


def _plain(section: type[Section], key: str) -> str:
    """Default of a key as it is written in YAML."""
    field = section.model_fields[key]
    if field.is_required():
        return "required"
    if field.default is None:
        return "none"
    if isinstance(field.default, BaseModel):
        return "see below"
    value = [_short(part) for part in field.default] if isinstance(field.default, tuple) else _short(field.default)
    return "`" + yaml.safe_dump(value, default_flow_style=True, width=1000).partition("\n")[0] + "`"


def _short(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def page(text: str) -> str:
    """Page with its tables made anew.

    Parameters
    ----------
    text
        Page whose tables stand between ``<!-- keys of SECTION -->`` and ``<!-- /keys -->``.
    """
    sections = {section.__name__: section for section in Section.__subclasses__()}
    return TABLE.sub(lambda match: match[1] + table(sections[match[2]]) + match[3], text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
