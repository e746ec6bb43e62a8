"""The output of a run as a person reads it: lazily, from a folder or a bucket, and no code in it is run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pystac
import xarray as xr
import yaml
from pystac.stac_io import DefaultStacIO

from soilscale import extraction, maps, storage
from soilscale.config.urls import is_home
from soilscale.engine.output import Workspace
from soilscale.errors import ConfigurationError, DataError, nearest
from soilscale.runs.up_to_date import is_sealed
from soilscale.schema import COARSE, FINE
from soilscale.storage import tables

if TYPE_CHECKING:
    import pandas as pd

    from soilscale.models import Estimator

logger = logging.getLogger(__name__)

MODEL = "model.json"


@dataclass(frozen=True)
class Output:
    """Products of a run; of `open`.

    Arrays are lazy xarray datasets with a chunk for each month and tile; tables are pandas data frames, read when they
    are asked for. A product that the output lacks raises `soilscale.errors.DataError`, which says what makes it.
    """

    url: str
    """Folder or bucket."""

    @cached_property
    def _workspace(self) -> Workspace:
        return Workspace(self.url)

    @cached_property
    def _gaps(self) -> bool:
        """Whether some of it may not be written yet; a complete output that lacks a chunk is damaged."""
        complete = is_sealed(self.url)
        if not complete:
            logger.warning("%s is not complete: what is not made yet reads as missing", storage.shown(self.url))
        return not complete

    @cached_property
    def config(self) -> dict[str, Any]:
        """Resolved configuration of the run, as it stands in run.yaml."""
        content: dict[str, Any] = yaml.safe_load(storage.read_bytes(self._workspace.resolved))["config"]
        return content

    @cached_property
    def maps(self) -> xr.Dataset:
        """Monthly maps: soil_moisture, quality and the further layers, (time, y, x), lazy."""
        return self._group(self._workspace.maps, maps.MONTH, "maps", "map")

    @cached_property
    def seasons(self) -> xr.Dataset:
        """Seasonal maps, likewise; time is the season's first month."""
        return self._group(self._workspace.maps, maps.SEASON, "maps", "map")

    @cached_property
    def cube(self) -> xr.Dataset:
        """Predictors on the fine grid, (time, y, x) or (y, x), lazy."""
        return self._group(self._workspace.cube, FINE, "cube", "cube")

    @cached_property
    def coarse(self) -> xr.Dataset:
        """Observation, means of the predictors, and their valid share, on the coarse grid."""
        return self._group(self._workspace.cube, COARSE, "cube", "cube")

    @property
    def target(self) -> str:
        """Name of the observation in `coarse`."""
        sources: Mapping[str, Mapping[str, Any]] = self.config["sources"]
        return next(name for name, source in sources.items() if source.get("role") == "target")

    @cached_property
    def samples(self) -> pd.DataFrame:
        """Training table: one row for each coarse cell and month."""
        return self._frame(self._workspace.samples, "training table", "samples")

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """What models predict of rows that they did not learn from."""
        return self._frame(self._workspace.predictions, "predictions", "train")

    @cached_property
    def models(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Season, and ``all``, and algorithm -> description: features, units, parameters, accuracy, versions."""
        root = storage.join(self.url, "models")
        names = [name for name in storage.names_below(root) if name.endswith(f"/{MODEL}")]
        if not names:
            raise self._workspace.lacks("models", "train")
        keys = [(name.split("/")[0], name.split("/")[1]) for name in sorted(names)]
        return {key: storage.read_json(self._workspace.model(*key, MODEL)) for key in keys}

    def model(self, season: str, algorithm: str) -> Estimator:
        """Fitted estimator, as scikit-learn's are: ``predict(X)`` of rows with the features of its description.

        Parameters
        ----------
        season : str
            Name of a season, or ``all`` for the comprehensive model.
        algorithm : str
            Name of an algorithm.

        Returns
        -------
        estimator
            Read with skops, which makes nothing but trusted types. A ``stack`` is a weighted mean of others and has no
            estimator of its own; its description names them.
        """
        from soilscale.tasks import model_store

        names = [f"{name}/{kind}" for name, kind in self.models]
        if f"{season}/{algorithm}" not in names:
            hint = nearest(f"{season}/{algorithm}", names)
            raise DataError(f"{storage.shown(self.url)} has no model {season}/{algorithm}{hint}")
        try:
            return model_store.estimator(self._workspace.model(season, algorithm))
        except FileNotFoundError as error:
            raise DataError(
                f"{season}/{algorithm} has no estimator of its own; it is the weighted mean of those that its "
                "description names under 'members'"
            ) from error

    @cached_property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables of the report."""
        names = storage.names_below(storage.join(self.url, "report"))
        return tuple(sorted(Path(name).stem for name in names if name.endswith(".csv") and "/" not in name))

    def table(self, name: str) -> pd.DataFrame:
        """Table of the report, such as ``accuracy``.

        Parameters
        ----------
        name : str
            One of `tables`.
        """
        if not self.tables:
            raise self._workspace.lacks("report", "report")
        if name not in self.tables:
            raise DataError(f"{storage.shown(self.url)} has no table {name!r}{nearest(name, self.tables)}")
        return tables.read_csv(self._workspace.report(f"{name}.csv"))

    @cached_property
    def catalog(self) -> pystac.Catalog:
        """STAC catalog of the published maps, of the newest release."""
        url = self._workspace.published("catalog.json")
        if not storage.exists(url):
            raise self._workspace.lacks("catalog of maps", "map")
        return pystac.Catalog.from_file(url, stac_io=_Reader())

    def extract(
        self,
        points: str | PathLike[str] | pd.DataFrame | None = None,
        polygons: str | PathLike[str] | Mapping[str, Any] | None = None,
        *,
        min_years: int = extraction.MIN_YEARS,
    ) -> pd.DataFrame:
        """Series of points or polygons from the monthly and seasonal maps.

        Parameters
        ----------
        points : path, URL or pandas.DataFrame, optional
            Table with columns for the name (name, id, station or site), the longitude (lon, longitude, lng, long or x)
            and the latitude (lat, latitude or y), in degrees. A point has the value of the cell that holds it.
        polygons : path, URL or mapping, optional
            GeoJSON, in the CRS that it names. A polygon has the mean of its cells, each weighted by its area within it.
        min_years : int
            Fewest years with a value from which an anomaly and a percentile are told.

        Returns
        -------
        pandas.DataFrame
            A row for each place and month or season: ``name``, ``longitude``, ``latitude`` (of a polygon's centroid),
            ``every`` (month or season), ``time`` (its first day), ``season``, ``soil_moisture``, ``lower`` and
            ``upper`` (of a polygon the means of those of its cells), ``share_mapped`` and ``share_observed`` (of its
            area: with a value, and with one in a coarse cell that was observed), ``anomaly`` and ``percentile`` among
            the same calendar month or season of all ``years`` of the run. Values are NaN where a place has none.

        Raises
        ------
        soilscale.errors.DataError
            If the output has no maps, or every place lies outside them; a single one that does is named in a warning.
        soilscale.errors.ConfigurationError
            If a file is not there, or is no GeoJSON of polygons; or not just one of `points` and `polygons` is given.
        """
        if (points is None) == (polygons is None):
            raise ConfigurationError("expected either points or polygons")
        groups = {maps.MONTH: self.maps, maps.SEASON: self.seasons}
        lattice = extraction.lattice(self.maps, str(self.config["grid"]["crs"]))
        if points is not None:
            places = extraction.from_points(_located(points), lattice)
        else:
            places = extraction.from_polygons(_located(polygons), lattice)
        return extraction.extract(groups, places, min_years=min_years)

    def _group(self, url: str, group: str, noun: str, command: str) -> xr.Dataset:
        try:
            return storage.open_group(url, group, gaps=self._gaps)
        except FileNotFoundError as error:
            raise self._workspace.lacks(noun, command) from error

    def _frame(self, url: str, noun: str, command: str) -> pd.DataFrame:
        try:
            return tables.read_table(url)
        except FileNotFoundError as error:
            raise self._workspace.lacks(noun, command) from error

    def __repr__(self) -> str:
        return f"<soilscale.Output {storage.shown(self.url)}>"


def _located(source: Any) -> Any:
    """URL of a path; what holds the places itself as it is."""
    return storage.resolve(fspath(source), str(Path.cwd())) if isinstance(source, str | PathLike) else source


class _Reader(DefaultStacIO):
    """Way of pystac to documents in whatever store."""

    def read_text_from_href(self, href: str) -> str:
        """Read a document."""
        return storage.read_bytes(href).decode()


def open(url: str | PathLike[str]) -> Output:  # noqa: A001 - as xarray's and rasterio's users call it
    """Open the output of a run.

    Parameters
    ----------
    url : str or path
        Folder, or bucket (``s3://``, ``gs://``, ``az://``); its credentials come from the environment.

    Returns
    -------
    Output
        With ``maps``, ``seasons``, ``cube`` and ``coarse`` (xarray, lazy), ``samples`` and ``predictions`` (pandas),
        ``models``, ``model(season, algorithm)``, ``tables``, ``table(name)``, ``catalog`` (pystac), ``config``.

    Raises
    ------
    soilscale.errors.DataError
        If nothing of a run lies there.
    soilscale.errors.ServiceError
        If a store is out of reach, or refuses who asks.
    """
    written = fspath(url)
    if not is_home(written):
        raise ConfigurationError(f"got {storage.shown(written)!r}, expected {storage.HOMES}")
    resolved = storage.resolve(written, str(Path.cwd()))
    if not storage.exists(Workspace(resolved).resolved):
        raise DataError(
            f"{storage.shown(resolved)} is no output of soilscale: it has no run.yaml; give the folder or bucket that "
            "`output` names in the configuration"
        )
    return Output(resolved)
