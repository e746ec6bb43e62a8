"""The inputs of the report: the products of the other stages, opened lazily."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import xarray as xr

from soilscale import storage
from soilscale.engine.units import failures
from soilscale.maps import MONTH
from soilscale.reports import insitu
from soilscale.schema import COARSE, FINE, MAP
from soilscale.stages.mapping import STAGES, choose
from soilscale.stages.project import Project
from soilscale.stages.search import brief
from soilscale.tasks import single_fits
from soilscale.tasks.map_tiles import Chosen
from soilscale.tasks.reference_data import on_grid, station_records, truth


@dataclass(frozen=True)
class Material:
    """What the report is made from, opened lazily."""

    run: Project

    @cached_property
    def months(self) -> xr.Dataset:
        """Monthly maps; those that hang on a unit that is missing may have gaps."""
        # Every chunk is written, also an empty one, so one that is not there is damage, unless a unit is known to be
        # missing.
        broken = any(failure.stage in STAGES for failure in failures(self.run.workspace))
        return storage.open_group(self.run.workspace.maps, MONTH, gaps=broken)

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
    def truth(self) -> xr.DataArray | None:
        """Known truth, where there is one.

        Raises
        ------
        DataError
            If it does not lie on the fine grid.
        """
        url = self.run.config.validation.truth
        return None if url is None else on_grid(truth(url), self.months[MAP], url, self.run.config.nested_grid.crs)

    @cached_property
    def stations(self) -> insitu.Measured | None:
        """Monthly means of stations, where there are any."""
        known = self.run.config.validation
        if known.stations is None:
            return None
        rules = insitu.Rules(known.depth, known.flags, known.outliers, known.min_valid_fraction)
        return insitu.measured(station_records(known.stations), rules)

    @property
    def unreadable(self) -> list[tuple[str, str]]:
        """Files of stations that cannot be read, and why."""
        rows = self.stations.left_out.rows if self.stations is not None else []
        return [(name, detail) for _, name, reason, _, _, detail in rows if reason == insitu.UNREADABLE]

    @cached_property
    def paired(self) -> insitu.Paired | None:
        """Stations beside the maps and the coarse product, where there are any."""
        if self.stations is None:
            return None
        settings, grid = self.run.config, self.run.plan.grid
        least = settings.validation.min_valid_fraction
        return insitu.pair(
            self.stations,
            self.months[MAP],
            self.observed,
            grid.ratio,
            grid.crs,
            settings.season_scheme,
            min_valid_fraction=least,
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
        return None if self.paired is None else self.paired.places
