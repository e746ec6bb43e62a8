"""What a person writes: the configuration, checked key by key; nothing below `flow` sees it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date
from functools import cached_property
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import shapely
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator
from pyproj import CRS
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from soilscale import cube, models, storage
from soilscale.catalog.documents import shown
from soilscale.errors import ConfigurationError, nearest
from soilscale.grid import Grid, cover
from soilscale.schema import KEYS, MAP, SPATIAL_REF, VALID_FRACTION
from soilscale.seasons import SCHEMES, Months, Seasons, month_range
from soilscale.sources import (
    Aggregate,
    Catalog,
    Kind,
    QualityRule,
    ResamplingName,
    Role,
    Sign,
    Source,
    profiles,
)

HALF_TURN = 180
"""Degrees."""

LAST_BIT = 31
"""Last bit of the widest quality band."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


def _as_text(value: Any) -> Any:
    """Month as text: YAML reads 2005-01 as text, 2005-01-01 as a date."""
    return f"{value:%Y-%m}" if isinstance(value, date) else value


def _without_password(url: str) -> str:
    """Refuse a URL that holds a password; the message does not repeat it."""
    if urlsplit(url).password is not None:
        raise ValueError(
            "the URL holds a password, which would be written into the products; leave it out, and give the "
            "credentials in the environment (AWS_* for s3) or in ~/.netrc (http)"
        )
    return url


def _as_tuple(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) or value is None else (value,)


Url = Annotated[str, AfterValidator(_without_password), PlainSerializer(shown)]
"""Path or URL; written out without its query, which may hold a signature."""

Month = Annotated[str, BeforeValidator(_as_text), Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]


class Section(BaseModel):
    """A part of the configuration: frozen, and keys that it does not know are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Area(Section):
    """Where: a box in degrees, or a polygon to which the maps are masked."""

    bbox: tuple[float, float, float, float] | None = None
    """West, south, east, north."""
    geometry: Url | None = None
    """GeoJSON file."""

    @model_validator(mode="after")
    def _one(self) -> Area:
        if (self.bbox is None) == (self.geometry is None):
            raise ValueError("give either bbox: [west, south, east, north] or geometry: FILE.geojson")
        if self.bbox is not None:
            west, south, east, north = self.bbox
            if not (-HALF_TURN <= west < east <= HALF_TURN and -HALF_TURN / 2 <= south < north <= HALF_TURN / 2):
                raise ValueError(
                    f"bbox {list(self.bbox)} is not [west, south, east, north] in degrees with west < east"
                )
        return self


class GridSection(Section):
    """The coarse grid and how many fine cells a coarse one holds along its side."""

    crs: str
    coarse: float = Field(gt=0)
    ratio: int = Field(ge=2, le=1000)
    origin: tuple[float, float] = (0.0, 0.0)
    tile: int | None = Field(default=None, ge=1)
    """Coarse cells along the side of a tile; by default so many that a tile has about 768 fine cells."""

    @model_validator(mode="after")
    def _known(self) -> GridSection:
        try:
            CRS.from_user_input(self.crs)
        except Exception as error:
            raise ValueError(
                f"crs {self.crs!r} is unknown; use a code such as EPSG:3035, EPSG:4326 or EPSG:6933"
            ) from error
        return self


class CatalogSection(Section):
    """Where items are found, and how their assets are signed."""

    url: Url
    sign: Sign = "none"


class QualitySection(Section):
    """Which pixels of a quality band are accepted."""

    asset: str
    bits: tuple[int, int]
    accept: tuple[int, ...]

    @model_validator(mode="after")
    def _ordered(self) -> QualitySection:
        first, last = self.bits
        if not 0 <= first <= last <= LAST_BIT:
            raise ValueError(f"bits {list(self.bits)} are not [first, last] within 0..{LAST_BIT}")
        largest = 2 ** (last - first + 1) - 1
        if any(not 0 <= value <= largest for value in self.accept):
            raise ValueError(
                f"accept {list(self.accept)} holds values that bits {first} to {last} cannot: 0..{largest}"
            )
        return self


class SourceSection(Section):
    """One input."""

    catalog: str
    collection: str
    asset: str
    profile: str | None = None
    role: Role = "predictor"
    kind: Kind = "continuous"
    scale: float | None = None
    offset: float | None = None
    nodata: Annotated[tuple[float, ...] | None, BeforeValidator(_as_tuple)] = None
    valid_range: tuple[float, float] | None = None
    quality: QualitySection | None = None
    composite: float | None = Field(default=None, gt=0)
    aggregate: Aggregate = "mean"
    resampling: ResamplingName = "auto"
    derive: tuple[Literal["slope", "aspect"], ...] = ()
    lags: tuple[Annotated[int, Field(ge=1, le=24)], ...] = ()
    group: str | None = None
    static: bool | None = None
    classes: tuple[int, ...] | None = None
    unit: str | None = None
    band: int = Field(default=1, ge=1)
    query: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _with_profile(cls, values: Any) -> Any:
        """Keys of the named profile, beneath those that are written out."""
        if not isinstance(values, dict) or not values.get("profile"):
            return values
        known = profiles()
        if values["profile"] not in known:
            raise ValueError(f"there is no profile {values['profile']!r}{nearest(str(values['profile']), known)}")
        profile = {key: value for key, value in known[values["profile"]].items() if key != "about"}
        return profile | values

    @model_validator(mode="after")
    def _sensible(self) -> SourceSection:
        if self.kind == "categorical" and (self.aggregate == "sum" or self.derive or self.role == "target"):
            raise ValueError("a categorical source cannot be summed, derived from or the target")
        if self.role == "target" and (self.lags or self.derive or self.static):
            raise ValueError("the target has neither lags nor derive, and is not static")
        if self.static and self.lags:
            raise ValueError("a static source has no lags")
        return self


class Models(Section):
    """Which algorithms are fitted, and with what parameters."""

    algorithms: tuple[str, ...] = models.RECOMMENDED
    parameters: dict[str, dict[str, Any]] = {}
    seed: int = Field(default=0, ge=0)
    folds: int = Field(default=5, ge=2, le=20)

    @model_validator(mode="after")
    def _known(self) -> Models:
        for name in (*self.algorithms, *self.parameters):
            if name not in models.ALGORITHMS:
                raise ValueError(f"there is no algorithm {name!r}{nearest(name, models.ALGORITHMS)}")
        for name, values in self.parameters.items():
            try:
                models.ALGORITHMS[name].make(values, 1, self.seed)
            except ConfigurationError as error:
                raise ValueError(str(error)) from error
        if not self.algorithms:
            raise ValueError(f"algorithms is empty; choose from {', '.join(models.ALGORITHMS)}")
        return self


class Maps(Section):
    """Which maps are made, and how."""

    algorithm: str = "best"
    """Name of a trained algorithm, or ``best``: per season, the one with the least blocked RMSE."""
    every: tuple[Literal["month", "season"], ...] = ("month", "season")
    conserve: bool = True
    valid_range: tuple[float, float] = (0.0, 0.6)
    """Physical range of the maps, m3 m-3."""
    fill_gaps: int = Field(default=1, ge=0, le=3)
    """Months on either side from which a missing predictor is interpolated; 0 leaves gaps."""


class SamplesSection(Section):
    """Which coarse cells become rows of the training table."""

    min_valid_fraction: Fraction = 0.5
    block: int | None = Field(default=None, ge=1)
    """Coarse cells along the side of a block of the blocked split."""


class Validation(Section):
    """Independent data to judge the maps by."""

    stations: Url | None = None
    truth: Url | None = None


class Config(Section):
    """The whole configuration."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    output: Url
    area: Area
    grid: GridSection
    period: tuple[Month, Month]
    seasons: str | dict[Name, tuple[int, ...]] = "meteorological"
    catalogs: dict[str, CatalogSection]
    sources: dict[Name, SourceSection]
    samples: SamplesSection = SamplesSection()
    models: Models = Models()
    maps: Maps = Maps()
    validation: Validation = Validation()

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if faults := list(self._faults()):
            raise ValueError("; ".join(faults))
        return self

    def _faults(self) -> Iterator[str]:
        first, last = self.period
        if first > last:
            yield f"period: {first} comes after {last}"
        try:
            _ = self.season_scheme
        except ValueError as error:
            yield str(error)
        for name, source in self.sources.items():
            if source.catalog not in self.catalogs:
                yield f"sources.{name}: no catalog {source.catalog!r}{nearest(source.catalog, self.catalogs)}"
        targets = [name for name, source in self.sources.items() if source.role == "target"]
        if len(targets) != 1:
            yield f"exactly one source has role: target; here {', '.join(targets) or 'none'}"
        elif len(self.sources) == 1:
            yield "sources: the target alone cannot be downscaled; add predictors"
        if taken := self._taken_names():
            yield f"sources: more than one variable would be called {', '.join(taken)}; name the sources otherwise"
        if self.maps.algorithm not in ("best", *self.models.algorithms):
            yield f"maps.algorithm: {self.maps.algorithm!r} is not among models.algorithms"

    def _taken_names(self) -> list[str]:
        """Names that two features would have, or a feature and a variable or column of the products."""
        own = {*KEYS, MAP, VALID_FRACTION, SPATIAL_REF, "time_bounds"}
        names = [
            cube.lagged(feature, lag)
            for source in self.source_list
            if source.name != MAP or source.role == "predictor"
            for feature in dict.fromkeys((source.name, *cube.feature_names(source)))
            for lag in (0, *source.lags)
        ]
        return sorted(name for name, count in Counter([*own, *names]).items() if count > 1)

    @cached_property
    def season_scheme(self) -> Seasons:
        """The seasons."""
        if isinstance(self.seasons, str):
            if self.seasons not in SCHEMES:
                raise ValueError(f"seasons: no scheme {self.seasons!r}{nearest(self.seasons, SCHEMES)}")
            return Seasons(SCHEMES[self.seasons])
        return Seasons(self.seasons)

    @property
    def months(self) -> Months:
        """Every month of the period."""
        return month_range(*self.period)

    @property
    def target(self) -> Source:
        """The source whose role is target."""
        return next(source for source in self.source_list if source.role == "target")

    @property
    def predictors(self) -> tuple[Source, ...]:
        """All other sources."""
        return tuple(source for source in self.source_list if source.role == "predictor")

    @cached_property
    def source_list(self) -> tuple[Source, ...]:
        """All sources as the stages take them."""
        return tuple(_source(name, section) for name, section in self.sources.items())

    def catalog(self, source: Source) -> Catalog:
        """Catalog in which a source's items are found."""
        section = self.catalogs[source.catalog]
        return Catalog(source.catalog, section.url, section.sign)

    @cached_property
    def geometry(self) -> BaseGeometry | None:
        """Polygon to which the maps are masked, longitude and latitude; None where the area is a box."""
        if self.area.geometry is None:
            return None
        try:
            text = storage.read_bytes(self.area.geometry).decode()
            shape = shapely.union_all(shapely.get_parts(shapely.from_geojson(text)))
        except (FileNotFoundError, UnicodeDecodeError, shapely.errors.GEOSException) as error:
            raise ConfigurationError(f"area.geometry: {self.area.geometry} is not a GeoJSON file: {error}") from error
        if shape.is_empty or shape.area == 0:
            raise ConfigurationError(f"area.geometry: {self.area.geometry} holds no polygon")
        return shape

    @cached_property
    def nested_grid(self) -> Grid:
        """Grid of every coarse cell that the area touches."""
        area = self.geometry if self.area.bbox is None else box(*self.area.bbox)
        section = self.grid
        try:
            return cover(area, section.crs, section.coarse, section.ratio, origin=section.origin, tile=section.tile)
        except ValueError as error:
            raise ConfigurationError(f"grid: {error}") from error


def _source(name: str, section: SourceSection) -> Source:
    values = section.model_dump(exclude={"profile", "quality"})
    rule = section.quality
    quality = None if rule is None else QualityRule(rule.asset, rule.bits, rule.accept)
    return Source(name=name, quality=quality, **values)
