"""A small world like Shaanxi whose fine soil moisture is known: catalog, rasters, stations, truth and configuration.

The soil moisture is no linear function of what can be observed: a monthly balance of rain and demand drives a
sigmoid between wilting point and porosity, shaped by terrain and vegetation, ruled by the texture in winter and by
rain and warmth in summer. A part of it, in hollows and as fine noise, no source shows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soilscale.errors import ConfigurationError
from soilscale.synthetic.catalog import collect, save
from soilscale.synthetic.products import PRODUCTS
from soilscale.synthetic.references import write_configuration, write_stations, write_truth
from soilscale.synthetic.world import World, create

__all__ = ["World", "exact", "make", "write"]

YEARS = (2004, 2005)
CELLS = 10
"""Coarse cells along the side of the area: 2.5 degrees."""

make = lru_cache(maxsize=1)(create)
"""World of a seed, years and cells; the last one made is kept."""


def write(
    folder: Path,
    *,
    seed: int = 0,
    years: tuple[int, int] = YEARS,
    cells: int = CELLS,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> Path:
    """Write a world into an empty local folder: the same seed, years and cells give the same files.

    Beside the configuration stand ``catalog/`` (a static STAC catalog with its rasters), ``stations.csv`` and
    ``truth.zarr``.

    Parameters
    ----------
    folder
        Made if it does not exist.
    years
        First and last year.
    cells
        Coarse cells along the side of the area, 2 to 12.
    progress
        Told the part under way, how much of it is done, and how much there is if that is known.

    Returns
    -------
    Path
        ``world.yaml``, the configuration.

    Raises
    ------
    ConfigurationError
        If the folder already holds a catalog.
    ValueError
        If the years or the number of cells cannot be.
    """
    folder = Path(folder).resolve()
    rasters = folder / "catalog"
    if rasters.exists():
        raise ConfigurationError(f"{rasters} exists already; name a folder without a world")
    folder.mkdir(parents=True, exist_ok=True)
    tell = progress or _say_nothing
    tell("world", 0, 1)
    world = make(seed, years, cells)
    tell("world", 1, 1)
    collections = []
    for name, (produce, description) in PRODUCTS.items():
        items = []
        for item in produce(world, rasters / name):
            items.append(item)
            tell(name, len(items), None)
        collections.append(collect(name, description, items))
    save(rasters, collections)
    write_truth(folder, world)
    write_stations(folder, world)
    return write_configuration(folder, world)


def exact(
    name: str,
    month: np.datetime64,
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    **world: Any,
) -> NDArray[np.float64]:
    """What a right cube holds at places; see `World.exact`.

    Parameters
    ----------
    world
        ``seed``, ``years`` and ``cells`` as given to `write`.
    """
    return make(world.get("seed", 0), world.get("years", YEARS), world.get("cells", CELLS)).exact(name, month, lon, lat)


def _say_nothing(part: str, count: int, total: int | None) -> None:
    """Report nothing."""
