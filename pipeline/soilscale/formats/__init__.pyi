from .attributes import flag_names, valid_range
from .layers import Layer, Step
from .opening import keeping, kind, layer, opened
from .signatures import diagnosis, identify, may_hold_layers

__all__ = [
    "Layer",
    "Step",
    "diagnosis",
    "flag_names",
    "identify",
    "keeping",
    "kind",
    "layer",
    "may_hold_layers",
    "opened",
    "valid_range",
]
