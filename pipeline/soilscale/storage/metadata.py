"""What a Zarr store says of itself: attributes, and all metadata in one object, which readers open at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from soilscale.storage import damage
from soilscale.storage.arrays import METADATA
from soilscale.storage.objects import as_json, read_many, write_bytes

CONSOLIDATED = "consolidated_metadata"

KEPT = "date_created"
"""Attribute of a group that stays as it was first written."""


def describe(url: str, templates: Mapping[str, xr.Dataset], attributes: Mapping[str, Any]) -> None:
    """Bring the attributes of a store up to its templates, and consolidate its metadata; nothing else is touched.

    Zarr's own `consolidate_metadata` lists every chunk of the store, and warns. While a store grows, its consolidated
    metadata say what it was before, which holds for all that is written; the last object that is written is the root's.

    Parameters
    ----------
    url
        Store that `create` laid.
    templates
        Group -> its template, whose variables are those of the store.
    attributes
        What the root and every group say beside what they say already.

    Raises
    ------
    DamagedError
        If metadata of the store are lost, or are not what was written.
    """
    arrays = [f"{group}/{name}" for group, template in templates.items() for name in template.variables]
    names = {node: _object(node) for node in ("", *templates, *arrays)}
    contents = read_many(url, list(names.values()))
    for missing in set(names.values()) - contents.keys():
        raise damage.lost(url, missing)
    nodes: dict[str, Any] = {node: damage.parsed(f"{url}/{name}", contents[name], url) for node, name in names.items()}
    before = json.loads(json.dumps(nodes))
    for group, template in templates.items():
        for name, variable in template.variables.items():
            variable_attrs = {str(key): _plain(value) for key, value in variable.attrs.items()}
            nodes[f"{group}/{name}"]["attributes"] |= variable_attrs
    for group in ("", *templates):
        created = {KEPT: nodes[group]["attributes"][KEPT]} if KEPT in nodes[group].get("attributes", {}) else {}
        nodes[group]["attributes"] = nodes[group].get("attributes", {}) | dict(attributes) | created
        nodes[group].pop(CONSOLIDATED, None)
    consolidated = _consolidated({node: content for node, content in nodes.items() if node})
    for group in templates:
        inside = {node.partition("/")[2]: nodes[node] for node in nodes if node.startswith(f"{group}/")}
        nodes[group] = nodes[group] | {CONSOLIDATED: _consolidated(inside)}
    nodes[""] |= {CONSOLIDATED: consolidated}
    for node in (*arrays, *templates, ""):
        if nodes[node] != before[node]:
            write_bytes(f"{url}/{names[node]}", as_json(nodes[node]))


def _object(node: str) -> str:
    return f"{node}/{METADATA}" if node else METADATA


def _consolidated(nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Metadata of nodes as zarr-python writes them: a group's entry holds none of its own, for all stand beside it."""
    empty = {"kind": "inline", "must_understand": False, "metadata": {}}
    return empty | {
        "metadata": {
            node: {**content, CONSOLIDATED: empty} if content["node_type"] == "group" else dict(content)
            for node, content in sorted(nodes.items())
        }
    }


def _plain(value: Any) -> Any:
    """Attribute as JSON holds it."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
