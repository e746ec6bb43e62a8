"""What a person writes: the configuration, checked key by key; nothing below `flow` sees it."""

from soilscale.config.inputs import SourceSection
from soilscale.config.reading import dump, load, validate
from soilscale.config.sections import Config

__all__ = ["Config", "SourceSection", "dump", "load", "validate"]
