"""Validates STAC documents by the published schemas, which lie in `data/stac`, without a network.

The schemas are those of github.com/stac-extensions (Apache License 2.0), unchanged; PROJJSON's comes with pyproj, those
of the core and of GeoJSON with pystac.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyproj.datadir
from pystac.validation.stac_validator import JsonSchemaSTACValidator

FOLDER = Path(__file__).parent / "data" / "stac"


def published() -> dict[str, dict[str, Any]]:
    """URL -> schema of each extension, and of what they refer to."""
    schemas = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))]
    projjson = json.loads((Path(pyproj.datadir.get_data_dir()) / "projjson.schema.json").read_text(encoding="utf-8"))
    of_proj = {f"https://proj.org/schemas/v{version}/projjson.schema.json": projjson for version in ("0.4", "0.7")}
    return {schema["$id"].removesuffix("#"): schema for schema in schemas} | of_proj


def offline() -> JsonSchemaSTACValidator:
    """Validator of pystac that knows the schemas of all extensions that we name."""
    validator = JsonSchemaSTACValidator()
    validator.schema_cache |= published()
    return validator
