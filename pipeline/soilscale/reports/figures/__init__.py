"""Figures of the report, each a function from data to the bytes of a PNG image."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
