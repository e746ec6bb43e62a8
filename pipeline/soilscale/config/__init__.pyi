from . import period
from .geojson import polygon
from .inputs import SourceSection
from .reading import SOUTHERN, dump, load, validate
from .sections import Config

__all__ = ["SOUTHERN", "Config", "SourceSection", "dump", "load", "period", "polygon", "validate"]
