"""What a worker does to compare an algorithm's map of a month with the truth and the stations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soilscale import kernels, reports, storage
from soilscale.engine.output import Workspace
from soilscale.engine.units import Cost, Task
from soilscale.maps import MONTH
from soilscale.reports.tables import field
from soilscale.schema import COARSE, MAP
from soilscale.tasks.costs import AREA, Scale
from soilscale.tasks.map_making import Chosen, Recipe, Slot, whole
from soilscale.tasks.reference_data import on_grid, truth

JUDGE = "judge"


OWN = "own"
"""Name of the map that is judged, among the methods."""


REACH = max(kernels.SOLVER_STEPS, kernels.REACH) + 1
"""Coarse cells around a station on which its value depends: by the residuals' surface, and its interpolation."""


Array = NDArray[Any]


@dataclass(frozen=True)
class Entry:
    """One algorithm's map of a month, and what it is compared with."""

    month: str
    algorithm: str
    model: Chosen | None
    """None where the algorithm makes the map itself."""
    truth: str | None
    stations: tuple[tuple[int, int], ...]
    """Row and column of the fine cell of each station."""

    @property
    def name(self) -> str:
        """Name of the unit, such as ``svm-2005-01``."""
        return f"{self.algorithm}-{self.month}"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeMap(Task):
    """Compare an algorithm's map of a month with the truth, and keep its values at the stations."""

    recipe: Recipe
    slot: Slot
    entry: Entry

    @classmethod
    def cost(cls, scale: Scale, *, algorithms: int, trees: int, truth: bool) -> Cost:
        """Cost of a map of every month by so many algorithms. Work: as that of prediction."""
        units = scale.months * algorithms
        cells = units * scale.cells
        return Cost(
            units=units,
            read=cells * 4 * scale.features,
            written=0,
            objects=2 * units,
            work=cells * trees / 1e6,
            load=scale.cells * 4.0 * (8 if truth else 1),
            grows=AREA,
        )

    def run(self, workspace: Workspace) -> None:
        """Write what was found below `state/`."""
        values = _map(workspace, self.recipe, self.slot, self.entry)
        judgement: dict[str, Any] = {"stations": [_plain(values[cell]) for cell in self.entry.stations]}
        if self.entry.truth is not None:
            month = storage.open_group(workspace.maps, MONTH)[MAP].isel(time=[self.slot.index])
            truth_map = field(
                on_grid(truth(self.entry.truth), month, self.entry.truth, self.recipe.grid.crs),
                np.datetime64(self.entry.month),
            )
            observed = storage.read_region(workspace.cube, COARSE, self.recipe.target, (self.slot.index,)).astype(
                "float64"
            )
            judgement["truth"] = asdict(
                reports.beside_truth(truth_map, observed, self.recipe.grid.ratio, {OWN: values})[OWN]
            )
        storage.write_json(record_url(workspace, self.entry), judgement)


def _map(workspace: Workspace, recipe: Recipe, slot: Slot, entry: Entry) -> Array:
    """Map of a whole month, float32; without a truth, only what the stations' values depend on."""
    if entry.model is None:
        return storage.read_region(workspace.maps, MONTH, MAP, (slot.index,))
    if entry.truth is not None:
        return whole(workspace, recipe, slot, entry.model)
    # Without a truth only stations count, and most tiles lie near none.
    return whole(workspace, recipe, slot, entry.model, around(entry.stations, recipe.grid.shape, recipe.grid.ratio))


def around(stations: Sequence[tuple[int, int]], shape: tuple[int, int], ratio: int) -> NDArray[np.bool_]:
    """Coarse cells on which the values at stations depend.

    Parameters
    ----------
    stations
        Row and column of the fine cell of each.
    shape, ratio
        Of the grid.

    Returns
    -------
    array
        Shape ``shape``.
    """
    needed = np.zeros(shape, bool)
    for row, column in stations:
        y, x = row // ratio, column // ratio
        needed[max(y - REACH, 0) : y + REACH + 1, max(x - REACH, 0) : x + REACH + 1] = True
    return needed


def record_url(workspace: Workspace, entry: Entry) -> str:
    """Where what was found of an entry is kept."""
    return workspace.state(JUDGE, f"{entry.name}.told.json")


def _plain(value: np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None
