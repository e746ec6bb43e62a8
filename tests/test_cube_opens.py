"""What the cube reads of its files: each opened once for a date, each date once for two months, no more than needed."""

import pickle
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.testing import assert_array_equal

from servers.files import Files, serve
from soilscale import kernels
from soilscale.cube import assets, layers, mosaics, months, read_month, select
from soilscale.cube.assets import header, kept_open
from worlds import box, reading, scene, write

GRID = box("EPSG:4326", 5.0, 48.0, 0.01, (40, 60))
JANUARY, FEBRUARY = np.datetime64("2005-01"), np.datetime64("2005-02")


def stored(seed: int, shape: tuple[int, int] = (40, 60)) -> Any:
    return np.random.default_rng(seed).integers(1, 1000, shape, dtype="uint16")


def composites(folder: Path, count: int = 8) -> list[Any]:
    """Composites of 8 days from the new year on, with a quality band; the fourth crosses into February."""
    found = []
    for number in range(count):
        start = np.datetime64("2005-01-01", "s") + np.timedelta64(8 * number, "D")
        path = write(folder / f"{number}.tif", stored(number), GRID, nodata=0)
        flags = write(folder / f"{number}-quality.tif", (stored(100 + number) % 4).astype("uint8"), GRID)
        found.append(scene(path, start=start, end=start + np.timedelta64(8, "D"), quality=flags))
    return found


def masked(**more: Any) -> Any:
    return reading(resampling="nearest", quality={"asset": "quality", "bits": (0, 1), "accept": (0, 1)}, **more)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file is opened."""
    found: Counter[str] = Counter()
    real = rasterio.open

    def counted(path: str, *arguments: Any, **keys: Any) -> Any:
        found[Path(path).name] += 1
        return real(path, *arguments, **keys)

    monkeypatch.setattr(rasterio, "open", counted)
    return found


def values(read: Any, scenes: list[Any], month: np.datetime64) -> Any:
    return read_month(read, select(scenes, month), GRID, month)["field"]
