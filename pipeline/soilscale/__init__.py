"""Downscale satellite soil moisture from 25 km to 1 km, per season, from STAC catalogs to maps."""

from importlib.metadata import version

__version__ = version("soilscale")
