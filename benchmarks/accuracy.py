#!/usr/bin/env python
"""How near the maps of each algorithm come to a known truth, beside interpolation, and what its intervals hold.

Run as ``python benchmarks/accuracy.py``; ``--help`` lists the options. Landscapes and weather are those of
`soilscale.synthetic`, without gaps; soil moisture is made of them in several ways:

- ``linear``: nearly linear effects of the features, which differ a little by season, and smooth hidden fields;
- ``additive``: curved effects in place of the lines;
- ``interactions``: the same, and products of features;
- ``rough``: curved effects, and a hidden field of about 8 km, that leaves no trace between cells;
- ``noisy``: curved effects; temperature, evapotranspiration and NDVI are seen with noise of a fifth of their spread;
- ``gappy``: curved effects; clumps hide 60 % of the temperature, composites of 8 days, each with a warmth and a weather
  of its own, and 20 % of the months of NDVI;
- ``world``: the soil moisture of the demo, a sigmoid of sums, with a hidden pattern of 2 to 4 km.

The coarse field is its mean over cells of 25 x 25 pixels, with noise of 0.004 m3 m-3. Everything is done in memory by
the package's own functions, those that fold composites, fill gaps and smooth noise among them: what a run adds, the
resampling of real pixels, is not judged here.

Columns of the CSV: ``kind``, ``seed``, ``method``, ``rmse`` (m3 m-3, of all months), ``share`` (of that of bilinear
interpolation), ``worst_season`` (greatest share of a season), ``within`` (correlation within cells, mean of months),
``coverage``, ``width`` and ``interval_score`` (of 90 % intervals, m3 m-3; the score is the mean width and, for values
outside, 20 times their distance from the interval: Gneiting & Raftery 2007) and ``seconds`` (of CPU: fit and maps).
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from composites import filled, hide, mean, of_days, of_months
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from soilscale import kernels, maps, models
from soilscale.models import GaussianProcess, area, basis, joint
from soilscale.models.effects import Covariance
from soilscale.schema import MAP
from soilscale.seasons import calendar_month
from soilscale.synthetic import world as worlds

Array = NDArray[np.float64]

RATIO = 25
NOISE = 0.004
"""Of the observation, m3 m-3."""

RANGE = (0.0, 0.6)
LEVEL = 0.9

WEIGHTS: Mapping[str, float] = {
    "precipitation": 0.4, "lst": -0.5, "ndvi": 0.35, "et": 0.25, "sand": -0.35, "clay": 0.2, "elevation": -0.2,
    "slope": -0.2, "northness": 0.15, "eastness": 0.03, "silt": 0.0,
}  # fmt: skip
"""Effect of a standard deviation of each feature."""

CURVES: Mapping[str, Callable[[Array], Array]] = {
    "precipitation": lambda z: np.tanh(1.2 * z),
    "lst": lambda z: 1.5 * np.tanh(z),
    "ndvi": lambda z: z - 0.35 * z**2,
    "et": lambda z: 1.5 * np.exp(-(z**2)),
    "sand": lambda z: 1.5 * np.tanh(1.5 * (z - 0.3)),
    "elevation": lambda z: np.sin(1.3 * z),
    "slope": lambda z: 2 * np.exp(-np.maximum(z + 1, 0)),
}
"""Shape of the effect of each feature where it is curved."""

CLASSES = (4, 10, 12, 13, 16)
STATIC = ("elevation", "slope", "northness", "eastness", "sand", "clay", "silt")
MONTHLY = ("precipitation", "lst", "et", "ndvi")
SHOWN: Mapping[str, int] = {
    "worst_season": 2,
    "within": 3,
    "coverage": 2,
    "width": 3,
    "interval_score": 3,
    "seconds": 0,
}
"""Column of the CSV -> digits in the table."""

KINDS = ("linear", "additive", "interactions", "rough", "noisy", "gappy", "world")
METHODS = ("nearest", "bilinear", "random_forest", "trend_forest", "xgboost", "gaussian_process")


@dataclass(frozen=True)
class World:
    """A known truth, and what is seen of it."""

    features: Mapping[str, NDArray[np.float32]]
    """Feature -> shape ``(months, y, x)``."""
    truth: Array
    observed: Array
    """Shape ``(months, rows, columns)``."""
    months: NDArray[np.datetime64]

    @property
    def season(self) -> NDArray[np.intp]:
        """Number of the season of each month, winter first."""
        return np.array([calendar_month(month) % 12 // 3 for month in self.months])

    @property
    def cells(self) -> int:
        """Coarse cells along a side."""
        return self.observed.shape[-1]

    def pixels(self, month: int) -> NDArray[np.float32]:
        """Features of a month's pixels, shape ``(n, p)``."""
        return np.stack([self.features[name][month].ravel() for name in self.features], axis=-1)


def block_means(field: Array) -> Array:
    """Means over cells, of the last two axes."""
    cells = field.shape[-1] // RATIO
    means: Array = field.reshape(*field.shape[:-2], cells, RATIO, cells, RATIO).mean(axis=(-3, -1))
    return means


def landscape(seed: int, cells: int) -> tuple[dict[str, NDArray[np.float32]], Array, NDArray[np.datetime64]]:
    """Features without gaps, the soil moisture of the demo, and the months."""
    made = worlds.create(seed, (2004, 2005), cells)
    west, south, east, north = made.bounds
    n = cells * RATIO
    centres = (np.arange(n) + 0.5) / n
    lon, lat = np.meshgrid(west + (east - west) * centres, north - (north - south) * centres)
    months = made.period

    def stack(name: str) -> NDArray[np.float32]:
        return np.stack([made.truth(name, month, lon, lat) for month in months]).astype("float32")

    first = months[0]
    features = {
        name: np.broadcast_to(made.truth(name, first, lon, lat).astype("float32"), (len(months), n, n))
        for name in STATIC
    }
    cover = made.exact("land_cover", first, lon, lat)
    features |= {
        f"land_cover_{code}": np.broadcast_to((cover == code).astype("float32"), (len(months), n, n))
        for code in CLASSES
    }
    return features | {name: stack(name) for name in MONTHLY}, stack("soil_moisture").astype(float), months


def smooth_field(rng: np.random.Generator, n: int, length: float) -> Array:
    """Smooth random field of mean 0 and standard deviation 1, of some length in pixels."""
    margin = 4 * int(length)
    field = gaussian_filter(rng.standard_normal((n + 2 * margin,) * 2), length)[margin:-margin, margin:-margin]
    return field / field.std()


def moisten(kind: str, features: Mapping[str, NDArray[np.float32]], season: NDArray[np.intp], seed: int) -> Array:
    """Soil moisture of a kind, m3 m-3, shape ``(months, y, x)``."""
    rng = np.random.default_rng(seed)
    z = {name: (values - values.mean()) / values.std() for name, values in features.items() if name in WEIGHTS}
    total = np.zeros(next(iter(features.values())).shape)
    for name, weight in WEIGHTS.items():
        bend = CURVES.get(name) if kind != "linear" else (lambda z: z + 0.1 * np.tanh(z))
        shape = z[name] if bend is None else bend(z[name])
        total += (weight * (1 + 0.3 * rng.standard_normal(season.max() + 1)))[season][:, None, None] * shape
    for name in features:
        if name not in WEIGHTS:
            total += rng.normal(0, 0.3) * features[name]
    if kind == "interactions":
        total += 0.4 * z["ndvi"] * z["lst"] + 0.3 * np.tanh(z["sand"] * z["precipitation"])
    n, length = total.shape[-1], 8 if kind == "rough" else 35
    total += 0.5 * smooth_field(rng, n, length)
    for number in range(season.max() + 1):
        total[season == number] += 0.2 * smooth_field(rng, n, length)
    total += 0.15 * np.stack([smooth_field(rng, n, length) for _ in season])
    return np.clip(0.22 + 0.055 * (total - total.mean()) / total.std(), 0.03, 0.55)


def make(kind: str, seed: int, cells: int) -> World:
    """World of a kind."""
    features, truth, months = landscape(seed, cells)
    rng = np.random.default_rng(seed + 100)
    if kind == "gappy":
        days = of_days(features["lst"], months, rng)
        features["lst"] = np.stack([mean(days, month) for month in months])
    plain = World(features, truth, truth, months)
    if kind != "world":
        truth = moisten("additive" if kind in {"noisy", "gappy"} else kind, features, plain.season, seed)
    if kind == "noisy":
        for name in ("lst", "et", "ndvi"):
            values = features[name]
            noise = (0.2 * values.std() * rng.standard_normal(values.shape)).astype("float32")
            features[name], _ = filled(of_months(values + noise, months), months, RATIO)
    if kind == "gappy":
        features["lst"], _ = filled(hide(days, 0.6, rng), months, RATIO)
        features["ndvi"], _ = filled(hide(of_months(features["ndvi"], months), 0.2, rng), months, RATIO)
    observed = block_means(truth)
    return World(features, truth, observed + NOISE * rng.standard_normal(observed.shape), months)


def table(world: World) -> pd.DataFrame:
    """Training rows: the mean features of each cell and month."""
    columns = {name: block_means(values.astype(float)).ravel() for name, values in world.features.items()}
    return pd.DataFrame(columns | {MAP: world.observed.ravel()}).astype("float32")


def within(values: NDArray[np.float32]) -> float:
    """Standard deviation of a feature within cells."""
    away = values - np.kron(block_means(values.astype(float)), np.ones((1, RATIO, RATIO)))
    return float(np.sqrt((away**2).mean()))


def forest_maps(world: World, algorithm: str) -> Iterator[Array]:
    """Predictions of every month by a model of each season's rows."""
    rows, features = table(world), list(world.features)
    season = np.repeat(world.season, world.cells**2)
    place = np.tile(np.arange(world.cells**2), len(world.months))
    fitted = {}
    for number in np.unique(season):
        own = season == number
        estimator = models.find(algorithm).make({}, len(features), int(number))
        known = {}
        if models.find(algorithm).placed:
            estimator.set_params(within=[within(world.features[name][world.season == number]) for name in features])
            known = {"place": place[own]}
        values, observed = rows.loc[own, features].to_numpy(), rows.loc[own, MAP].to_numpy()
        fitted[number] = models.ready(estimator.fit(values, observed, **known))
    for month, number in enumerate(world.season):
        yield models.predict(fitted[number], world.pixels(month)).reshape(world.truth.shape[1:])


def areal_maps(world: World, halves: dict[int, float]) -> Iterator[Array]:
    """Predictions of every month by area-to-point regression; `halves` gets half the width of a season's interval."""
    names, cells = list(world.features), world.cells
    shares = [name not in WEIGHTS for name in names]
    ground = joint.Ground(
        tuple(names),
        basis.measure(np.concatenate([world.pixels(month)[::31] for month in range(len(world.months))]), shares),
        tuple(map(str, range(world.season.max() + 1))),
        (0.0, 0.0, 1.0),
    )
    parts, rng = [], np.random.default_rng(0)
    row, column = (axis.ravel() for axis in np.indices((cells, cells)))
    for month, start in enumerate(world.months):
        pixels = world.pixels(month).reshape(cells, RATIO, cells, RATIO, -1).swapaxes(1, 2)
        values = pixels.reshape(cells**2, RATIO**2, -1)
        keys = {"time": start.astype("datetime64[ns]"), "y": -1.0 * row, "x": 1.0 * column}
        drawn = joint.draw_pixels(names, values, RATIO, rng)
        parts.append(pd.DataFrame(keys | joint.tabulate(ground.basis, names, values) | drawn))
    keys = pd.concat([part[list(joint.KEYS)] for part in parts], ignore_index=True)
    season = np.repeat(world.season, cells**2).astype(str)
    rows = joint.join(keys.assign(season=season, **{MAP: world.observed.ravel()}), parts, ground)
    estimator = GaussianProcess(random_state=0)
    variances = estimator.variances(rows.areas, rows.observed)
    told = joint.spread(rows, parts, variances, share=LEVEL, lengths=area.LENGTHS, seed=0)
    halves |= {int(name): half for name, (half, _) in told.items()}
    unit = area.level(rows.observed)
    covariance = Covariance(rows.areas, variances, area.LENGTHS)
    effects = covariance.effects(covariance.solve((rows.observed - unit[0]) / unit[1], np.ones(len(rows.table), bool)))
    bands = np.zeros((2 + world.season.max(), len(names), ground.basis.knots))
    at = (np.arange(cells * RATIO) + 0.5) / RATIO - 0.5
    for month, number in enumerate(world.season):
        model = GaussianProcess().of_season(
            ground.basis, effects, bands, variances, unit, int(number), corner=ground.corner, months=rows.months
        )
        place = model.surface(world.months[[month]], -at, at)
        yield model.predict(world.pixels(month)).reshape(place.shape) + place


def interpolated(world: World, method: str) -> Iterator[Array]:
    """Coarse field of every month, laid down or interpolated."""
    for field in world.observed:
        yield np.kron(field, np.ones((RATIO, RATIO))) if method == "nearest" else kernels.bilinear(field, RATIO)


def conserved(prediction: Array, observed: Array) -> Array:
    """Map of a month, as a run makes it of a prediction."""
    nodes = kernels.residual_nodes(observed - block_means(prediction), RATIO)
    values, _ = maps.finish(prediction, observed, np.pad(nodes, 1, mode="edge"), RATIO, RANGE, conserve=True)
    return values.astype(float)


def judge(world: World, method: str) -> dict[str, Any]:
    """Scores of a method on a world, but for its share of bilinear's error."""
    begun, halves = time.process_time(), dict[int, float]()
    if method in {"nearest", "bilinear"}:
        made = list(interpolated(world, method))
    else:
        predicted = areal_maps(world, halves) if method == "gaussian_process" else forest_maps(world, method)
        made = [conserved(field, seen) for field, seen in zip(predicted, world.observed, strict=True)]
    seconds = time.process_time() - begun
    error = np.stack(made) - world.truth
    correlations = []
    for field, truth in zip(made, world.truth, strict=True):
        parts = [(part - np.kron(block_means(part), np.ones((RATIO, RATIO)))).ravel() for part in (field, truth)]
        correlations.append(np.corrcoef(*parts)[0, 1] if method != "nearest" else 0.0)
    scores = {
        "method": method,
        "square": [float((error[world.season == number] ** 2).mean()) for number in range(world.season.max() + 1)],
        "within": float(np.mean(correlations)),
        "seconds": seconds,
    }
    if halves:
        half = np.array([halves[number] for number in world.season])
        beyond, width = np.abs(error) - half[:, None, None], 2 * float(half.mean())
        score = width + 2 / (1 - LEVEL) * float(np.maximum(beyond, 0.0).mean())
        scores |= {"coverage": float((beyond <= 0).mean()), "width": width, "interval_score": score}
    return scores


def compare(kind: str, seed: int, cells: int, methods: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of the CSV of one world."""
    world = make(kind, seed, cells)
    reference = np.array(judge(world, "bilinear")["square"])
    for method in methods:
        scores = judge(world, method)
        square = np.array(scores.pop("square"))
        yield {
            "kind": kind, "seed": seed, "rmse": float(np.sqrt(square.mean())),
            "share": float(np.sqrt(square.mean() / reference.mean())),
            "worst_season": float(np.sqrt(square / reference).max()),
        } | scores  # fmt: skip


def tell(rows: pd.DataFrame) -> str:
    """Results as a table of Markdown: means over seeds, and the least and the greatest share in brackets."""
    lines = [
        (
            "| kind | method | RMSE, share of bilinear's | worst season | correlation within cells | coverage "
            "| width, m3 m-3 | interval score, m3 m-3 | CPU, s |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (kind, method), of_seeds in rows.groupby(["kind", "method"], sort=False):
        mean, share = of_seeds.mean(numeric_only=True), of_seeds["share"]
        known = [f"{mean[name]:.{digits}f}" if mean[name] == mean[name] else "" for name, digits in SHOWN.items()]
        spread = f"{mean['share']:.2f} ({share.min():.2f} to {share.max():.2f})"
        lines.append(f"| {kind} | `{method}` | {spread} | {' | '.join(known)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Judge every method on every world, print a table, and write it as CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--cells", type=int, default=9, help="coarse cells along the side, 2 to 12")
    parser.add_argument("--csv", default="accuracy.csv")
    parser.add_argument("--tell", help="print the table of a CSV that was written before, and do nothing else")
    options = parser.parse_args()
    if options.tell:
        sys.stdout.write(tell(pd.read_csv(options.tell)))
        return
    columns = ("kind", "seed", "method", "rmse", "share", *SHOWN)
    with Path(options.csv).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for kind in options.kinds:
            for seed in options.seeds:
                for row in compare(kind, seed, options.cells, options.methods):
                    shown = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in row.items()}
                    writer.writerow(shown)
                    file.flush()
                    sys.stdout.write("  ".join(f"{name} {shown[name]}" for name in columns if name in shown) + "\n")
                    sys.stdout.flush()


if __name__ == "__main__":
    main()
