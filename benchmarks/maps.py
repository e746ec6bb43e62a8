#!/usr/bin/env python
"""Time the whole map stage beside a straightforward script that does the same, by turns, in one run.

Run as ``python benchmarks/maps.py``; ``--help`` lists the sizes. A synthetic world is written (or used again), and the
command makes its cube and its models, forests of 500 trees. From there on both make the same products: monthly
predictions, maps that conserve the observation, seasonal maps and quality layers in Zarr, and a COG of each. Ours
(`soilscale map`, without the layer of applicability, for the script has none) runs on one worker and on two, each a
process of one thread, with the settings of the command. The script is what a person would write with xarray,
`dask_ml.wrappers.ParallelPostFit` around scikit-learn's forest, and rioxarray, on two workers; it takes the
conservation itself from this package, for there is none elsewhere. Every case has a cluster of its own, whose start and
whose workers' first imports are not counted. Told are the seconds that pass, the processors' seconds of workers and
runner, and the greatest difference between the maps.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import dask
import dask.array as da
import numpy as np
import psutil
import rioxarray  # noqa: F401 - gives xarray its accessor
import xarray as xr
from dask_ml.wrappers import ParallelPostFit
from distributed import Client, LocalCluster

from soilscale import clusters, config, kernels, maps, models, synthetic
from soilscale.stages import mapping
from soilscale.stages.project import Project

WAYS = {"soilscale, 1 worker": 1, "soilscale": 2, "script": 2}
"""Way -> its workers."""

LAST = 2004
"""Last year of a new world."""

COLUMNS = ("way", "workers", "repetition", "wall_s", "cpu_s", "difference")


def world(folder: Path, cells: int, years: int) -> Path:
    """Configuration of a world whose models stand."""
    told = folder / "world.yaml"
    if not told.exists():
        synthetic.write(folder, years=(LAST - years + 1, LAST), cells=cells)
    command = [str(Path(sys.executable).with_name("soilscale")), "-o", "models.algorithms=[random_forest]"]
    quick = ["-o", "models.ablation=false", "-o", "maps.algorithm=random_forest"]
    for stage in ("search", "cube", "samples", "train"):
        subprocess.run([command[0], stage, str(told), *command[1:], *quick], check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own
    return told


def settings(told: str, output: Path) -> config.Config:
    """Configuration of a world, its products in another folder."""
    quick = ("models.algorithms=[random_forest]", "models.ablation=false", "maps.algorithm=random_forest")
    return config.load(told, (*quick, "maps.applicability=false"), str(output))


def warm() -> None:
    """Import on a worker what maps need, as the stages before have, and have the forest's prediction compiled."""
    for module, name in (("tasks.map_tiles", "PredictTile"), ("publish", "write_cog")):
        getattr(importlib.import_module(f"soilscale.{module}"), name)  # what it is made of is imported with it
    table = np.random.default_rng(0).random((50, 2), dtype="float32")
    forest: Any = models.algorithms.ALGORITHMS["random_forest"].make({"n_estimators": 2}, 2, 0)
    models.ready(forest.fit(table, table[:, 0])).predict(table)


def ours(client: Client, told: str, output: Path) -> None:
    """Map stage of the command."""
    mapping.draw_maps(Project(settings(told, output), lambda: client, lambda _doing, _done, _total: None))


def script(_client: Client, told: str, output: Path) -> None:
    """The same as a person would write it."""
    given = settings(told, output)
    ratio, lower_upper = given.grid.ratio, given.maps.valid_range
    fine = xr.open_zarr(output / "cube.zarr", group="fine", consolidated=False, chunks={})
    observed = xr.open_zarr(output / "cube.zarr", group="coarse", consolidated=False)[given.target.name]
    predictions = []
    for month in fine["time"].to_numpy():
        season = given.season_scheme.name(month.astype("datetime64[M]"))
        folder = output / "models" / season / "random_forest"
        forest = ParallelPostFit(models.loads((folder / "model.skops").read_bytes()))
        names = json.loads((folder / "model.json").read_text())["features"]
        predictions.append(predict(forest, [feature(fine[name], month) for name in names]))
    predicted = xr.concat(predictions, "time").assign_coords(time=fine["time"])
    pairs = [
        finished(month.to_numpy(), observed.sel(time=month["time"]).to_numpy(), ratio, lower_upper)
        for month in predicted.compute()
    ]
    monthly = stacked(pairs, predicted)
    scheme = given.season_scheme
    starts = maps.complete_seasons(monthly["time"].to_numpy().astype("datetime64[M]"), scheme)
    folded = [monthly.sel(time=scheme.members(start).astype("datetime64[ns]")) for start in starts]
    means = [maps.fold_season(list(one["soil_moisture"].data), list(one["quality"].data)) for one in folded]
    seasonal = stacked(means, predicted.sel(time=starts.astype("datetime64[ns]")))
    for group, found in (("month", monthly), ("season", seasonal)):
        stored = found.chunk(time=1)
        stored.to_zarr(output / "maps.zarr", group=group, mode="a", zarr_format=3, consolidated=False)
        for start in found["time"].to_numpy():
            for name, layer in found.sel(time=start).data_vars.items():
                path = output / "maps" / group / f"{start.astype('datetime64[M]')}_{name}.tif"
                path.parent.mkdir(parents=True, exist_ok=True)
                layer.rio.write_crs(given.grid.crs).rio.to_raster(path, driver="COG", compress="DEFLATE")


def stacked(pairs: list[tuple[Any, Any]], like: xr.DataArray) -> xr.Dataset:
    """Maps and quality layers in time."""
    layers, flags = (np.stack(every) for every in zip(*pairs, strict=True))
    return xr.Dataset({"soil_moisture": like.copy(data=layers), "quality": like.copy(data=flags)})


def feature(layer: xr.DataArray, month: np.datetime64) -> xr.DataArray:
    """A feature in a month; what is missing is the mean of the months before and after."""
    if "time" not in layer.dims:
        return layer
    around = (layer.shift(time=1) + layer.shift(time=-1)) / 2
    return layer.fillna(around).sel(time=month, drop=True)


def predict(forest: ParallelPostFit, layers: list[xr.DataArray]) -> xr.DataArray:
    """Prediction of a month where no feature is missing."""
    stack = xr.concat(layers, "feature", coords="minimal", compat="override").stack(cell=("y", "x"))
    table = stack.transpose("cell", "feature").data.rechunk({1: -1})
    valid = da.isfinite(table).all(axis=1)
    values = forest.predict(da.where(valid[:, None], table, 0).astype("float32"))
    return stack.isel(feature=0, drop=True).copy(data=da.where(valid, values, np.nan)).unstack("cell")


def finished(predicted: Any, observed: Any, ratio: int, valid_range: tuple[float, float]) -> tuple[Any, Any]:
    """Map and quality layer of a month."""
    usable = maps.usable(observed, valid_range)
    means, _ = kernels.block_mean(predicted, ratio)
    nodes = np.pad(kernels.residual_nodes(usable - means, ratio), 1, mode="edge")
    return maps.finish(predicted.astype("float64"), usable, nodes, ratio, valid_range, conserve=True)


def processors(client: Client) -> float:
    """Processors' seconds that the workers and this process have used."""
    return sum(client.run(used).values()) + used()


def used() -> float:
    """Processors' seconds of a process."""
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


def measure(way: str, told: str, output: Path) -> dict[str, float]:
    """One case, on a cluster of its own."""
    with (
        dask.config.set({} if way == "script" else clusters.LOCAL),
        LocalCluster(n_workers=WAYS[way], threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.run(warm)
        before, start = processors(client), time.perf_counter()
        (script if way == "script" else ours)(client, told, output)
        return {"wall_s": time.perf_counter() - start, "cpu_s": processors(client) - before}


def case(way: str, told: Path, folder: Path) -> dict[str, float]:
    """Measure a case in processes of its own, on a copy of the cube and the models."""
    copytree(told.parent / "run", folder, ignore=ignore_patterns("maps*", "report", "lease"))
    command = [sys.executable, __file__, "--case", way, "--world", str(told), "--scratch", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this file
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def soil_moisture(folder: Path) -> Any:
    """Monthly maps of a case."""
    return xr.open_zarr(folder / "maps.zarr", group="month", consolidated=False)["soil_moisture"].to_numpy()


def main() -> None:
    """Measure every way by turns, print the figures and write them as CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", help="folder of the world; written where there is none; default: a new one")
    parser.add_argument("--cells", type=int, default=12, help="coarse cells along the side of a new world, 12 at most")
    parser.add_argument("--years", type=int, default=3, help="years of a new world")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=list(WAYS), help="what is measured")
    parser.add_argument("--csv", default="maps.csv")
    parser.add_argument("--case", choices=tuple(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--scratch", help=argparse.SUPPRESS)
    sizes = parser.parse_args()
    if sizes.case:
        sys.stdout.write(json.dumps(measure(sizes.case, sizes.world, Path(sizes.scratch))) + "\n")
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        told = world(Path(sizes.world or scratch) / "world", sizes.cells, sizes.years)
        for repetition in range(sizes.rounds):
            folders = {way: Path(scratch) / f"{repetition}-{way}" for way in WAYS if way in sizes.ways}
            found = {way: case(way, told, folder) for way, folder in folders.items()}
            truth = soil_moisture(next(iter(folders.values())))
            for way, folder in folders.items():
                off = np.abs(soil_moisture(folder) - truth)
                same = np.array_equal(np.isfinite(off), np.isfinite(truth))
                difference = float(np.nanmax(off)) if same else float("inf")
                told_of = {"way": way, "workers": WAYS[way], "repetition": repetition, "difference": difference}
                rows.append(told_of | found[way])
    with Path(sizes.csv).open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    report(rows)


def report(rows: list[dict[str, Any]]) -> None:
    """Print seconds of each way, the ratios to the script, and the efficiency of the second worker."""
    ways = list(dict.fromkeys(row["way"] for row in rows))
    columns = {
        (way, name): np.array([row[name] for row in rows if row["way"] == way])
        for way in ways
        for name in ("wall_s", "cpu_s", "difference")
    }
    for way in ways:
        lines = [f"{told(columns[way, name])} s {name[:-2]}" for name in ("wall_s", "cpu_s")]
        sys.stdout.write(f"{way:20} {'  '.join(lines)}  difference {columns[way, 'difference'].max():.1e}\n")
    for name in ("wall_s", "cpu_s") if {"script", "soilscale"} <= set(ways) else ():
        ratio = columns["script", name] / columns["soilscale", name]
        sys.stdout.write(f"script / soilscale, {name[:-2]:5} {told(ratio)}\n")
    if {"soilscale, 1 worker", "soilscale"} <= set(ways):
        efficiency = columns["soilscale, 1 worker", "wall_s"] / (2 * columns["soilscale", "wall_s"])
        sys.stdout.write(f"efficiency of 2 workers {told(efficiency)}\n")


def told(values: Any) -> str:
    """Median, least and greatest."""
    return f"{np.median(values):7.2f} ({values.min():.2f}-{values.max():.2f})"


if __name__ == "__main__":
    main()
