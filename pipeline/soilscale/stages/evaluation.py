"""Every algorithm against the truth and the stations, made like the maps, though only one makes the maps."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from soilscale import storage
from soilscale.engine.output import digest
from soilscale.engine.units import Unit, markers
from soilscale.maps import MONTH
from soilscale.reports import insitu
from soilscale.reports.scores import Moments
from soilscale.stages.map_summaries import by_map
from soilscale.stages.mapping import CONSERVE, trained
from soilscale.stages.project import Project
from soilscale.stages.references import truth_stamp
from soilscale.stages.report_inputs import Material
from soilscale.stages.stacking import features_of
from soilscale.tasks.algorithm_maps import JUDGE, Entry, JudgeMap, record_url
from soilscale.tasks.map_making import Chosen, Recipe, Slot
from soilscale.tasks.map_tiles import ConserveTile


def can_judge(run: Project) -> bool:
    """Whether there is anything to judge by, and more than one algorithm."""
    validation = run.config.validation
    return len(run.config.models.algorithms) > 1 and (validation.truth is not None or validation.stations is not None)


def count(run: Project, chosen: Mapping[str, Chosen]) -> int | None:
    """Number of units, as far as it can be told without reading the stations.

    Parameters
    ----------
    chosen
        Model of each season's maps.
    """
    if run.config.validation.truth is None:
        return None
    makes = {model.algorithm for model in chosen.values()}
    return len(run.plan.months) * (len(run.config.models.algorithms) - (len(makes) == 1))


def judge_units(material: Material, conserved: Sequence[Unit[ConserveTile]]) -> list[Unit[JudgeMap]]:
    """Units for each month that has a map and each algorithm, less that which makes the maps of every season.

    Parameters
    ----------
    conserved
        Units that make the maps.
    """
    run = material.run
    truth, places = run.config.validation.truth, material.places
    if not can_judge(run) or (truth is None and not len(places if places is not None else ())):
        return []
    stations = () if places is None else tuple(zip(places["row"].tolist(), places["column"].tolist(), strict=True))
    # An algorithm that makes the maps of every season is judged by the maps themselves; to predict them again would
    # change nothing.
    makes_all = set(material.algorithm.values()) if len(set(material.algorithm.values())) == 1 else set()
    fitted, maps_by_month = trained(run), _maps_by_month(run, conserved)
    state, units = truth_stamp(run.config), []
    for algorithm in (name for name in run.config.models.algorithms if name not in makes_all):
        for month, (recipe, slot, made_from) in maps_by_month.items():
            chosen_model = material.chosen[run.config.season_scheme.name(month)]
            model = fitted[chosen_model.season, algorithm]
            # None where the model is the map's own: the map is then judged as it stands, and not predicted again.
            entry = Entry(str(month), algorithm, None if model == chosen_model else model, truth, stations)
            how = replace(recipe, features=features_of(run, algorithm, chosen_model.season))
            origin = digest(made_from, entry, how.features, state)
            units.append(Unit(JUDGE, entry.name, origin, JudgeMap(recipe=how, slot=slot, entry=entry)))
    return units


def _maps_by_month(
    run: Project, conserved: Sequence[Unit[ConserveTile]]
) -> dict[np.datetime64, tuple[Recipe, Slot, list[str]]]:
    """Months whose map stands in every tile, season by season: how it is made, where it lies, what it is made from."""
    standing = markers(run.workspace, CONSERVE)
    maps_by_month = {}
    for name, units in by_map(conserved).items():
        group, _, month = name.partition("-")
        if group == MONTH and all(unit.marker in standing for unit in units):
            task = units[0].task
            maps_by_month[np.datetime64(month)] = task.recipe, task.slot, [unit.digest for unit in units]
    scheme = run.config.season_scheme
    return dict(sorted(maps_by_month.items(), key=lambda entry: (scheme.names.index(scheme.name(entry[0])), entry[0])))


@dataclass(frozen=True)
class Judged:
    """What was found of the algorithms that do not make the maps of every season."""

    truth: Sequence[tuple[np.datetime64, str, Moments]]
    """Month, algorithm, moments of its map and the truth."""
    stations: Mapping[str, Mapping[tuple[np.datetime64, int], float]]
    """Algorithm -> month and place of the station among `Material.places` -> value."""


def judged(material: Material, units: Sequence[Unit[JudgeMap]]) -> Judged:
    """Read what the units that stand have found."""
    workspace = material.run.workspace
    standing = markers(workspace, JUDGE)
    moments: list[tuple[np.datetime64, str, Moments]] = []
    values: dict[str, dict[tuple[np.datetime64, int], float]] = defaultdict(dict)
    for entry in (unit.task.entry for unit in units if unit.marker in standing):
        record, month = storage.read_json(record_url(workspace, entry)), np.datetime64(entry.month)
        if "truth" in record:
            moments.append((month, entry.algorithm, Moments(**record["truth"])))
        for place, value in enumerate(record["stations"]):
            values[entry.algorithm][month, place] = math.nan if value is None else value
    return Judged(moments, values)


def at_stations(material: Material, results: Judged) -> dict[str, pd.DataFrame]:
    """Pairs of the stations with each algorithm's map in place of the maps', by algorithm."""
    if material.paired is None or material.places is None:
        return {}
    pairs = material.paired.pairs
    place = {tuple(key): number for number, key in enumerate(material.places[insitu.STATION].to_numpy())}
    months = pairs["time"].to_numpy().astype("datetime64[M]")
    keys = [(month, place[tuple(key)]) for month, key in zip(months, pairs[insitu.STATION].to_numpy(), strict=True)]
    return {
        algorithm: pairs.assign(fine=[values.get(key, math.nan) for key in keys])
        for algorithm, values in results.stations.items()
    }
