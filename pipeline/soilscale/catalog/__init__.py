"""Source, area and period -> frozen items and scenes: STAC APIs, static catalogs, ItemCollections, signing."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
