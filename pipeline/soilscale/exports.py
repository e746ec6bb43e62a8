"""The maps in one NetCDF file, for tools that read neither Zarr nor COGs: months at its root, seasons in a group."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import dask
import numpy as np
import xarray as xr

from soilscale import storage
from soilscale.engine.output import Workspace
from soilscale.errors import ConfigurationError
from soilscale.maps import MONTH, SEASON
from soilscale.schema import APPLICABILITY, LOWER, MAP, QUALITY, RESIDUAL, SPATIAL_REF, UPPER

LAYERS = (MAP, QUALITY, LOWER, UPPER, APPLICABILITY, RESIDUAL)
"""Layers that are exported, where the maps have them."""

TYPED = ("valid_range", "flag_masks")
"""Attributes that CF wants in the type of their variable; JSON knows no types."""

SEASONS = "seasons"
"""Group of the seasonal maps; ``season`` is the name of a coordinate at the root already."""

ENGINE: Any = "h5netcdf"


def write_netcdf(output: str, path: Path, *, overwrite: bool = False) -> list[str]:
    """Write the maps of an output into a NetCDF-4 file, chunk by chunk, whole or not at all.

    Parameters
    ----------
    output
        Folder or URL of a run's output.
    path
        Local file.
    overwrite
        Whether a file that is there may be replaced.

    Returns
    -------
    list of str
        What was written, a line for each group.

    Raises
    ------
    ConfigurationError
        If the file is there, or cannot be written.
    DataError
        If the output has no maps.
    """
    if path.exists() and not overwrite:
        raise ConfigurationError(f"{path} is there already; name another file, or add --overwrite to replace it")
    if not path.parent.is_dir():
        raise ConfigurationError(f"there is no folder {path.parent} to write {path.name} to; create it first")
    groups = {group: _group(output, group) for group in (MONTH, SEASON)}
    # Beside its place: a rename is whole only within one file system.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    draft = Path(name)
    try:
        # One chunk at a time: in threads as many would be in memory as there are cores.
        with dask.config.set(scheduler="synchronous"):
            for group, maps in groups.items():
                where: dict[str, Any] = {"mode": "w"} if group == MONTH else {"mode": "a", "group": SEASONS}
                if maps.sizes["time"] or group == MONTH:
                    maps.to_netcdf(draft, engine=ENGINE, encoding=_encoding(maps), unlimited_dims=["time"], **where)
        draft.chmod(0o644)
        draft.replace(path)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error}; check the path and the space there") from error
    finally:
        draft.unlink(missing_ok=True)
    return [
        f"{path}: {maps.sizes['time']} {group}s of {', '.join(map(str, maps.data_vars))}"
        for group, maps in groups.items()
    ]


def _group(output: str, group: str) -> xr.Dataset:
    """Maps of a group as CF has them in a NetCDF file; lazy."""
    workspace = Workspace(output)
    try:
        # What a run could not make is missing in its store, and so in the file.
        maps = storage.open_group(workspace.maps, group, gaps=True)
    except FileNotFoundError as error:
        raise workspace.lacks("maps", "map") from error
    # Bounds of a coordinate have a dimension that no layer has, and would be left behind.
    layers = maps[[name for name in LAYERS if name in maps]].assign_coords(time_bounds=maps["time_bounds"])
    for name, variable in layers.variables.items():
        stored = {key: np.asarray(variable.attrs[key], variable.dtype) for key in TYPED if key in variable.attrs}
        layers[name].attrs |= stored
        if name in layers.data_vars:
            layers[name].attrs["grid_mapping"] = SPATIAL_REF
    layers["time"].attrs |= {"long_name": "start of the period", "units_metadata": "leap_seconds: utc"}
    layers.attrs = {key: value for key, value in layers.attrs.items() if key != "README"}
    return layers


def _encoding(maps: xr.Dataset) -> dict[str, dict[str, Any]]:
    """How each variable is stored: the chunks of the maps, deflated; words as characters, which all readers take."""
    layers = {
        str(name): {
            "chunksizes": tuple(sizes[0] for sizes in values.chunks or ()),
            "zlib": True,
            "complevel": 4,
            "shuffle": True,
            "_FillValue": None if values.dtype.kind == "u" else np.float32("nan"),
        }
        for name, values in maps.data_vars.items()
    }
    # CF allows coordinates no missing values, which xarray would declare.
    axes = {axis: {"_FillValue": None} for axis in ("y", "x")}
    return layers | axes | ({"season": {"dtype": "S1"}} if "season" in maps.variables else {})
