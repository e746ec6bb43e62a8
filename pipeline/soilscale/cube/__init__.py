"""Items and a grid become a chunked monthly cube: the template first, then its regions in any order."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
