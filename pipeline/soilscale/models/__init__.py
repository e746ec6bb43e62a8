"""Training table -> a fitted predictor per season and algorithm, predictions of held-out rows, and its bytes."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
