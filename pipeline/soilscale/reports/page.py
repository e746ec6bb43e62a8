"""The report as one self-contained HTML page."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files

import pandas as pd
from jinja2 import Environment, StrictUndefined, Template

from soilscale.reports.layout import Table, number, table
from soilscale.reports.tables import BEST, BILINEAR, NEAREST, STATIONS, TRUTH, UPSCALED, Algorithm, method
from soilscale.seasons import ALL

REFERENCES: Mapping[str, str] = {
    TRUTH: "the known truth",
    STATIONS: "stations in the ground",
    UPSCALED: "the coarse observation, one scale up",
}
"""Reference in `baselines.csv` -> what it is, in words."""

CAPTIONS: Mapping[str, str] = {
    "maps": "Soil moisture of one month in each season: what the satellite saw, and the map made from it. "
    "Each row has one scale of colours; grey is missing.",
    "time_series": "Means over the area, each over the cells that the product has in that month.",
    "accuracy": "Error and fit of every algorithm on rows that it has not seen. The tick is the comprehensive model, "
    "trained on all seasons together.",
    "scatter": "Observed against predicted in the blocked split, at the coarse scale.",
    "truth": "Error of the fine maps against the known truth, beside what needs no model.",
    "stations": "Error at stations, beside what needs no model.",
    "upscaled": "Error of a downscaling from blocks of 3 x 3 coarse cells back to the observed field.",
}
"""Name of a figure -> its caption; figures stand on the page in the section of their name."""


@dataclass(frozen=True)
class Context:
    """Everything that the page says; tables as the functions of `tables` and `insitu` return them."""

    name: str
    """Name of the run."""
    area: str
    """Where, in words or as a box in degrees."""
    period: tuple[str, str]
    """First and last month of the maps, such as 1990-01."""
    months: int
    """Number of monthly maps."""
    coarse_cells: int
    """Number of coarse cells in the area."""
    fine_cells: int
    """Number of fine cells that a map covers."""
    cell_sides: tuple[str, str]
    """Sides of a coarse and a fine cell with their unit, such as ``24 km`` and ``1 km``."""
    algorithm: Algorithm
    """With which the maps were made: a name, or season -> name."""
    accuracy: pd.DataFrame
    consistency: pd.DataFrame
    baselines: pd.DataFrame
    config_hash: str
    """Hash of the resolved configuration."""
    truth: pd.DataFrame | None = None
    stations: pd.DataFrame | None = None
    importance: pd.DataFrame | None = None
    """season, feature, group, inc_mse, inc_node_purity, rank."""
    ablation: pd.DataFrame | None = None
    """season, without, metric, value."""
    figures: Mapping[str, bytes] = field(default_factory=dict)
    """Name of a figure, one of `CAPTIONS` -> PNG."""
    failed: Sequence[tuple[str, str]] = ()
    """Units of work that could not be made, and why."""
    without_input: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Source -> months for which it has no item."""
    flags: Mapping[str, int] = field(default_factory=dict)
    """What the quality layer says, in words -> number of fine cells and months."""
    items: Mapping[str, int] = field(default_factory=dict)
    """Source -> number of its items."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Package -> version."""
    created: datetime | None = None
    """When the page was made; by default it does not say."""


@dataclass(frozen=True)
class Verdict:
    """Whether the maps are better than what needs no model, by one reference."""

    reference: str
    """In words."""
    metric: str
    values: Mapping[str, float]
    """Method -> value over all seasons; the maps' own method comes first."""
    worse_than: tuple[str, ...]
    """Baselines that are as good as the maps or better, over all seasons."""
    worse_in: tuple[str, ...]
    """Seasons in which some baseline is as good as the maps or better."""

    @property
    def good(self) -> bool:
        """Whether the maps beat every baseline over all seasons."""
        return not self.worse_than

    @property
    def sentence(self) -> str:
        """The verdict in plain words."""
        own, *others = self.values
        rivals = " and ".join(f"{name} ({number(self.metric, self.values[name])})" for name in others)
        label = {"rmse": "RMSE", "r": "R"}[self.metric]
        start = f"{label} {number(self.metric, self.values[own])}"
        if self.good:
            text = f"{start}: better than {rivals}."
        else:
            lost = " and ".join(self.worse_than)
            text = f"{start} against {rivals}: the maps lose to {lost}, which needs no model at all."
        seasons = [season for season in self.worse_in if season != ALL]
        return text + (f" They do not beat both in {', '.join(seasons)}." if seasons and self.good else "")


@dataclass(frozen=True)
class Split:
    """Accuracy of the maps' own models in one season, random beside blocked."""

    season: str
    algorithm: str
    texts: Mapping[str, str]
    """``rmse random``, ``rmse blocked``, ``r2 random``, ``r2 blocked`` -> number as text."""
    ratio: str
    """RMSE blocked / random."""


def page(context: Context) -> str:
    """Render the report: one HTML page with styles, scripts and figures inside, which asks for nothing else.

    Parameters
    ----------
    context
        What the page says. Tables that are None, or empty, and figures that are not there leave their place out.
    """
    found = splits(context.accuracy, context.algorithm)
    return _template().render(
        context=context,
        headlines={split: headline(found, f"rmse {split}") for split in ("random", "blocked")},
        own=method(context.algorithm).replace("_", " "),
        splits=found,
        verdicts=verdicts(context.baselines, method(context.algorithm)),
        tables=_tables(context),
        figures={name: b64encode(png).decode("ascii") for name, png in context.figures.items()},
        captions=CAPTIONS,
        created=context.created.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC") if context.created else "",
    )


def verdicts(baselines: pd.DataFrame, own: str) -> list[Verdict]:
    """Verdict by each reference: by RMSE or, where stations measure another quantity, by R.

    Parameters
    ----------
    baselines
        season, method, reference, metric, value.
    own
        Method of the maps.
    """
    found = []
    for reference, words in REFERENCES.items():
        rows = baselines[baselines["reference"] == reference]
        metric = "rmse" if "rmse" in set(rows["metric"]) else "r"
        chosen = rows.loc[rows["metric"] == metric, ["season", "method", "value"]]
        values = {(str(season), str(name)): float(value) for season, name, value in chosen.itertuples(index=False)}
        if math.isnan(values.get((ALL, own), math.nan)):
            continue
        rivals = [name for name in (NEAREST, BILINEAR) if (ALL, name) in values]
        seasons = list(dict.fromkeys(season for season, _ in values))
        lost = {
            season: [name for name in rivals if not _better(metric, values, season, own, name)] for season in seasons
        }
        found.append(
            Verdict(
                reference=words,
                metric=metric,
                values={name: values[ALL, name] for name in (own, *rivals)},
                worse_than=tuple(lost[ALL]),
                worse_in=tuple(season for season in seasons if lost[season]),
            )
        )
    return found


def splits(accuracy: pd.DataFrame, algorithm: Algorithm) -> list[Split]:
    """Accuracy of the seasonal models with which the maps were made, a row for each season."""
    rows = accuracy[(accuracy["model"] == "seasonal") & accuracy["metric"].isin(["rmse", "r2"])]
    found = []
    for season in pd.unique(rows["season"]):
        name = algorithm if isinstance(algorithm, str) else algorithm.get(season, method(algorithm))
        own = rows[(rows["season"] == season) & (rows["algorithm"] == name)]
        values = {
            f"{metric} {split}": value
            for metric, split, value in own[["metric", "split", "value"]].itertuples(index=False)
        }
        if values:
            random, blocked = values.get("rmse random", math.nan), values.get("rmse blocked", math.nan)
            ratio = f"{blocked / random:.2f}" if random > 0 and math.isfinite(blocked) else ""
            texts = {key: number(key.split()[0], value) for key, value in values.items()}
            found.append(Split(season, name.replace("_", " "), texts, ratio))
    return found


def headline(found: Sequence[Split], key: str) -> str:
    """Accuracy over all seasons or, where their algorithms differ, from the best season's to the worst's."""
    pooled = [split.texts[key] for split in found if split.season == ALL and key in split.texts]
    single = sorted(split.texts[key] for split in found if key in split.texts)
    if pooled or not single:
        return pooled[0] if pooled else ""
    return f"{single[0]} to {single[-1]}"


def _better(metric: str, values: Mapping[tuple[str, str], float], season: str, own: str, rival: str) -> bool:
    """Whether the maps beat a rival in a season; a season without pairs is nobody's."""
    ours, theirs = values.get((season, own), math.nan), values.get((season, rival), math.nan)
    if math.isnan(ours) or math.isnan(theirs):
        return True
    return ours < theirs if metric == "rmse" else ours > theirs


def _tables(context: Context) -> dict[str, Table]:
    """Tables of the page that have rows, by name."""
    frames = {
        "accuracy": (context.accuracy, ["season", "algorithm", "model", "split"]),
        "consistency": (context.consistency, ["season", "algorithm"]),
        "baselines": (context.baselines, ["reference", "season", "method"]),
        "truth": (context.truth, ["season", "method"]),
        "stations": (context.stations, ["season", "product"]),
        "ablation": (context.ablation, ["season", "without"]),
        "importance": (context.importance, []),
    }
    return {
        name: table(name, frame, keys) for name, (frame, keys) in frames.items() if frame is not None and len(frame)
    }


@cache
def _template() -> Template:
    """Template of the page, which escapes whatever it is given."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals["best"] = BEST
    text = files("soilscale.reports").joinpath("page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text)
