from .attributes import valid_range
from .layers import Layer, Step
from .opening import keeping, kind, layer, may_hold_layers, opened
from .signatures import diagnosis, identify

__all__ = [
    "Layer",
    "Step",
    "diagnosis",
    "identify",
    "keeping",
    "kind",
    "layer",
    "may_hold_layers",
    "opened",
    "valid_range",
]
