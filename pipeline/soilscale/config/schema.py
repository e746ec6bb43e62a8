"""JSON Schema of a configuration, by which editors complete keys, explain them and mark what is wrong."""

from __future__ import annotations

import ast
import inspect
import re
from itertools import pairwise
from typing import Any

from soilscale.config.base import Section
from soilscale.config.sections import Config
from soilscale.sources import presets, profiles

DIALECT = "https://json-schema.org/draft/2020-12/schema"

FILLED = ("collection", "asset")
"""Keys of a source that its profile or the preset of its catalog may fill in."""

LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")


def json_schema() -> dict[str, Any]:
    """JSON Schema of a configuration, draft 2020-12, with the meaning of each key.

    What only the whole configuration shows, such as a season without a month, `config.load` alone refuses.
    """
    schema = Config.model_json_schema()
    schema["$schema"], schema["title"] = DIALECT, "soilscale configuration"
    parts = {"Config": schema, **schema["$defs"]}
    for section in Section.__subclasses__():
        for key, text in meanings(section).items():
            # Editors show the description as it is; the pages that it links to are those of the documentation.
            parts[section.__name__]["properties"][key]["description"] = LINK.sub(r"\1", text)
    source, catalog = parts["SourceSection"], parts["CatalogSection"]
    source["required"] = [key for key in source["required"] if key not in FILLED]
    source["properties"]["profile"]["enum"] = [*profiles(), None]
    catalog["properties"]["preset"]["enum"] = [*presets(), None]
    return schema


def meanings(section: type[Section]) -> dict[str, str]:
    """Meaning of each key of a section, in Markdown: the text below its field.

    Examples
    --------
    >>> from soilscale.config.area import Area
    >>> meanings(Area)["geometry"]
    'GeoJSON file of polygons; maps are masked to the fine cells whose centre lies inside.'
    """
    (body,) = (node.body for node in ast.parse(inspect.getsource(section)).body if isinstance(node, ast.ClassDef))
    return {
        field.target.id: " ".join(str(text.value.value).split())
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }
