#!/usr/bin/env python
"""Time the prediction of a random forest over tiles beside scikit-learn's, by turns, in one run.

Run as ``python benchmarks/prediction.py``; ``--help`` lists the sizes. A synthetic world is written (or used again),
its cube is made by the command, and the project's own forest learns from its soil moisture: by default from 9,600 block
means of 25 x 25 cells, laid anywhere, as many as a larger country has; ``--rows 0`` takes the training table of the
run. What is predicted is a month of each season, every cell of the tile, as the maps do; then the same rows in random
order. Both predict with all the threads, and both with one. Beside the ratio of the seconds that pass stands that of
the processors' seconds, which other work on the machine disturbs less. Beside them stands how many pixels
a minute and core have their dissimilarity index told, from as many training rows.

With ``--others`` treelite (`pip install treelite`) and ONNX Runtime (`pip install onnxruntime skl2onnx`) predict the
same rows with one thread, each where it is installed; conversion of a large forest to ONNX takes minutes.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

from soilscale import models, synthetic
from soilscale.models import applicability

Array = NDArray[Any]

WAYS = ("scikit-learn", "soilscale")
RATIOS = ("ratio", "ratio of processors")
MONTHS = {"winter": 0, "spring": 3, "summer": 6, "autumn": 9}
"""Month of each season that is predicted, counted from January of the first year."""


def world(folder: Path) -> Path:
    """Folder of the products of a synthetic world, which is written where there is none."""
    told = folder / "world.yaml"
    if not told.exists():
        synthetic.write(folder)
    command = Path(sys.executable).with_name("soilscale")
    for stage in ("search", "cube", "samples"):
        subprocess.run([str(command), stage, str(told)], check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own
    return folder / "run"


def fine(cube: xr.Dataset, names: list[str], month: int) -> list[Array]:
    """Features of a month on the fine grid."""
    return [cube[name].isel(time=month, missing_dims="ignore").to_numpy() for name in names]


def table(folder: Path, cube: xr.Dataset, names: list[str], season: str, rows: int) -> tuple[Array, Array]:
    """Features and target that the forest of a season learns from."""
    samples = pd.read_parquet(folder / "run" / "samples.parquet")
    drawn = samples[samples["season"] == season]
    if not rows:
        return drawn[names].to_numpy("float32"), drawn["soil_moisture"].to_numpy("float64")
    truth = xr.open_zarr(folder / "truth.zarr", group="month", consolidated=False)["soil_moisture"]
    random = np.random.default_rng(20200831)
    months = np.unique(np.searchsorted(cube["time"].to_numpy(), drawn["time"].to_numpy()))
    found = []
    for month in months:
        places = random.integers(0, cube["lst"].shape[1] - 24, (2, 2 * -(-rows // len(months))))
        layers = [*fine(cube, names, month), truth.isel(time=month).to_numpy()]
        means = [np.nanmean(sliding_window_view(layer, (25, 25))[tuple(places)], axis=(1, 2)) for layer in layers]
        whole = np.stack(means, axis=1)
        found.append(whole[np.isfinite(whole).all(axis=1)][: -(-rows // len(months))])
    every = np.concatenate(found)[:rows]
    return every[:, :-1].astype("float32"), every[:, -1] + random.normal(0, 0.02, len(every))


def tiles(cube: xr.Dataset, names: list[str], season: str) -> Iterator[tuple[str, Array]]:
    """Rows of a tile in their order, and in random order."""
    features = fine(cube, names, MONTHS[season])
    whole = np.logical_and.reduce([np.isfinite(one) for one in features])
    rows = np.stack([one[whole] for one in features], axis=1).astype("float32")
    yield "tile", rows
    yield "random", np.random.default_rng(0).permutation(rows)


def timed(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds that pass during a call, the processors' seconds, and what it returns."""
    start = time.perf_counter(), time.process_time()
    found = call()
    return time.perf_counter() - start[0], time.process_time() - start[1], found


def compare(forest: Any, X: Array, threads: int, rounds: int) -> tuple[dict[str, Array], float]:
    """Both seconds of both ways, by turns, and their greatest difference; the first round is left out."""
    predictor = models.ready(forest, threads)
    forest.set_params(n_jobs=threads)
    seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    found: dict[str, Array] = {}
    for _ in range(rounds + 1):
        for way, one in zip(WAYS, (forest, predictor), strict=True):
            *taken, found[way] = timed(lambda one=one: one.predict(X))
            seconds[way].append(tuple(taken))
    warm = {way: np.array(taken[1:]).T for way, taken in seconds.items()}
    return warm, float(np.abs(found["soilscale"] - found["scikit-learn"]).max())


def others(forest: Any, X: Array) -> Iterator[tuple[str, Callable[[], Array]]]:
    """Other libraries' predictions of the same rows with one thread, of those that are installed."""
    try:
        import treelite  # noqa: PLC0415 - not a dependency
    except ImportError:
        sys.stdout.write("treelite is not installed, and is left out\n")
    else:
        # Estimators of our own are forests of scikit-learn's, whose class treelite asks for by name.
        plain = RandomForestRegressor()
        plain.__dict__.update(forest.__dict__)
        model = treelite.sklearn.import_model(plain)
        yield "treelite", lambda: treelite.gtil.predict(model, X, nthread=1).ravel()
    try:
        import onnxruntime  # noqa: PLC0415 - likewise
        import skl2onnx  # noqa: PLC0415 - likewise
    except ImportError:
        sys.stdout.write("onnxruntime or skl2onnx is not installed, and is left out\n")
        return
    plain = RandomForestRegressor()
    plain.__dict__.update(forest.__dict__)
    converted = skl2onnx.to_onnx(plain, X[:1]).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(converted, options)
    yield "onnxruntime", partial(_onnx, session, X)


def _onnx(session: Any, X: Array) -> Array:
    return session.run(None, {"X": X})[0].ravel()


def beside(forest: Any, X: Array, rounds: int) -> None:
    """Print processors' seconds of other libraries beside those of soilscale, by turns, with one thread each."""
    predictor = models.ready(forest, 1)
    calls = {"soilscale": lambda: predictor.predict(X), **dict(others(forest, X))}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    found: dict[str, Array] = {}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            _, seconds, found[name] = timed(call)
            taken[name].append(seconds)
    medians = {name: float(np.median(seconds[1:])) for name, seconds in taken.items()}
    for name, seconds in medians.items():
        ratio, difference = seconds / medians["soilscale"], np.abs(found[name] - found["soilscale"]).max()
        text = (
            f"    {name:12} {seconds:.3f} s of a processor, {ratio:.2f} times soilscale's, difference {difference:.1g}"
        )
        sys.stdout.write(f"{text}\n")


def dissimilar(forest: Any, learned: Array, X: Array, rounds: int) -> float:
    """Pixels a minute and core whose dissimilarity index is told, in millions; the median of some rounds."""
    known = applicability.measure(models.ready(forest), learned, np.arange(len(learned)) * 5 // len(learned))
    seconds = [timed(lambda: known.index(X))[1] for _ in range(rounds + 1)][1:]
    return 60e-6 * len(X) / float(np.median(seconds))


def line(name: str, rows: int, seconds: dict[str, Array], difference: float) -> tuple[str, dict[str, Any]]:
    """What one comparison says, as text and as a row of the CSV."""
    told: dict[str, Any] = {"case": name, "rows": rows}
    text = f"{name:26} {rows} rows"
    for way in WAYS:
        taken = seconds[way][0]
        told |= {f"{way} s": np.median(taken), f"{way} least s": taken.min(), f"{way} greatest s": taken.max()}
        text += f"  {way} {np.median(taken):.3f} s ({taken.min():.3f}-{taken.max():.3f})"
    for kind, ratios in zip(RATIOS, seconds["scikit-learn"] / seconds["soilscale"], strict=True):
        told |= {kind: np.median(ratios), f"least {kind}": ratios.min(), f"greatest {kind}": ratios.max()}
        text += f"  {kind} {np.median(ratios):.2f} ({ratios.min():.2f}-{ratios.max():.2f})"
    told["greatest difference"] = difference
    return f"{text}  difference {difference:.1g}", told


def main() -> None:
    """Print seconds of both (median, least and greatest), their ratio and difference, and write them as CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--world",
        type=Path,
        default=Path(tempfile.gettempdir()) / "soilscale-prediction",
        help="folder of the synthetic world, made there at the first run (%(default)s)",
    )
    parser.add_argument("--csv", type=Path, default=Path("prediction.csv"))
    for name, default in (("rows", 9600), ("trees", 500), ("threads", os.cpu_count() or 1), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--others", action="store_true", help="compare with treelite and ONNX Runtime too")
    parser.add_argument("--seasons", nargs="+", choices=MONTHS, default=["winter", "summer"])
    sizes = parser.parse_args()
    cube = xr.open_zarr(world(sizes.world) / "cube.zarr", group="fine", consolidated=False)
    names = [name for name in cube.data_vars if name not in {"soil_moisture", "spatial_ref", "time_bounds"}]
    told = []
    for season in sizes.seasons:
        X, y = table(sizes.world, cube, names, season, sizes.rows)
        forest: Any = models.find("random_forest").make({"n_estimators": sizes.trees}, len(names), 0)
        forest.set_params(n_jobs=sizes.threads).fit(X, y)
        nodes = sum(one.tree_.node_count for one in forest.estimators_)
        models.ready(forest)
        taken, *_ = timed(lambda forest=forest: models.ready(forest))
        sys.stdout.write(f"{season}: {X.shape} learned, {nodes} nodes, made ready in {taken:.2f} s\n")
        for order, rows in tiles(cube, names, season):
            rate = dissimilar(forest, X, rows, sizes.rounds)
            sys.stdout.write(f"{season}, {order}: index of {rate:.1f} M pixels a minute and core, {len(X)} rows\n")
            if sizes.others:
                beside(forest, rows, sizes.rounds)
            for threads in sorted({1, sizes.threads}):
                name = f"{season}, {order}, {threads} thread{'s' * (threads > 1)}"
                text, row = line(name, len(rows), *compare(forest, rows, threads, sizes.rounds))
                sys.stdout.write(f"  {text}\n")
                sys.stdout.flush()
                told.append(row | {"index M pixels a minute": rate})
    with sizes.csv.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(told[0]))
        writer.writeheader()
        writer.writerows(told)
    for order in ("tile", "random"):
        for kind in RATIOS:
            found = [row[kind] for row in told if order in row["case"]]
            sys.stdout.write(f"{order}: median {kind} {np.median(found):.2f}, least {min(found):.2f}\n")


if __name__ == "__main__":
    main()
