"""Downscale satellite soil moisture from 25 km to 1 km, per season, from STAC catalogs to maps."""

from importlib.metadata import version

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)

__version__ = version("soilscale")
