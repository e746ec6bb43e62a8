"""The configuration file, checked key by key; nothing below `stages` sees it."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
