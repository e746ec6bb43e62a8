from . import period
from .geojson import polygon, polygons
from .inputs import SourceSection
from .reading import SOUTHERN, dump, load, validate
from .schema import json_schema
from .sections import Config

__all__ = [
    "SOUTHERN",
    "Config",
    "SourceSection",
    "dump",
    "json_schema",
    "load",
    "period",
    "polygon",
    "polygons",
    "validate",
]
