"""The results of a run in plain words: how good the maps are, whether they beat the baselines, what is missing."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from soilscale.harmonisation import OVERLAP, Support
from soilscale.reports.layout import number
from soilscale.reports.sensors import COUNTS
from soilscale.reports.style import words
from soilscale.reports.tables import BILINEAR, NEAREST, STATIONS, TRUTH, UPSCALED, Algorithm, method
from soilscale.seasons import ALL

REFERENCES: Mapping[str, str] = {
    TRUTH: "the known truth",
    STATIONS: "in situ stations",
    UPSCALED: "the coarse observation (upscaling test)",
}
"""Reference in `baselines.csv` -> what it is, in words."""

BASES: Mapping[str, str] = {
    "overlap": "the months that both saw",
    "through": "a third series that covers both",
    "climatology": "what each saw in its own years, which also removes a true change of climate between them",
}
"""Basis of a relation between sensors -> what it is, in words."""

RESTS_ON: Mapping[str, str] = {
    COUNTS[Support.MONTH]: "by the cell's own relation for each calendar month",
    COUNTS[Support.CELL]: "by the cell's own relation for the whole year",
    COUNTS[Support.AREA]: "by the relation of the whole area, in at least one month",
}
"""Statistic in `sensors.csv` that counts cells -> what their relation rests on, in words."""

EMPTY = "without a value: a predictor is missing there"
"""Fine cells and months inside the area that no map covers, in words."""

LEFT_OUT = "left out: frozen or under snow in the month's mean"
"""Fine cells and months that are left out of the maps as frozen, in words."""

SKILL = 0.1
"""R2 on held-out blocks below which a model counts as without skill: it leaves nine tenths of the variance."""

FOREST = "random_forest"
"""The paper's algorithm."""

FOREMOST = 3
"""Number of features named for each season."""


@dataclass(frozen=True)
class Verdict:
    """Whether the maps beat the baselines that need no model, against one reference."""

    reference: str
    """In words."""
    metric: str
    values: Mapping[str, float]
    """Method -> value over all seasons; the maps' own method comes first."""
    worse_than: tuple[str, ...]
    """Baselines that are as good as the maps or better, over all seasons."""
    worse_in: tuple[str, ...]
    """Seasons in which some baseline is as good as the maps or better."""
    forest: float | None = None
    """Value of the paper's algorithm, where it was trained and is not that of the maps."""

    @property
    def own(self) -> float:
        """Value of the maps."""
        return next(iter(self.values.values()))

    @property
    def direct(self) -> bool:
        """Whether the maps themselves are evaluated, rather than the method in the upscaling test."""
        return self.reference != REFERENCES[UPSCALED]

    @property
    def good(self) -> bool:
        """Whether the maps beat every baseline over all seasons."""
        return not self.worse_than

    @property
    def sentence(self) -> str:
        """The verdict in plain words."""
        maps_method, *rival_names = self.values
        rivals = " and ".join(f"{name} ({number(self.metric, self.values[name])})" for name in rival_names)
        label = {"rmse": "RMSE", "r": "R"}[self.metric]
        start = f"{label} {number(self.metric, self.values[maps_method])}"
        if self.good:
            text = f"{start}: better than {rivals}."
        else:
            need = "needs" if len(self.worse_than) == 1 else "need"
            winners = listed(self.worse_than)
            text = f"{start} against {rivals}: the maps lose to {winners}, which {need} no model."
        seasons = [words(season) for season in self.worse_in if season != ALL]
        text += f" They do not beat both in {listed(seasons)}." if seasons and self.good else ""
        plain = "" if self.forest is None else number(self.metric, self.forest)
        return text + (f" The paper's algorithm, a random forest, has {plain}." if plain else "")


def verdicts(baselines: pd.DataFrame, maps_method: str) -> list[Verdict]:
    """Verdict by each reference: by RMSE or, where stations measure another quantity, by R.

    Parameters
    ----------
    baselines
        season, method, reference, metric, value.
    maps_method
        Method of the maps.
    """
    judged = []
    for reference, reference_words in REFERENCES.items():
        rows = baselines[baselines["reference"] == reference]
        metric = "rmse" if "rmse" in set(rows["metric"]) else "r"
        chosen = rows.loc[rows["metric"] == metric, ["season", "method", "value"]]
        values = {(str(season), str(name)): float(value) for season, name, value in chosen.itertuples(index=False)}
        if math.isnan(values.get((ALL, maps_method), math.nan)):
            continue
        rivals = [name for name in (NEAREST, BILINEAR) if (ALL, name) in values]
        seasons = list(dict.fromkeys(season for season, _ in values))
        better_rivals = {
            season: [name for name in rivals if not _better(metric, values, season, maps_method, name)]
            for season in seasons
        }
        judged.append(
            Verdict(
                reference=reference_words,
                metric=metric,
                values={name: values[ALL, name] for name in (maps_method, *rivals)},
                worse_than=tuple(better_rivals[ALL]),
                worse_in=tuple(season for season in seasons if better_rivals[season]),
                forest=values.get((ALL, FOREST)) if maps_method != FOREST else None,
            )
        )
    return judged


def _better(metric: str, values: Mapping[tuple[str, str], float], season: str, maps_method: str, rival: str) -> bool:
    """Whether the maps beat a rival in a season; a season without pairs is nobody's."""
    ours, theirs = values.get((season, maps_method), math.nan), values.get((season, rival), math.nan)
    if math.isnan(ours) or math.isnan(theirs):
        return True
    return ours < theirs if metric == "rmse" else ours > theirs


def splits(accuracy: pd.DataFrame, algorithm: Algorithm) -> pd.DataFrame:
    """Accuracy of the models with which the maps were made, random beside blocked, a row for each season.

    Returns
    -------
    DataFrame
        season, algorithm, rmse_random, rmse_blocked, ratio (RMSE blocked / random), r2_random, r2_blocked, n_blocked.
    """
    rows = accuracy[accuracy["metric"].isin(["rmse", "r2"])]
    summaries = []
    for season in pd.unique(rows["season"]):
        name = algorithm if isinstance(algorithm, str) else algorithm.get(season, method(algorithm))
        model_rows = rows[(rows["season"] == season) & (rows["algorithm"] == name)]
        # A season with too few rows has no model of its own: the comprehensive one makes its maps.
        model = "seasonal" if (model_rows["model"] == "seasonal").any() else "comprehensive"
        model_rows = model_rows[model_rows["model"] == model].set_index(["metric", "split"])
        if len(model_rows):
            errors = {
                f"{metric}_{split}": float(model_rows["value"].get((metric, split), math.nan))
                for metric in ("rmse", "r2")
                for split in ("random", "blocked")
            }
            ratio = errors["rmse_blocked"] / errors["rmse_random"] if errors["rmse_random"] > 0 else math.nan
            n = float(model_rows["n"].get(("rmse", "blocked"), math.nan))
            summaries.append({"season": season, "algorithm": name} | errors | {"ratio": ratio, "n_blocked": n})
    columns = ["season", "algorithm", "rmse_random", "rmse_blocked", "ratio", "r2_random", "r2_blocked", "n_blocked"]
    return pd.DataFrame(summaries, columns=columns)


def headline(season_accuracy: pd.DataFrame, column: str) -> str:
    """Accuracy over all seasons or, where their algorithms differ, from the least season's to the greatest's."""
    metric = column.split("_", maxsplit=1)[0]
    values = season_accuracy[column].dropna()
    pooled = values[season_accuracy.loc[values.index, "season"] == ALL]
    if len(pooled) or not len(values):
        return number(metric, float(pooled.iloc[0])) if len(pooled) else ""
    return f"{number(metric, float(values.min()))} to {number(metric, float(values.max()))}"


def accuracy_words(season_accuracy: pd.DataFrame, side: str) -> str:
    """What the blocked split says, in words: best and worst season, and where the models explain nothing."""
    rows = season_accuracy[(season_accuracy["season"] != ALL) & season_accuracy["rmse_blocked"].notna()]
    if not len(rows):
        return ""
    ordered = rows.sort_values("rmse_blocked", kind="stable").to_dict("records")
    text = f"The models' error at {side} on held-out blocks is smallest in {_season_error(ordered[0])}"
    text += f" and largest in {_season_error(ordered[-1])}." if len(ordered) > 1 else "."
    useless = [words(str(season)) for season in rows.loc[rows["r2_blocked"] <= 0, "season"]]
    # Where no season has skill, the page's first warning says so already.
    if useless and not skill_words(season_accuracy, side):
        text += (
            f" In {listed(useless)} R² is not above 0: there the models predict held-out blocks no better than the "
            "mean of the observations, so do not trust the detail that the maps add to the coarse product."
        )
    return text


def skill_words(scores: pd.DataFrame, side: str) -> str:
    """That no season's model has skill, in words, for a reader must know that first; empty if one has.

    Parameters
    ----------
    scores
        Of `splits`.
    side
        Side of a coarse cell, in words.
    """
    skills = scores.loc[scores["season"] != ALL, "r2_blocked"].dropna()
    if not len(skills) or (skills >= SKILL).any():
        return ""
    low, high = (number("r2", float(value)) for value in (skills.min(), skills.max()))
    span = low if low == high else f"{low} to {high}"
    return (
        f"In this region no model has skill: at {side}, on held-out blocks, R² is {span}. Do not trust the detail "
        "that the maps add to the coarse product."
    )


def _season_error(row: Mapping[Hashable, Any]) -> str:
    return (
        f"{words(str(row['season']))} (RMSE {number('rmse', float(row['rmse_blocked']))} m³ m⁻³, "
        f"R² {number('r2', float(row['r2_blocked']))})"
    )


def interval_words(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """What share of the truth and of the stations lies in the prediction intervals, in a sentence each."""
    sentences = []
    for name, reference in (("intervals", "the known truth"), ("station_intervals", "months at stations")):
        table = tables.get(name)
        rows = table[table["season"] == ALL] if table is not None else pd.DataFrame({"n": []})
        if rows["n"].sum() > 0:
            level = 100 * float(rows["level"].iloc[0])
            coverage, width = (float(np.average(rows[column], weights=rows["n"])) for column in ("coverage", "width"))
            sentences.append(
                f"The {level:.0f} % prediction intervals are {width:.3f} m³ m⁻³ wide on average and hold "
                f"{100 * coverage:.0f} % of {reference}."
            )
    return sentences


def citation_words(name: str, product: str, citation: str, licence: str) -> str:
    """How to cite the maps and under which licence they are: as their publisher says, else by what they are."""
    source = f" from {product}" if product else ""
    how = citation or f"the run {name}, made with soilscale{source}, with the inputs under Provenance."
    missing = [label for label, text in (("a citation or a DOI", citation), ("a license", licence)) if not text]
    sentences = [
        f"Cite the maps as: {how}",
        "The method is after Yan & Bai (2020), doi:10.3390/rs12172818.",
        f"License of the maps: {licence}." if licence else "",
        f"The section publication of the configuration sets {listed(missing)}." if missing else "",
    ]
    return " ".join(filter(None, sentences))


def fallback_words(accuracy: pd.DataFrame) -> str:
    """Seasons without a model of their own, in words."""
    with_model = set(accuracy.loc[accuracy["model"] == "seasonal", "season"])
    without = [words(season) for season in pd.unique(accuracy["season"]) if season not in with_model and season != ALL]
    if not without:
        return ""
    return (
        f"With too few training rows for a model of its own, {listed(without)} is mapped by the model of all seasons, "
        "and is left out of the pooled accuracy of the seasonal models."
    )


def season_words(comparison: pd.DataFrame | None, algorithm: Algorithm) -> str:
    """Whether seasonal models beat one for all seasons on held-out blocks, in words."""
    if comparison is None or not len(comparison):
        return ""
    rows = comparison[(comparison["metric"] == "rmse") & (comparison["split"] == "blocked")]
    of = rows["season"].map(lambda season: algorithm if isinstance(algorithm, str) else algorithm.get(season))
    rows = rows[rows["algorithm"] == of]
    sure = np.isfinite(rows["lower"]) & np.isfinite(rows["upper"])
    parts = []
    for selected, verdict in (
        (sure & (rows["upper"] < 0), "better"),
        (sure & (rows["lower"] > 0), "worse"),
        (~(sure & ((rows["upper"] < 0) | (rows["lower"] > 0))), "not distinguishable from it"),
    ):
        seasons = [words(str(season)) for season in rows.loc[selected, "season"]]
        if seasons:
            parts.append(f"{verdict} in {listed(seasons)}")
    if not parts:
        return ""
    return (
        f"Compared with one model for all seasons, the seasonal models are {'; '.join(parts)} (95 % intervals, "
        "blocked RMSE)."
    )


def factor_words(importance: pd.DataFrame | None) -> str:
    """Which features matter most in each season, in words."""
    if importance is None or not len(importance):
        return ""
    single = importance[importance["kind"] == "feature"]
    parts = []
    for season, rows in single[single["season"] != ALL].groupby("season", sort=False):
        first = rows.sort_values("rank", kind="stable")["feature"].head(FOREMOST)
        parts.append(f"{words(str(season))}: {', '.join(words(str(name)) for name in first)}")
    forest = words(str(importance["algorithm"].iloc[0]))
    return f"The most important features of the {forest} by %IncMSE are, in {'; in '.join(parts)}." if parts else ""


def choice_words(tables: Collection[str]) -> str:
    """What was chosen by the blocked error, which is then too good, in words."""
    chosen = [choice for name, choice in (("selection", "predictors"), ("tuning", "parameters")) if name in tables]
    if not chosen:
        return ""
    return (
        f"The {listed(chosen)} were chosen by the error on held-out blocks. This error is therefore smaller than it "
        "will be elsewhere."
    )


def algorithm_words(algorithm: Algorithm) -> str:
    """The algorithms of the maps, in words: each with its seasons, if these differ."""
    if isinstance(algorithm, str) or len(set(algorithm.values())) == 1:
        return words(method(algorithm))
    seasons: dict[str, list[str]] = {}
    for season, name in algorithm.items():
        seasons.setdefault(name, []).append(words(season))
    return "; ".join(f"{words(name)} in {listed(in_seasons)}" for name, in_seasons in seasons.items())


def sensor_words(sensors: pd.DataFrame | None) -> list[str]:
    """What each sensor was related to the reference by, in a sentence."""
    if sensors is None:
        return []
    sentences = []
    for part, rows in sensors[sensors["statistic"].isin(COUNTS.values())].groupby("part", sort=False):
        first = rows.iloc[0]
        counts = dict(zip(rows["statistic"], rows["value"].astype(int), strict=True))
        kinds = {name: count for name, count in counts.items() if count}
        total = first["n"]
        cells = ", ".join(
            f"in {f'all {n}' if n == total else f'{n} of {total}'} cells {RESTS_ON[name]}" for name, n in kinds.items()
        )
        sentence = f"{part} was matched to {first['reference']} by {BASES[first['basis']]}: {cells}."
        sentences.append(sentence + _check_words(sensors[sensors["part"] == part], first["basis"]))
    return sentences


def _check_words(rows: pd.DataFrame, basis: str) -> str:
    """What the months say that both sensors saw, where they are too few to relate the two by, in a sentence."""
    overlap = rows[rows["basis"] == "overlap"] if basis != "overlap" else rows.iloc[:0]
    steps = dict(zip(overlap["statistic"], overlap["value"], strict=True))
    if not {"step_before", "step_after"} <= set(steps):
        return ""
    before, after = (number(name, float(steps[name])) for name in ("step_before", "step_after"))
    return (
        f" Both saw fewer than {OVERLAP} common months, too few to relate them, but enough for a check: in these "
        f"months the step between the two was {before} m³ m⁻³ before and is {after} m³ m⁻³ after."
    )


def listed(names: Sequence[str]) -> str:
    """Names as a list in a sentence."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
