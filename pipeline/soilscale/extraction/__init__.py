"""Maps at points and over polygons, as a table: values, how sure and how complete, and beside what is usual there."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
