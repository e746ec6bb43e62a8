"""Files that hold several variables: what is in them, where it lies and what its codes mean; one module a format."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
