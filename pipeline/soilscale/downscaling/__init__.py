"""Arrays in, maps out: the engine of a run for those who have no catalog, lazy on Dask."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
