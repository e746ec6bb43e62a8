"""What is learned from a person's arrays: a model for each season, how far it may be off, where it is applicable."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from dask.delayed import delayed
from sklearn.base import clone

from soilscale import models, samples
from soilscale.downscaling.lesson import Lesson
from soilscale.downscaling.stack import TARGET
from soilscale.maps import Offsets
from soilscale.models import WITHIN, GaussianProcess, Job, Predictor
from soilscale.models.fits import matrix, predictions
from soilscale.models.stack import judge as judge_stack
from soilscale.models.stack import together
from soilscale.samples import MIN_ROWS
from soilscale.schema import MAP
from soilscale.seasons import ALL
from soilscale.tasks import interval_offsets, single_fits

PLANNED = "random_forest"
"""Algorithm whose fits a person's estimator has, too."""


@dataclass(frozen=True)
class Fitted:
    """The model that maps a season."""

    algorithm: str
    predictor: Predictor
    comprehensive: bool
    """Whether the model of all seasons stands in for the season's own."""
    applicability: models.Applicability
    offsets: Offsets | None


@dataclass(frozen=True)
class Learned:
    """What the fits of one algorithm make."""

    predictors: Mapping[str, Predictor]
    """Season, and ``all`` -> model, ready to predict."""
    judged: tuple[tuple[int, pd.DataFrame], ...]
    """Fold that was held out, -1 of the random split, and what is predicted of it."""


def learn(lesson: Lesson) -> dict[str, Fitted]:
    """Model of each season."""
    learned: dict[str, Learned] = {}
    areal: dict[str, Areal] = {}
    for name in lesson.how.names:
        definition = lesson.how.known(name)
        if definition is not None and definition.members:
            learned[name] = _stacked(lesson, name, {member: learned[member] for member in definition.members})
        elif definition is not None and definition.joint:
            areal[name] = Areal.of(lesson, name)
            learned[name] = areal[name].learn()
        else:
            learned[name] = _apart(lesson, name)
    judged = [table for of_algorithm in learned.values() for _, table in of_algorithm.judged]
    chosen = _choose(lesson, judged)
    offsets = _offsets(lesson, chosen, judged, areal)
    fitted: dict[str, Fitted] = {}
    applicable: dict[tuple[str, str], models.Applicability] = {}
    for season, (model, algorithm) in chosen.items():
        predictor = learned[algorithm].predictors[model]
        if (model, algorithm) not in applicable:
            applicable[model, algorithm] = _applicability(lesson, model, predictor)
        known_there = applicable[model, algorithm]
        fitted[season] = Fitted(algorithm, predictor, model == ALL, known_there, offsets.get(season))
    return fitted


def _planned(lesson: Lesson, name: str) -> list[Job]:
    """Fits of an algorithm: those of a run, but for what nobody asks of them."""
    label = name if lesson.how.known(name) is not None else PLANNED
    jobs = [replace(job, algorithm=name) for job in models.jobs(lesson.trained, [label], lesson.how.folds)]
    if lesson.how.judges:
        return jobs
    all_trained = len(lesson.trained) == len(lesson.how.seasons.names)
    # Where each season has a model, none needs the comprehensive one.
    return [job for job in jobs if job.split == "random" and (job.model == "seasonal" or not all_trained)]


def _fold(job: Job) -> int:
    return -1 if job.fold is None else job.fold


def _apart(lesson: Lesson, name: str) -> Learned:
    """Fits of an algorithm that learns each season apart."""
    how, table = lesson.how, delayed(lesson.table)
    definition, jobs = how.known(name), _planned(lesson, name)
    estimator = delayed(how.algorithm) if definition is None else None
    fits = []
    for job in jobs:
        parameters = how.parameters_of(name)
        if definition is not None and definition.placed:
            within = lesson.spread[1]
            # Only few months are looked at, so a season may have no measure of its own.
            parameters |= {WITHIN: within.get(job.season, within[ALL])}
        fits.append(delayed(_fit)(job, table, lesson.stack.names, parameters, how.seed, how.judges, estimator))
    results = list(zip(jobs, lesson.compute(*fits), strict=True))
    return Learned(
        {job.season: models.ready(model) for job, (model, _) in results if model is not None},
        tuple((_fold(job), judged) for job, (_, judged) in results if judged is not None),
    )


def _fit(
    job: Job,
    table: pd.DataFrame,
    features: tuple[str, ...],
    parameters: Mapping[str, Any],
    seed: int,
    judges: bool,
    estimator: Any,
) -> tuple[models.Estimator | None, pd.DataFrame | None]:
    """Model of a random job, and what a job predicts of the rows that it holds out."""
    if estimator is not None:
        return _fit_given(job, table, features, seed, judges, estimator)
    if judges:
        return models.run(job, table, features, parameters=parameters, seed=seed)
    rows = models.learned(job, table, seed=seed)
    return models.fit(job, rows, features, parameters=parameters, seed=seed), None


def _fit_given(
    job: Job, table: pd.DataFrame, features: tuple[str, ...], seed: int, judges: bool, estimator: Any
) -> tuple[models.Estimator | None, pd.DataFrame | None]:
    """Fit a person's estimator as `_fit` does."""

    def fit(rows: pd.DataFrame) -> models.Estimator:
        fitted: models.Estimator = clone(estimator).fit(matrix(rows, features), rows[MAP].to_numpy())
        return fitted

    judged = None
    if judges:
        train, held_out = models.partition(job, table, seed=seed)
        if len(train) < MIN_ROWS:
            held_out = held_out[:0]
        values = models.predict(fit(train), matrix(held_out, features)) if len(held_out) else np.empty(0, "float32")
        judged = predictions(job, held_out, values)
    return fit(models.learned(job, table, seed=seed)) if job.split == "random" else None, judged


@dataclass(frozen=True)
class Areal:
    """An algorithm that learns all seasons together, with its rows and its variances."""

    lesson: Lesson
    name: str
    estimator: GaussianProcess
    joined: models.joint.Rows
    variances: models.area.Variances
    bands: models.area.Floats

    @classmethod
    def of(cls, lesson: Lesson, name: str) -> Areal:
        """Join its rows and learn its variances."""
        how, stack, grid = lesson.how, lesson.stack, lesson.stack.grid
        estimator = GaussianProcess(**how.parameters_of(name), random_state=models.seed_of(how.seed, name))
        corner = grid.top - grid.side / 2, grid.left + grid.side / 2, grid.side
        ground = models.joint.Ground(stack.names, lesson.spread[0], how.seasons.names, corner)
        joined = models.joint.join(lesson.table, lesson.basis(), ground, most=estimator.max_samples, seed=how.seed)
        ((variances, bands),) = lesson.compute(delayed(_variances)(estimator, joined))
        return cls(lesson, name, estimator, joined, variances, bands)

    def learn(self) -> Learned:
        """Fit every job."""
        jobs, rows = _planned(self.lesson, self.name), delayed(self.joined)
        parameters, seasons = self.lesson.how.parameters_of(self.name), list(self.lesson.trained)
        fits = [delayed(models.joint.learn)(job, rows, self.variances, self.bands, parameters, seasons) for job in jobs]
        results = self.lesson.compute(*fits)
        predictors = {season: models.ready(model) for fitted, _ in results for season, model in fitted.items()}
        judged = zip(jobs, results, strict=True) if self.lesson.how.judges else ()
        return Learned(predictors, tuple((_fold(job), table) for job, (_, table) in judged))

    def spread(self, share: float) -> dict[str, tuple[float, float]]:
        """Half widths of the intervals of every season, by the posterior of pixels."""
        return models.joint.spread(
            self.joined,
            self.lesson.basis(),
            self.variances,
            share=share,
            lengths=tuple(self.estimator.lengths),
            seed=self.lesson.how.seed,
        )


def _variances(
    estimator: GaussianProcess, joined: models.joint.Rows
) -> tuple[models.area.Variances, models.area.Floats]:
    variances = estimator.variances(joined.areas, joined.observed)
    return variances, estimator.bands(joined.areas, variances, joined.ground.basis)


def _stacked(lesson: Lesson, name: str, members: Mapping[str, Learned]) -> Learned:
    """Weighted mean of other algorithms."""
    tables = {
        member: pd.concat([table.assign(**{models.FOLD: fold}) for fold, table in learned.judged], ignore_index=True)
        for member, learned in members.items()
    }
    weights = str(models.find(name).make(lesson.how.parameters_of(name), 1, 0).get_params()["weights"])
    judged = judge_stack(together(tables), list(members), name, lesson.trained, weights)
    columns = np.arange(len(lesson.stack.names))
    predictors = {
        season: models.Blend(
            [
                (learned.predictors[season], columns, float(weight))
                for learned, weight in zip(members.values(), judged.stacks[season].weights_, strict=True)
            ]
        )
        for season in (*lesson.trained, ALL)
    }
    return Learned(predictors, ((-1, judged.predictions),))


def _choose(lesson: Lesson, judged: list[pd.DataFrame]) -> dict[str, tuple[str, str]]:
    """Season -> season of its model, and algorithm."""
    how = lesson.how
    errors = single_fits.errors_of(judged) if how.algorithm == "best" else {}
    chosen = {}
    for season in how.seasons.names:
        kind = "seasonal" if season in lesson.trained else "comprehensive"
        algorithm = how.names[-1]
        if how.algorithm == "best":
            season_errors = errors.get((season, kind), {})
            algorithm = models.best(season_errors) if season_errors else how.names[0]
        chosen[season] = season if season in lesson.trained else ALL, algorithm
    return chosen


def _offsets(
    lesson: Lesson, chosen: Mapping[str, tuple[str, str]], judged: list[pd.DataFrame], areal: Mapping[str, Areal]
) -> dict[str, Offsets]:
    """Offsets of the intervals of every season; none if no interval is asked for."""
    how = lesson.how
    if how.interval is None:
        return {}
    first, level = next(iter(areal), None), how.interval
    # A season whose own algorithm has no areal variances borrows those of one that is trained beside it.
    seasonal = {season: algorithm for season, (model, algorithm) in chosen.items() if model != ALL}
    lenders = {season: algorithm if algorithm in areal else first for season, algorithm in seasonal.items()}
    spreads = {name: areal[name].spread(level) for name in set(lenders.values()) if name is not None}
    lent = {season: spreads[name] for season, name in lenders.items() if name is not None}
    halves = {season: half_widths[season] for season, half_widths in lent.items() if season in half_widths}
    offsets = interval_offsets.offsets(
        lesson.coarse[TARGET],
        pd.concat(judged, ignore_index=True),
        {season: algorithm for season, (_, algorithm) in chosen.items()},
        how.seasons,
        how.valid_range,
        level,
        halves,
    )
    unknown = (math.nan, math.nan)
    return {
        season: Offsets(offsets["observed"].get(season, unknown), offsets["predicted"].get(season, unknown))
        for season in chosen
    }


def _applicability(lesson: Lesson, season: str, predictor: Predictor) -> models.Applicability:
    """Where a model is applicable."""
    table, seed = lesson.table, lesson.how.seed
    folds = models.folds(samples.places(table["block"]), lesson.how.folds, seed)
    rows = np.ones(len(table), bool) if season == ALL else (table["season"] == season).to_numpy()
    values = matrix(table[rows], lesson.stack.names)
    return models.applicability.measure(predictor, values, folds[rows], seed=seed)
