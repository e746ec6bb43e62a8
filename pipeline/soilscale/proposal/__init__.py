"""A place name -> a configuration: the area, sources that cover it and the period, a grid that fits, as text."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
