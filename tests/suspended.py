"""What writers of one output write, all of one content, so that a mixture is seen."""

from __future__ import annotations

import dask.array as da
import numpy as np
import xarray as xr

from soilscale import storage
from soilscale.engine.output import Workspace

SIDE, MONTHS = 8, 6


def lay(workspace: Workspace) -> None:
    lazy = da.full((MONTHS, SIDE, SIDE), np.float32("nan"), dtype="float32", chunks=(1, SIDE, SIDE))
    encoding = {"_FillValue": np.float32("nan"), "chunks": (1, SIDE, SIDE)}
    variable = xr.Variable(("time", "y", "x"), lazy, None, encoding)
    storage.create(workspace.cube, "fine", xr.Dataset({"ndvi": variable}, {"time": np.arange(float(MONTHS))}))


def write(workspace: Workspace, value: float) -> None:
    """Write chunks and objects, all of one content."""
    values = np.full((SIDE, SIDE), value, "float32")
    for month in range(MONTHS):
        storage.write_region(workspace.cube, "fine", "ndvi", values, (month, slice(0, SIDE), slice(0, SIDE)))
        storage.write_json(workspace.state("cube", f"{month}.json"), value)


def contents(workspace: Workspace) -> set[float]:
    """Values that stand in the output."""
    cube = storage.read_region(workspace.cube, "fine", "ndvi", (slice(0, MONTHS), slice(0, SIDE), slice(0, SIDE)))
    markers = [storage.read_json(workspace.state("cube", f"{month}.json")) for month in range(MONTHS)]
    return {*np.unique(cube).tolist(), *markers}
