#!/usr/bin/env python
"""Hide clumps of real composites, fill them, and tell how far off they are, beside the mean of the dates beside them.

Run as ``python benchmarks/gaps.py FOLDER``: the folder holds GeoTIFFs of one grid, of one band or of many, whose band
descriptions or names tell the first day of each composite (``2008_01_01``, ``2008-01-01`` or ``A2008001``); see
``--help``. Nodata is missing. The months are made of what is left as a run makes them: completed by the month's
other dates, then levels and annual cycles learned, then completed by these.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy import ndimage

from soilscale import kernels
from soilscale.cube import gaps

DATE = re.compile(r"(\d{4})[-_.]?(\d{2})[-_.]?(\d{2})(?!\d)")
ORDINAL = re.compile(r"A(\d{4})(\d{3})")
CELL = 25
"""Fine cells along a coarse one, of which levels are learned."""

Array = NDArray[Any]


def first_day(text: str) -> np.datetime64 | None:
    """First day that a name tells."""
    if found := ORDINAL.search(text):
        return np.datetime64(found[1], "D") + (int(found[2]) - 1)
    found = DATE.search(text)
    return np.datetime64("-".join(found.groups()), "D") if found else None


def read(folder: Path) -> tuple[Array, Array]:
    """First days and values of all composites of a folder, in the order of time."""
    dates: list[tuple[np.datetime64, Array]] = []
    for path in sorted(folder.glob("*.tif")):
        with rasterio.open(path) as file:
            for band in file.indexes:
                day = first_day(file.descriptions[band - 1] or path.name)
                if day is not None:
                    dates.append((day, file.read(band, masked=True).filled(np.nan).astype("float32")))
    if not dates:
        sys.exit(f"{folder} holds no GeoTIFF whose band descriptions or name tell a date")
    dates.sort(key=lambda pair: pair[0])
    rows, columns = (size // CELL * CELL for size in dates[0][1].shape)
    return np.array([day for day, _ in dates]), np.stack([values[:rows, :columns] for _, values in dates])


def clumps(shape: tuple[int, ...], share: float, size: float, seed: int) -> Array:
    """Clumps of hidden cells, another pattern for each date."""
    rng = np.random.default_rng(seed)
    noise = np.stack([ndimage.gaussian_filter(rng.standard_normal(shape[1:]), size) for _ in range(shape[0])])
    return np.stack([field < np.quantile(field, share) for field in noise])


def beside(values: Array) -> Array:
    """Missing values as the mean of the dates before and after."""
    filled = values.copy()
    filled[1:-1] = np.where(np.isnan(values[1:-1]), (values[:-2] + values[2:]) / 2, values[1:-1])
    return filled


def cycle(values: Array, days: Array, length: int) -> Array:
    """Composites completed as a run completes them."""
    ends = days + length
    month_of = (days + length // 2).astype("datetime64[M]")
    months = np.unique(month_of)
    members = [np.flatnonzero(month_of == month) for month in months]
    first = np.stack([gaps.complete(values[some]).mean(axis=0) for some in members])
    means, shares = zip(*(kernels.block_mean(month, CELL) for month in first), strict=True)
    levels = gaps.area_levels(np.stack(means), np.stack(shares), np.ones(len(months), bool))
    fine = [kernels.spread(np.pad(level, 1, mode="edge"), CELL).astype("float32") for level in levels]
    parts = ((gaps.phase(month), made - level) for month, made, level in zip(months, first, fine, strict=True))
    waves = gaps.annual_cycle(parts, values.shape[1:])
    filled = values.copy()
    for some, level in zip(members, fine, strict=True):
        usual = [gaps.expected(level, waves, gaps.moment(days[date], ends[date])) for date in some]
        filled[some] = gaps.complete_by(values[some], usual)
    return filled


def main() -> None:
    """Print, or write, a row for each share that is hidden and each way to fill it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--days", type=int, default=8, help="days of a composite")
    parser.add_argument("--hidden", type=float, nargs="+", default=[0.3, 0.6], help="shares that are hidden")
    parser.add_argument("--size", type=float, default=6.0, help="standard deviation of the kernel of the clumps, cells")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--csv", type=Path, help="where the table is written; without it, it is printed")
    options = parser.parse_args()
    days, values = read(options.folder)
    rows = []
    for share in options.hidden:
        for way, fill in {"neighbours": beside, "soilscale": partial(cycle, days=days, length=options.days)}.items():
            errors, filled = [], []
            for seed in range(options.seeds):
                hidden = clumps(values.shape, share, options.size, seed)
                found = fill(np.where(hidden, np.nan, values).astype("float32"))
                judged = hidden & np.isfinite(values)
                error = (found - values)[judged]
                errors.append(np.sqrt(np.nanmean(error**2)))
                filled.append(np.isfinite(error).mean())
            rows.append(
                {"hidden": share, "way": way, "rmse": f"{np.mean(errors):.2f}", "filled": f"{np.mean(filled):.3f}"}
            )
    with options.csv.open("w", newline="", encoding="utf-8") if options.csv else sys.stdout as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
