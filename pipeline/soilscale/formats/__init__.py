"""Files that hold several variables: their contents, location and codes; one module per format."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
