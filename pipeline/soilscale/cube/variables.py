"""The cube's template: every variable, coordinate and attribute of the store, before any value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from soilscale import schema
from soilscale.cube.naming import factor, feature_names, lagged, units
from soilscale.grid import Grid
from soilscale.schema import COARSE, FINE
from soilscale.seasons import Months
from soilscale.sources import Source

FRACTION = "fraction"
"""Group of the valid share of every source in each coarse cell, from which ``valid_fraction`` is taken."""

OBSERVED, LEVEL, CYCLE, FILLED = "observed", "level", "cycle", "filled"
"""Groups of sources whose gaps are filled: months as they are seen, levels of months over the area, annual cycles of
places, and how much of the days of the fine group is filled."""

EARLIER = "earlier"
"""Group of the months before the cube's first of sources from which something with a memory is derived."""

HARMONICS = ("mean", "cosine", "sine")
"""Ends of the names of the coefficients of an annual cycle."""

BEFORE = 24
"""Months before the cube's first with which `OBSERVED`, `LEVEL` and `EARLIER` begin: the longest lag reaches back to
them."""

TOGETHER = 12
"""Months of a chunk of the coarse group and of the valid shares, which cover the whole area."""


@dataclass(frozen=True)
class Input:
    """A source as its frozen items show it."""

    source: Source
    """With its classes known."""
    static: bool
    unit: str


def fillable(predictor: Input) -> bool:
    """Whether the gaps of a source can be filled by levels and annual cycles: a predictor's that changes in time."""
    source = predictor.source
    # Classes have no level and no annual cycle, and a static source has no gaps in time.
    changes = source.role == "predictor" and source.kind == "continuous" and not predictor.static
    return changes and not source.derive and source.derivation is None


def features(inputs: Sequence[Input]) -> dict[str, Input]:
    """Every feature of the predictors, lags included, and the input it comes from."""
    return {
        lagged(name, lag): entry
        for entry in inputs
        if entry.source.role == "predictor"
        for lag in (0, *entry.source.lags)
        for name in feature_names(entry.source)
    }


def groups(inputs: Sequence[Input]) -> dict[str, str]:
    """Group of every feature: the source's own, else what a reader takes for one factor.

    See `factor` for what that is.
    """
    by_feature: dict[str, str] = {}
    for entry in inputs:
        if entry.source.role == "predictor":
            for bare in feature_names(entry.source):
                group = entry.source.group or factor(entry.source, bare)
                by_feature |= {lagged(bare, lag): group for lag in (0, *entry.source.lags)}
    return by_feature


def fractions(inputs: Sequence[Input]) -> dict[str, Input]:
    """Names of the valid shares: one for each predictor and lag."""
    return {
        lagged(entry.source.name, lag): entry
        for entry in inputs
        if entry.source.role == "predictor"
        for lag in (0, *entry.source.lags)
    }


def feature_units(inputs: Sequence[Input]) -> dict[str, str]:
    """Unit of every feature of the models."""
    return {name: _unit(name, entry) for name, entry in features(inputs).items()}


def template(inputs: Sequence[Input], grid: Grid, months: Months, *, filled: bool = False) -> dict[str, xr.Dataset]:
    """Datasets of the groups ``fine``, ``coarse`` and ``fraction``, lazy and all missing.

    Parameters
    ----------
    inputs
        All sources, the target among them.
    grid
        The nested grid.
    months
        Months of the cube, shape ``(n,)``.
    filled
        Whether there are also the groups by which gaps are filled.

    Returns
    -------
    dict
        Group -> dataset. Chunks of fine groups are one month by one tile, the others' `TOGETHER` months of the area.
    """
    target = next(entry for entry in inputs if entry.source.role == "target")
    by_name = features(inputs)
    static = {name: entry.static for name, entry in by_name.items()}
    attrs = {name: _attrs(name, entry) for name, entry in by_name.items()}
    parts = {entry.source.name: entry for entry in inputs if entry.source.role == "part"}
    coarse = static | dict.fromkeys((*parts, target.source.name, schema.VALID_FRACTION), False)
    part_attrs = {name: _attrs(name, entry) | {schema.ROLE: schema.PART} for name, entry in parts.items()}
    coarse_attrs = (
        attrs
        | part_attrs
        | {
            target.source.name: dict(schema.MAP_ATTRS) | {"units": target.unit, "long_name": "observed soil moisture"},
            schema.VALID_FRACTION: {"long_name": "smallest valid share of any predictor in the cell", "units": "1"},
        }
    )
    shares = {name: entry.static for name, entry in fractions(inputs).items()}
    share_attrs = {name: {"long_name": f"valid share of {name} in the cell", "units": "1"} for name in shares}
    datasets = {
        FINE: _dataset(grid, FINE, months, static, attrs),
        COARSE: _dataset(grid, COARSE, months, coarse, coarse_attrs),
        FRACTION: _dataset(grid, COARSE, months, shares, share_attrs),
    }
    if memory := {entry.source.name: attrs[entry.source.name] for entry in inputs if entry.source.memory}:
        datasets[EARLIER] = _dataset(grid, FINE, _with_earlier(months), dict.fromkeys(memory, False), memory)
    return datasets | (_of_gaps(inputs, grid, months) if filled else {})


def _with_earlier(months: Months) -> Months:
    return np.arange(months[0] - np.timedelta64(BEFORE, "M"), months[-1] + np.timedelta64(1, "M"))


def _of_gaps(inputs: Sequence[Input], grid: Grid, months: Months) -> dict[str, xr.Dataset]:
    """Datasets of the groups by which gaps are filled."""
    sources = [entry for entry in inputs if fillable(entry)]
    names = [entry.source.name for entry in sources]
    waves = [f"{name}_{part}" for name in names for part in HARMONICS]
    flags = [name for name, entry in fractions(inputs).items() if fillable(entry)]
    attrs = {entry.source.name: _attrs(entry.source.name, entry) for entry in sources}
    wave_attrs = {
        f"{name}_{part}": {"long_name": f"{part} of the annual cycle of {name}", "units": attrs[name]["units"]}
        for name in names
        for part in HARMONICS
    }
    flag_attrs = {name: {"long_name": f"share of the days of {name} that is filled", "units": "%"} for name in flags}
    earlier = _with_earlier(months)
    return {
        OBSERVED: _dataset(grid, FINE, earlier, dict.fromkeys(names, False), attrs),
        LEVEL: _dataset(grid, COARSE, earlier, dict.fromkeys(names, False), attrs),
        CYCLE: _dataset(grid, FINE, months, dict.fromkeys(waves, True), wave_attrs),
        FILLED: _dataset(grid, FINE, months, dict.fromkeys(flags, False), flag_attrs, np.uint8(0)),
    }


def _attrs(name: str, entry: Input) -> dict[str, str]:
    source = entry.source
    attributes = {"long_name": name.replace("_", " "), "units": _unit(name, entry)}
    if not entry.static:
        attributes["cell_methods"] = "area: mean time: mean" if source.aggregate == "mean" else "area: mean time: sum"
    attributes["soilscale_source"] = source.name
    return attributes if source.on_coarse else attributes | {"soilscale_group": groups([entry])[name]}


def _unit(name: str, entry: Input) -> str:
    source = entry.source
    bare = next(bare for bare in feature_names(source) for lag in (0, *source.lags) if lagged(bare, lag) == name)
    return units(source, entry.unit)[bare]


def _dataset(
    grid: Grid,
    scale: str,
    months: Months,
    static: Mapping[str, bool],
    attrs: Mapping[str, Mapping[str, str]],
    empty: np.generic = np.float32("nan"),  # noqa: B008 - a constant
) -> xr.Dataset:
    import dask.array as da

    geobox = grid.fine if scale == FINE else grid.coarse
    rows, columns = geobox.shape
    # A unit writes one month of a tile; a chunk of more would be shared by two writers.
    together, space = (1, schema.chunks(grid, FINE)) if scale == FINE else (TOGETHER, (rows, columns))
    variables = {}
    for name, constant in static.items():
        shape = (rows, columns) if constant else (len(months), rows, columns)
        chunks = space if constant else (together, *space)
        dims = schema.DIMS[1:] if constant else schema.DIMS
        values = da.full(shape, empty, dtype=empty.dtype, chunks=chunks)
        attributes = dict(attrs[name]) | {"grid_mapping": schema.SPATIAL_REF}
        # Nothing of an integer group is missing: 0 means that nothing is filled.
        encoding = {"chunks": chunks} | ({"_FillValue": empty} if empty.dtype.kind == "f" else {})
        variables[name] = xr.Variable(dims, values, attributes, encoding)
    coords = schema.coordinates(geobox, months)
    bounds = schema.time_bounds(months, months + np.timedelta64(1, "M"))
    return xr.Dataset(variables, coords | {"time_bounds": bounds}, {"Conventions": schema.CONVENTIONS})
