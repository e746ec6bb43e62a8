from . import period
from .inputs import SourceSection
from .reading import dump, load, validate
from .sections import Config

__all__ = ["Config", "SourceSection", "dump", "load", "period", "validate"]
