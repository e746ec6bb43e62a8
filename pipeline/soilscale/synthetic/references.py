"""References for the maps, and the configuration: stations, the true fine field, ``world.yaml``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
import yaml

from soilscale import schema
from soilscale.grid import centres
from soilscale.synthetic.landscape import CLASSES
from soilscale.synthetic.noise import generator
from soilscale.synthetic.world import RATIO, SIDE, World

STATIONS = 12
STATION_OFFSET, STATION_NOISE = 0.02, 0.012
"""Standard deviations of a station's lasting and monthly difference from its fine cell, m3 m-3."""
STATION_GAPS = 0.08
"""Share of a station's months that are missing."""


def write_truth(folder: Path, world: World) -> Path:
    """Write ``truth.zarr``: group ``month``, the soil moisture of every fine cell's centre."""
    rows, columns = world.grid.fine.shape
    margin = (world.on_fine(world.land.elevation).shape[0] - rows) // 2
    inner = (slice(margin, margin + rows), slice(margin, margin + columns))
    values = np.stack([world.on_fine(world.field("soil_moisture", month))[inner] for month in world.period])
    attributes = {**schema.MAP_ATTRS, "grid_mapping": schema.SPATIAL_REF}
    truth = xr.Dataset(
        {schema.MAP: (schema.DIMS, values.astype(np.float32), attributes)},
        schema.coordinates(world.grid.fine, world.period),
        {"Conventions": schema.CONVENTIONS},
    ).assign_coords(time_bounds=schema.time_bounds(world.period, world.period + np.timedelta64(1, "M")))
    path = folder / "truth.zarr"
    truth.to_zarr(path, group="month", mode="w", zarr_format=3, consolidated=False)
    return path


def write_stations(folder: Path, world: World) -> Path:
    """Write ``stations.csv``: monthly values of sensors in a few fine cells, with offsets, noise and gaps."""
    random = generator(world.seed, "stations")
    y, x = centres(world.grid.fine)
    rows, columns = random.integers(len(y), size=STATIONS), random.integers(len(x), size=STATIONS)
    lat, lon = y[rows].astype(np.float64), x[columns].astype(np.float64)
    offset = STATION_OFFSET * random.standard_normal(STATIONS)
    parts = []
    for month in world.period:
        value = world.truth("soil_moisture", month, lon, lat) + offset
        value = np.maximum(value + STATION_NOISE * random.standard_normal(STATIONS), 0.01)
        part = pd.DataFrame(
            {
                "station": [f"S{number:02d}" for number in range(1, STATIONS + 1)],
                "longitude": lon.round(5),
                "latitude": lat.round(5),
                "time": f"{month}-01",
                "value": value.round(4),
                "unit": schema.MAP_ATTRS["units"],
            }
        )
        parts.append(part[random.random(STATIONS) >= STATION_GAPS])
    path = folder / "stations.csv"
    pd.concat(parts).sort_values(["station", "time"]).to_csv(path, index=False)
    return path


def write_configuration(folder: Path, world: World) -> Path:
    """Write ``world.yaml``: the configuration that maps the world."""
    common = {"catalog": "world"}
    soil = common | {"collection": "soil", "group": "texture"}
    configuration = {
        "name": "shaanxi-like",
        "output": "run",
        "area": {"bbox": list(world.bounds)},
        "grid": {"crs": "EPSG:4326", "coarse": SIDE, "ratio": RATIO},
        "period": [str(world.period[0]), str(world.period[-1])],
        "seasons": "meteorological",
        "catalogs": {"world": {"url": "catalog/catalog.json"}},
        "sources": {
            "soil_moisture": {"role": "target", **common, "collection": "soil-moisture", "asset": "soil_moisture"},
            "precipitation": common | {"collection": "rain", "asset": "precipitation", "lags": [1], "group": "rain"},
            "lst": {"profile": "MOD11A2", **common, "collection": "modis-11A2"},
            "ndvi": {"profile": "MOD13A3", **common, "collection": "modis-13A3", "group": "vegetation"},
            "et": {"profile": "MOD16A2", **common, "collection": "modis-16A2"},
            "land_cover": {"profile": "MCD12Q1", **common, "collection": "modis-12Q1", "group": "vegetation"}
            | {"classes": list(CLASSES)},
            "elevation": common
            | {"collection": "dem", "asset": "elevation", "derive": ["slope", "aspect"], "group": "terrain"},
            "sand": soil | {"asset": "sand"},
            "silt": soil | {"asset": "silt"},
            "clay": soil | {"asset": "clay"},
        },
        "models": {"seed": 0},
        "maps": {"every": ["month", "season"], "conserve": True},
        "validation": {"stations": "stations.csv"},
    }
    path = folder / "world.yaml"
    path.write_text(yaml.safe_dump(configuration, sort_keys=False), encoding="utf-8")
    return path
