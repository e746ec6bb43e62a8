"""The only module that touches stores: objects, Zarr groups and what GDAL needs to read assets from them."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
