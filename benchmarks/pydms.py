#!/usr/bin/env python
"""How near pyDMS, a peer, comes to the truth of the worlds of `accuracy.py`, beside our algorithms.

Run as ``python benchmarks/pydms.py --python PYTHON``, PYTHON being one that has pyDMS, GDAL's bindings, scikit-learn
and numba. pyDMS is at https://github.com/radosuav/pyDMS; the package of that name on PyPI is another. It gets what is
in its favour: predictors without gaps, all months of a season at once, 30 trees in place of 10, and predictors of one
spread, above 0, since it drops cells whose coefficients of variation are below that. Columns of the CSV as
`accuracy.py` has them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import accuracy
import numpy as np
import pandas as pd
import rasterio
from accuracy import RATIO, World
from numpy.typing import NDArray
from rasterio.transform import from_origin

PIXEL = 1000.0
"""Side of a fine pixel, m."""


def write(path: Path, bands: NDArray[np.floating], side: float) -> None:
    """Write bands, shape ``(n, y, x)``, as a GeoTIFF."""
    count, rows, columns = bands.shape
    place = {"crs": "EPSG:6933", "transform": from_origin(1e6, 5e6, side, side)}
    shape = {"count": count, "height": rows, "width": columns}
    with rasterio.open(path, "w", driver="GTiff", dtype="float32", **place, **shape) as file:
        file.write(bands.astype("float32"))


def lay_out(world: World, folder: Path) -> list[Path]:
    """Write a world for pyDMS, a folder for each season."""
    scales = {name: (values.min(), values.std()) for name, values in world.features.items()}
    for month, season in enumerate(world.season):
        own = folder / str(season)
        own.mkdir(exist_ok=True)
        fine = np.stack([(world.features[name][month] - low) / sd + 1 for name, (low, sd) in scales.items()])
        write(own / f"fine_{month:02d}.tif", fine, PIXEL)
        write(own / f"coarse_{month:02d}.tif", world.observed[month][None], PIXEL * RATIO)
    return sorted(folder.iterdir())


def sharpen(world: World, python: str) -> NDArray[np.float64]:
    """Maps of every month by pyDMS."""
    with tempfile.TemporaryDirectory() as folder:
        seasons = lay_out(world, Path(folder))
        script = Path(__file__).with_name("pydms_sharpen.py")
        subprocess.run([python, script, *seasons], check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our script
        paths = {int(path.stem[-2:]): path for path in Path(folder).rglob("sharp_*.npy")}
        return np.stack([np.load(paths[month]) for month in range(len(world.months))])


def within(made: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Correlation within cells, mean of months."""
    away = [field - np.kron(accuracy.block_means(field), np.ones((1, RATIO, RATIO))) for field in (made, truth)]
    return float(np.mean([np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(*away, strict=True)]))


def judge(kind: str, seed: int, cells: int, python: str) -> dict[str, object]:
    """Row of the CSV."""
    world = accuracy.make(kind, seed, cells)
    begun = time.monotonic()
    made = sharpen(world, python)
    seconds = time.monotonic() - begun
    reference = accuracy.judge(world, "bilinear")["square"]
    squares = [float(((made - world.truth)[world.season == number] ** 2).mean()) for number in range(len(reference))]
    return {
        "kind": kind, "seed": seed, "method": "pyDMS", "rmse": float(np.sqrt(np.mean(squares))),
        "share": float(np.sqrt(np.mean(squares) / np.mean(reference))),
        "worst_season": float(np.sqrt(np.array(squares) / reference).max()),
        "within": within(made, world.truth), "seconds": seconds,
    }  # fmt: skip


def main() -> None:
    """Judge pyDMS on every world, and write a CSV and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="a Python that has pyDMS and GDAL's bindings")
    parser.add_argument("--kinds", nargs="+", choices=accuracy.KINDS, default=accuracy.KINDS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--cells", type=int, default=9, help="coarse cells along the side, 2 to 12")
    parser.add_argument("--csv", default="pydms.csv")
    options = parser.parse_args()
    rows = []
    for kind in options.kinds:
        for seed in options.seeds:
            rows.append(judge(kind, seed, options.cells, options.python))
            sys.stdout.write(
                "  ".join(
                    f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
                    for key, value in rows[-1].items()
                )
                + "\n"
            )
            sys.stdout.flush()
    pd.DataFrame(rows).to_csv(options.csv, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
