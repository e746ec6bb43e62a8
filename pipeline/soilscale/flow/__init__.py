"""The order of the stages, and where each product lives; the only place that reads and writes, through storage."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
