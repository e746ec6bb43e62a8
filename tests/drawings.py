"""Figures that a session of tests draws once: `test_figures` proves that the same data give the same image."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from soilscale.reports import figures


class _Values(pickle.Pickler):
    """Pickler of what is drawn: an array's values, not the place from which they are yet to be read; no caches."""

    def reducer_override(self, value: Any) -> Any:
        if is_dataclass(value) and not isinstance(value, type):
            return tuple, ([getattr(value, part.name) for part in fields(value)],)
        if not isinstance(value, xr.DataArray):
            return NotImplemented
        # A store names its coordinates in the order of its folder, which differs from copy to copy.
        coordinates = [(name, value[name].to_numpy()) for name in sorted(map(str, value.coords))]
        return tuple, ((value.name, value.dims, value.attrs, coordinates, value.to_numpy()),)


class Drawings:
    """The module of figures, whose functions give again what they have drawn of the same data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getattr__(self, name: str) -> Any:
        draw: Callable[..., Any] = getattr(figures, name)
        return draw if name == "Area" else partial(self._image, draw, name)

    def _image(self, draw: Callable[..., bytes], name: str, *data: Any, **options: Any) -> bytes:
        content = io.BytesIO()
        pickler = _Values(content)
        pickler.fast = True  # equal words are written alike, be they one object or two
        pickler.dump((name, data, options))
        path = self.folder / hashlib.sha256(content.getbuffer()).hexdigest()
        if not path.exists():
            draft = path.with_suffix(f".{os.getpid()}")
            draft.write_bytes(draw(*data, **options))
            draft.rename(path)
        return path.read_bytes()
