"""The inputs of the report: the products of the other stages, opened lazily."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from soilscale import storage
from soilscale.engine.units import Unit
from soilscale.reports import insitu
from soilscale.reports.tables import representative
from soilscale.schema import COARSE, FINE
from soilscale.seasons import Months
from soilscale.stages import map_summaries, pictures
from soilscale.stages.mapping import choose, map_units
from soilscale.stages.project import Project
from soilscale.stages.search import brief
from soilscale.tasks import single_fits
from soilscale.tasks.map_making import Chosen
from soilscale.tasks.map_summaries import SummariseTile
from soilscale.tasks.map_tiles import ConserveTile
from soilscale.tasks.pictures import DrawAlgorithm, ThinFeatures
from soilscale.tasks.reference_data import station_records, truth_months


@dataclass(frozen=True)
class Material:
    """What the report is made from, opened lazily."""

    run: Project

    @cached_property
    def coarse(self) -> xr.Dataset:
        """Coarse group of the cube."""
        return storage.open_group(self.run.workspace.cube, COARSE)

    @cached_property
    def fine(self) -> xr.Dataset:
        """Fine group of the cube."""
        return storage.open_group(self.run.workspace.cube, FINE)

    @cached_property
    def observed(self) -> xr.DataArray:
        """Coarse observation."""
        return self.coarse[self.run.plan.target.source.name].load()

    @property
    def cells(self) -> NDArray[np.bool_]:
        """Whether each coarse cell is observed in each month, shape ``(time, y, x)``."""
        return np.isfinite(self.observed.to_numpy())

    @cached_property
    def chosen(self) -> dict[str, Chosen]:
        """Model of each season."""
        return choose(self.run)

    @cached_property
    def algorithm(self) -> dict[str, str]:
        """Algorithm of each season's maps."""
        return {season: model.algorithm for season, model in self.chosen.items()}

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Predictions of rows that a model did not learn from."""
        return single_fits.predictions(self.run.workspace.predictions)

    @cached_property
    def truth_months(self) -> Sequence[np.datetime64] | None:
        """Months of the known truth, where there is one.

        Raises
        ------
        DataError
            If it does not lie on the fine grid.
        """
        url = self.run.config.validation.truth
        return None if url is None else truth_months(url, self.run.plan.grid)

    @cached_property
    def dates(self) -> list[np.datetime64]:
        """Months whose maps are drawn, one of each season."""
        return representative(self.run.plan.months, self.cells.sum(axis=(1, 2)), self.run.config.season_scheme)

    @cached_property
    def conserved(self) -> Sequence[Unit[ConserveTile]]:
        """Units that make the maps."""
        return map_units(self.run, self.chosen).conserve

    @cached_property
    def summary_units(self) -> list[Unit[SummariseTile]]:
        """Units that summarise the maps."""
        places = self.places
        cells = [] if places is None else list(zip(places["row"].tolist(), places["column"].tolist(), strict=True))
        return map_summaries.summarise_units(self.run, self.conserved, cells, self.dates)

    @cached_property
    def summaries(self) -> map_summaries.Summaries:
        """What is known of the maps, once their units are done."""
        run = self.run
        seasons = run.config.season_scheme
        return map_summaries.collect(
            run.workspace, run.plan.grid, run.plan.months, seasons, self.summary_units, self.dates
        )

    @cached_property
    def stations(self) -> insitu.Measured | None:
        """Monthly means of stations, where there are any."""
        validation = self.run.config.validation
        if validation.stations is None:
            return None
        rules = insitu.Rules(validation.depth, validation.flags, validation.outliers, validation.min_valid_fraction)
        return insitu.measured(station_records(validation.stations), rules)

    @property
    def unreadable(self) -> list[tuple[str, str]]:
        """Files of stations that cannot be read, and why."""
        rows = self.stations.left_out.rows if self.stations is not None else []
        return [(name, detail) for _, name, reason, _, _, detail in rows if reason == insitu.UNREADABLE]

    @cached_property
    def located(self) -> insitu.Located | None:
        """Stations and the fine cells that hold them, where there are any."""
        if self.stations is None:
            return None
        grid = self.run.plan.grid
        return insitu.locate(self.stations, *grid.fine_axes, grid.crs)

    @cached_property
    def paired(self) -> insitu.Paired | None:
        """Stations beside the maps and the coarse product, where there are any."""
        if self.located is None:
            return None
        settings, grid = self.run.config, self.run.plan.grid
        return insitu.pair(
            self.located,
            list(self.run.plan.months),
            self.summaries.at,
            self.observed,
            grid.ratio,
            settings.season_scheme,
            min_valid_fraction=settings.validation.min_valid_fraction,
        )

    @property
    def beside_nothing(self) -> str | None:
        """That stations are given of which none can be compared with the maps, and why; None where one can."""
        if self.paired is None or len(self.paired.pairs.dropna(subset=insitu.VALUES)):
            return None
        table = self.paired.left_out.table()
        why = [
            f"{reason}: {brief(sorted(set(insitu.labels(rows))), 'stations')}"
            for reason, rows in table.groupby("reason", sort=False)
        ]
        return (
            f"no station of {self.run.config.validation.stations} could be compared with the maps; {'; '.join(why)}; "
            "use stations of the area and the period, or remove validation.stations"
        )

    @cached_property
    def places(self) -> pd.DataFrame | None:
        """station, longitude and latitude of the stations inside the grid, where there are any."""
        return None if self.located is None else self.located.places

    @cached_property
    def features(self) -> pictures.Features:
        """Features that the figure of the area shows; there is a month to be drawn."""
        return pictures.features(self.run, self.observed, self.dates, [str(name) for name in self.fine.data_vars])

    @cached_property
    def feature_units(self) -> list[Unit[ThinFeatures]]:
        """Units that thin features of the area; none where no month is observed."""
        if not self.dates:
            return []
        static = {name: "time" not in self.fine[name].dims for name in self.features.names}
        return pictures.feature_units(self.run, self.features, static)

    @cached_property
    def periods(self) -> list[Months]:
        """Months of each period of which the algorithms' maps are drawn."""
        return pictures.periods(self.run, self.cells)

    @cached_property
    def drawn(self) -> list[str]:
        """Algorithms whose maps are drawn."""
        return pictures.algorithms(self.run, self.predictions)

    @cached_property
    def algorithm_units(self) -> list[Unit[DrawAlgorithm]]:
        """Units that draw the maps of algorithms."""
        return pictures.algorithm_units(self.run, self.conserved, self.chosen, self.drawn, self.periods)
