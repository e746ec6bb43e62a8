from .api import config_schema, read_config, run
from .downscaling import downscale
from .outputs import Output, open  # noqa: A004 - as xarray's and rasterio's users call it

__all__ = ["Output", "config_schema", "downscale", "open", "read_config", "run"]

__version__: str
