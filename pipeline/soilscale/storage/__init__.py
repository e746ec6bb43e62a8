"""The only module that touches stores: objects, Zarr groups and GDAL's access to assets."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
