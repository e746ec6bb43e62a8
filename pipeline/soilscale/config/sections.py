"""The sections of a configuration, checked key by key; nothing below `stages` sees them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    model_validator,
)
from pyproj import CRS
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from soilscale.config import geojson
from soilscale.config.area import Area
from soilscale.config.base import FaultError, Name, Section, as_scheme
from soilscale.config.inputs import AnySource, HarmonisedSection, SourceSection, placed
from soilscale.config.map_settings import Maps
from soilscale.config.model_settings import Models
from soilscale.config.period import Period, Span, month_faults
from soilscale.config.publication import Publication
from soilscale.config.source_faults import derived_faults, faults
from soilscale.config.urls import Home, Url
from soilscale.cube import factor, feature_names, lagged
from soilscale.errors import ConfigurationError, nearest
from soilscale.extents import is_on_earth, width
from soilscale.grid import Grid, cover
from soilscale.schema import KEYS, MAP, SPATIAL_REF, VALID_FRACTION
from soilscale.seasons import SCHEMES, Months, Seasons, month_range
from soilscale.sources import (
    Catalog,
    Sign,
    Source,
    presets,
)

Fault = tuple[str, str]
"""Key, and what is wrong there."""

Fraction = Annotated[float, Field(ge=0, le=1)]


class GridSection(Section):
    """The coarse grid and how many fine cells a coarse one holds along its side."""

    crs: str
    """Anything that PROJ understands, such as `EPSG:3035`, `EPSG:4326`, `EPSG:6933`."""
    coarse: float = Field(gt=0)
    """Side of a coarse cell, in units of the CRS."""
    ratio: int = Field(ge=2, le=1000)
    """Fine cells along that side, 2 to 1000."""
    origin: tuple[float, float] = (0.0, 0.0)
    """Corner `[x, y]` that the coarse grid is aligned to; set it so that coarse cells are the pixels of the
    observation; if they are not, `soilscale check` and the log name the origin and size that would fit."""
    tile: int | None = Field(default=None, ge=1)
    """Coarse cells along the side of a tile: the unit of space in which everything is read and written, and a chunk
    of the cube and the maps; smaller tiles need less memory. Default: so that a tile has at most 768 fine cells
    along its side."""

    @model_validator(mode="after")
    def _known_crs(self) -> GridSection:
        use = "use a code such as EPSG:3035, EPSG:4326 or EPSG:6933"
        try:
            crs = CRS.from_user_input(self.crs)
        except Exception as error:
            raise FaultError(("crs", f"{self.crs!r} is unknown; {use}")) from error
        if not is_on_earth(crs):
            raise FaultError(("crs", f"{self.crs!r} has no axes on the Earth's surface; {use}"))
        return self


class CatalogSection(Section):
    """Where items are found, and how their assets are signed: a URL, a preset that knows it, or files."""

    url: Url | None = None
    """A STAC API, a static catalog or collection (http, s3 or file), or an ItemCollection."""
    sign: Sign = "none"
    """How assets are signed when they are opened: `planetary-computer`, `earthdata` or `none`; a preset has its
    own."""
    preset: str | None = None
    """A known catalog, with its URL and signing: `jaxa-earth`, `planetary-computer`, `nasa-lpcloud`,
    `nasa-gesdisc`, `nasa-nsidc`, `openlandmap`, `earth-search`; a source from it needs only its `profile`, which
    knows the collection; `soilscale profiles` lists what each catalog offers."""
    files: Url | None = None
    """Files that serve as the catalog: a folder, a page of links whose URL ends with `/`, or a pattern such as
    `data/**/*EQMD*.h5`, local, `s3://` or `https://`; see [Files as a catalog](#files-as-a-catalog)."""

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, values: Any) -> Any:
        """URL and signing of the named preset, beneath those that are written out."""
        if not isinstance(values, dict) or values.get("preset") is None:
            return values
        name = values["preset"]
        if not isinstance(name, str) or name not in presets():
            raise FaultError(("preset", f"there is no preset {name!r}{nearest(str(name), presets())}"))
        return {key: presets()[name][key] for key in ("url", "sign")} | values

    @model_validator(mode="after")
    def _one_place(self) -> CatalogSection:
        if not self.url and not self.files:
            raise FaultError(("url", f"this key is missing; expected a {PLACES}"))
        if self.url and self.files:
            raise FaultError(
                ("files", f"a catalog has one location, not files as well as a url or preset; keep a {PLACES}")
            )
        return self


PLACES = "url, a preset such as planetary-computer, or files such as data/**/*.h5"
"""Where a catalog may be."""


class SamplesSection(Section):
    """Which coarse cells become rows of the training table."""

    min_valid_fraction: Fraction = 0.5
    """Minimum share of valid fine cells that every predictor must have in a coarse cell."""
    block: int | None = Field(default=None, ge=1)
    """Coarse cells along the side of a block of the blocked split. Default: a third of the grid's shorter side, 2
    to 8."""


class Limits(Section):
    """When a stage stops although it tolerates missing units."""

    missing: Fraction = 0.05
    """With `--missing tolerate`, the largest share of a stage's units that may be missing, 0 to 1. Above it the
    stage ends with status 65, or 75 if units killed their workers, and no stage follows. `soilscale run` always
    continues past missing units."""


class Validation(Section):
    """Independent data to judge the maps by."""

    stations: Url | None = None
    """CSV with the columns `station`, `longitude`, `latitude` (degrees), `time`, `value`, and optionally `unit`,
    `network`, `sensor`, `depth` or `depth_from` and `depth_to` (m), `flag`; or one ISMN file (`.stm`); or a folder
    or `.zip` of them as ISMN delivers it. `unit` is `m3 m-3` by default, `vol%` for per cent by volume; values in
    any other unit, such as `%` of relative humidity, are scaled to 0..1 and get no scores with a unit. If no
    station can be compared with the maps, the reason is given for each and the run ends with status 65."""
    depth: tuple[float, float] = (0.0, 0.1)
    """Depths in m between which a sensor must lie entirely; one of unknown depth counts."""
    flags: tuple[str, ...] = ("G", "U")
    """Accepted quality flags: ISMN's good and unflagged. All flags of a value with several, such as `D03,D05`, must
    be accepted; a value without a flag counts."""
    outliers: float | None = Field(default=3.0, gt=0)
    """A value more than this many interquartile ranges beyond the quartiles of its sensor is an outlier; `null`
    keeps all."""
    min_valid_fraction: Fraction = 0.5
    """Minimum share of a month's days in a monthly mean, and of a season's months in a seasonal one."""
    min_years: int = Field(default=3, ge=2)
    """Minimum number of years of a calendar month for the anomaly correlation, at least 2."""
    truth: Url | None = None
    """Zarr store with group `month`, variable `soil_moisture` (time, y, x), on the fine grid. Default: `truth.zarr`
    beside the configuration, if there."""

    @model_validator(mode="after")
    def _downwards(self) -> Validation:
        upper, lower = self.depth
        if not 0 <= upper <= lower:
            fault = f"got {list(self.depth)}; expected [upper, lower] in m below the surface, such as [0, 0.1]"
            raise FaultError(("depth", fault))
        return self


class Config(Section):
    """The whole configuration."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the run: letters, digits, `.`, `_`, `-`; the ids of the published maps begin with it."""
    output: Home
    """Folder or bucket (`s3://`, `gs://`, `az://`, see [object storage](object-storage.md)) of all products."""
    area: Area
    """The area to map: a box or polygons."""
    grid: GridSection
    """Coarse and fine grid."""
    period: Period
    """First and last month, inclusive, as `[YYYY-MM, YYYY-MM]`; or a relative period, `last-N-months` or
    `since-last-release`."""
    training: Span | None = None
    """First and last month that the models learn from, within a fixed `period`; for a relative one, see [Relative
    periods](#relative-periods). Default: those of `period`."""
    seasons: Annotated[str | dict[Name, tuple[int, ...]], BeforeValidator(as_scheme)] = "meteorological"
    """A partition of the year: `meteorological`, spring 3-5, summer 6-8, autumn 9-11, winter 12-2 (December belongs
    to the winter that follows); `wet_dry`: wet 5-9, dry 10-4; `growing`: growing 4-10, dormant 11-3; `annual`: one
    season, year; or a mapping such as `{wet: [5, 6, 7, 8, 9], dry: [10, 11, 12, 1, 2, 3, 4]}`, which must hold each
    month once; no season may be called `all`."""
    catalogs: Annotated[dict[str, CatalogSection], Field(min_length=1)]
    """Name -> catalog in which items are found."""
    sources: dict[Name, AnySource]
    """Name -> one input; exactly one has `role: target`."""
    samples: SamplesSection = SamplesSection()
    """Which coarse cells are used for training."""
    models: Models = Models()
    """Which algorithms, with which parameters."""
    maps: Maps = Maps()
    """Which maps, and how."""
    validation: Validation = Validation()
    """Data to validate the maps."""
    limits: Limits = Limits()
    """When a stage stops although it tolerates missing units."""
    publication: Publication | None = None
    """Who made the maps, how they may be used and cited, and their public address."""

    @model_validator(mode="before")
    @classmethod
    def _with_collections(cls, values: Any) -> Any:
        """Collections, assets and layers as the catalogs of sources name them."""
        if not isinstance(values, dict) or not isinstance(values.get("sources"), dict):
            return values
        sections = values.get("catalogs")
        placed_sources = {name: placed(name, section, sections) for name, section in values["sources"].items()}
        return values | {"sources": placed_sources}

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if wrong := list(self._faults()):
            raise FaultError(*wrong)
        return self

    def _faults(self) -> Iterator[Fault]:
        yield from month_faults(self.period, self.training)
        try:
            yield from self._season_faults(self.season_scheme.names)
        except ValueError as error:
            yield "seasons", str(error).removeprefix("seasons ")
        for source in self.source_list:
            if source.catalog not in self.catalogs:
                close_name = nearest(source.catalog, self.catalogs)
                yield f"sources.{source.name}.catalog", f"there is no catalog {source.catalog!r}{close_name}"
        targets = [name for name, source in self.sources.items() if source.role == "target"]
        if len(targets) != 1:
            yield "sources", f"exactly one source has role: target; here {', '.join(targets) or 'none'}"
        elif not self.predictors:
            yield "sources", "the target cannot be downscaled without predictors; add some"
        yield from faults(self._harmonised, self.source_list)
        yield from derived_faults(self.source_list, self.derived_list)
        if twice := self._taken_names():
            yield "sources", f"more than one variable would be called {', '.join(twice)}; rename the sources"
        yield from self._group_faults()
        yield from self._ablation_faults()
        makers = ("best", *self.models.algorithms)
        if self.maps.algorithm not in makers:
            hint = nearest(self.maps.algorithm, makers)
            yield "maps.algorithm", f"{self.maps.algorithm!r} is neither best nor among models.algorithms{hint}"

    def _group_faults(self) -> Iterator[Fault]:
        """Groups of several features that have the name of one of them, so that no table could tell them apart."""
        features = {
            lagged(feature, lag): source.group
            for source in (*self.source_list, *self.derived_list)
            for feature in feature_names(source)
            for lag in (0, *source.lags)
        }
        for name, group in features.items():
            several = sum(feature_group == name for feature_group in features.values()) > 1
            if several or (name in features.values() and group != name):
                yield "sources", f"the group {name!r} has the name of a feature; rename it"

    def _ablation_faults(self) -> Iterator[Fault]:
        """Features and groups to be left out that no source has; classes that are not named are found in the data."""
        left_out = self.models.ablation
        predictors = [source for source in (*self.source_list, *self.derived_list) if source.role == "predictor"]
        features = {name: source for source in predictors for name in feature_names(source)}
        factors = {lagged(name, lag) for name, source in features.items() for lag in (0, *source.lags)}
        factors |= {source.group or factor(source, name) for name, source in features.items()}
        factors |= {source.group or source.name for source in predictors if source.kind == "categorical"}
        open_ = tuple(f"{source.name}_" for source in predictors if source.kind == "categorical" and not source.classes)
        for name in left_out if not isinstance(left_out, bool) else ():
            if name not in factors and not name.startswith(open_):
                yield "models.ablation", f"there is no feature or group {name!r}{nearest(name, factors)}"

    def _season_faults(self, names: Sequence[str]) -> Iterator[Fault]:
        for season in self.models.season_parameters:
            if season not in names:
                yield "models.season_parameters", f"there is no season {season!r}{nearest(season, names)}"

    def _taken_names(self) -> list[str]:
        """Names that two features would have, or a feature and a variable or column of the products."""
        reserved = {*KEYS, MAP, VALID_FRACTION, SPATIAL_REF, "time_bounds"}
        names = [
            lagged(feature, lag)
            for source in (*self.source_list, *self.derived_list)
            if source.name != MAP or source.role != "target"
            # Without repeats, since most sources are a feature of their own name.
            for feature in dict.fromkeys((source.name, *feature_names(source)))
            for lag in (0, *source.lags)
        ]
        names += [name for name in self._harmonised if name != MAP]
        return sorted(name for name, count in Counter([*reserved, *names]).items() if count > 1)

    @cached_property
    def season_scheme(self) -> Seasons:
        """The seasons."""
        if isinstance(self.seasons, str):
            if self.seasons not in SCHEMES:
                raise ValueError(f"there is no scheme {self.seasons!r}{nearest(self.seasons, SCHEMES)}")
            return Seasons(SCHEMES[self.seasons])
        return Seasons(self.seasons)

    @property
    def months(self) -> Months:
        """Every month of the period."""
        return month_range(*self.span)

    @property
    def training_months(self) -> Months:
        """Every month that the models learn from."""
        return month_range(*(self.training or self.span))

    @property
    def span(self) -> Span:
        """First and last month of the period; of a relative one they are told by the date and the output."""
        if isinstance(self.period, str):
            # A fault of the caller and not of the configuration: a relative period is resolved before anything asks for
            # months.
            raise TypeError(f"the period {self.period} is not resolved")
        return self.period

    @property
    def target(self) -> Source:
        """The source whose role is target."""
        for name, section in self._harmonised.items():
            return section.source(name, self.maps.valid_range)
        return next(source for source in self.source_list if source.role == "target")

    @property
    def predictors(self) -> tuple[Source, ...]:
        """The sources that models learn from."""
        return tuple(source for source in self.source_list if source.role == "predictor")

    @cached_property
    def source_list(self) -> tuple[Source, ...]:
        """All sources that have items, as the stages take them."""
        written = self.sources.items()
        return tuple(section.source(name) for name, section in written if isinstance(section, SourceSection))

    @cached_property
    def derived_list(self) -> tuple[Source, ...]:
        """Predictors that are made from other sources month by month."""
        written = self.sources.items()
        return tuple(
            derived
            for name, section in written
            if isinstance(section, SourceSection)
            for derived in section.derived(name)
        )

    @cached_property
    def _harmonised(self) -> dict[str, HarmonisedSection]:
        """Targets of several parts."""
        return {name: section for name, section in self.sources.items() if isinstance(section, HarmonisedSection)}

    def catalog(self, source: Source) -> Catalog:
        """Catalog in which a source's items are found."""
        section = self.catalogs[source.catalog]
        return Catalog(source.catalog, section.url or "", section.sign, section.preset, section.files)

    @cached_property
    def geometry(self) -> BaseGeometry | None:
        """Polygon to which the maps are masked, longitude and latitude; None where the area is a box."""
        if self.area.geometry is None:
            return None
        return geojson.polygon(self.area.geometry)

    @cached_property
    def nested_grid(self) -> Grid:
        """Grid of every coarse cell that the area touches."""
        area = self.geometry
        if self.area.bbox is not None:
            west, south, _, north = self.area.bbox
            # By the width, for across the antimeridian east is smaller than west.
            area = box(west, south, west + width(self.area.bbox), north)
        section = self.grid
        try:
            return cover(area, section.crs, section.coarse, section.ratio, origin=section.origin, tile=section.tile)
        except ValueError as error:
            raise ConfigurationError(f"grid: {error}") from error
