"""Small pictures of a map: what a catalog shows before anybody opens the file."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from soilscale.schema import APPLICABILITY, RESIDUAL

COLORMAP = "viridis_r"
"""Dry is bright, wet is dark."""

COLORMAPS = {APPLICABILITY: "PuOr_r", RESIDUAL: "RdBu"}
"""Layer -> its colours, as Matplotlib names them; all others have those of `COLORMAP`."""

SIDES = {"thumbnail": 256, "overview": 1024}
"""Asset -> pixels along its longer side, at most."""

MEDIA_TYPE = "image/png"

Scale = tuple[float, float]
"""Values of the first and the last colour."""


def preview(path: Path, side: int, scale: Scale) -> bytes:
    """PNG of a raster in the colours of `COLORMAP`; missing cells are transparent.

    Parameters
    ----------
    path
        Local raster of one band.
    side
        Pixels along the longer side, at most; cells are averaged, never enlarged.
    scale
        Values of the first and the last colour.
    """
    with rasterio.open(path) as file:
        rows, columns = file.shape
        share = min(1.0, side / max(rows, columns))
        shape = max(1, round(rows * share)), max(1, round(columns * share))
        values = file.read(1, out_shape=shape, resampling=Resampling.average)
    # A picture lies nowhere on the Earth, and rasterio warns of that.
    with warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning), MemoryFile() as memory:
        with memory.open(driver="PNG", width=shape[1], height=shape[0], count=1, dtype="uint8", nodata=0) as picture:
            picture.write(_shades(values, scale), 1)
            picture.write_colormap(1, _colours())
            picture.colorinterp = [ColorInterp.palette]
        return bytes(memory.read())


def _shades(values: NDArray[np.floating], scale: Scale) -> NDArray[np.uint8]:
    """Number of each cell's colour, 1 to 255; 0 where it is missing."""
    least, greatest = scale
    share = np.clip((values.astype("float64") - least) / (greatest - least), 0, 1)
    return np.where(np.isfinite(share), 1 + np.nan_to_num(share) * 254, 0).astype("uint8")


def _colours() -> dict[int, tuple[int, int, int, int]]:
    """Colour table of `_shades`."""
    # A worker that publishes nothing does without Matplotlib.
    from matplotlib import colormaps

    table = (colormaps[COLORMAP](np.linspace(0, 1, 255)) * 255).round().astype(int)
    return {0: (255, 255, 255, 0)} | {index: tuple(colour) for index, colour in enumerate(table.tolist(), 1)}
