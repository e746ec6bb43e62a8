from .downscaling import downscale

__all__ = ["downscale"]

__version__: str
