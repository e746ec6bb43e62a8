"""What a person writes: the configuration, checked key by key; nothing below `flow` sees it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import shapely
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pyproj import CRS
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from soilscale import grid, models, sources, storage
from soilscale.errors import ConfigurationError
from soilscale.seasons import SCHEMES, Months, Seasons, as_month, month_range

Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


def _as_text(value: Any) -> Any:
    """Month as text: YAML reads 2005-01 as text, 2005-01-01 as a date."""
    return str(value)[:7] if value is not None else value


def _as_tuple(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) or value is None else (value,)


Month = Annotated[str, BeforeValidator(_as_text), Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]


class Section(BaseModel):
    """A part of the configuration: frozen, and keys that it does not know are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Area(Section):
    """Where: a box in degrees, or a polygon to which the maps are masked."""

    bbox: tuple[float, float, float, float] | None = None
    """West, south, east, north."""
    geometry: str | None = None
    """GeoJSON file."""

    @model_validator(mode="after")
    def _one(self) -> Area:
        if (self.bbox is None) == (self.geometry is None):
            raise ValueError("give either bbox: [west, south, east, north] or geometry: FILE.geojson")
        if self.bbox is not None:
            west, south, east, north = self.bbox
            if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
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

    url: str
    sign: sources.Sign = "none"


class QualitySection(Section):
    """Which pixels of a quality band are accepted."""

    asset: str
    bits: tuple[int, int]
    accept: tuple[int, ...]

    @model_validator(mode="after")
    def _ordered(self) -> QualitySection:
        first, last = self.bits
        if not 0 <= first <= last <= 31:
            raise ValueError(f"bits {list(self.bits)} are not [first, last] within 0..31")
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
    role: sources.Role = "predictor"
    kind: sources.Kind = "continuous"
    scale: float | None = None
    offset: float | None = None
    nodata: Annotated[tuple[float, ...] | None, BeforeValidator(_as_tuple)] = None
    valid_range: tuple[float, float] | None = None
    quality: QualitySection | None = None
    composite: float | None = Field(default=None, gt=0)
    aggregate: sources.Aggregate = "mean"
    resampling: sources.ResamplingName = "auto"
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
        known = sources.profiles()
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

    stations: str | None = None
    truth: str | None = None


class Config(Section):
    """The whole configuration."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    output: str
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
        first, last = self.period
        if first > last:
            raise ValueError(f"period: {first} comes after {last}")
        _ = self.season_scheme
        for name, source in self.sources.items():
            if source.catalog not in self.catalogs:
                raise ValueError(
                    f"sources.{name}: no catalog {source.catalog!r}{nearest(source.catalog, self.catalogs)}"
                )
        targets = [name for name, source in self.sources.items() if source.role == "target"]
        if len(targets) != 1:
            raise ValueError(f"exactly one source has role: target; here {targets or 'none'}")
        if len(self.sources) == 1:
            raise ValueError("sources: the target alone cannot be downscaled; add predictors")
        if self.maps.algorithm not in ("best", *self.models.algorithms):
            raise ValueError(f"maps.algorithm: {self.maps.algorithm!r} is not among models.algorithms")
        return self

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
    def target(self) -> sources.Source:
        """The source whose role is target."""
        return next(source for source in self.source_list if source.role == "target")

    @property
    def predictors(self) -> tuple[sources.Source, ...]:
        """All other sources."""
        return tuple(source for source in self.source_list if source.role == "predictor")

    @cached_property
    def source_list(self) -> tuple[sources.Source, ...]:
        """All sources as the stages take them."""
        return tuple(_source(name, section) for name, section in self.sources.items())

    def catalog(self, source: sources.Source) -> sources.Catalog:
        """Catalog in which a source's items are found."""
        section = self.catalogs[source.catalog]
        return sources.Catalog(source.catalog, section.url, section.sign)

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
    def nested_grid(self) -> grid.Grid:
        """Grid of every coarse cell that the area touches."""
        area = self.geometry if self.area.bbox is None else box(*self.area.bbox)
        section = self.grid
        try:
            return grid.cover(
                area, section.crs, section.coarse, section.ratio, origin=section.origin, tile=section.tile
            )
        except ValueError as error:
            raise ConfigurationError(f"grid: {error}") from error


def _source(name: str, section: SourceSection) -> sources.Source:
    values = section.model_dump(exclude={"profile", "quality"})
    quality = section.quality and sources.QualityRule(**section.quality.model_dump())
    return sources.Source(name=name, quality=quality, **values)


def load(path: str, overrides: Sequence[str] = (), output: str | None = None) -> Config:
    """Read and check a configuration.

    Parameters
    ----------
    path
        YAML file; relative paths in it are relative to its folder.
    overrides
        ``KEY=VALUE``, keys with dots, values in YAML; paths among them are relative to the working directory.
    output
        Overrides the key ``output``; relative to the working directory.

    Raises
    ------
    ConfigurationError
        Naming every key that is wrong, and the nearest known one where a key is unknown.
    """
    here = str(Path.cwd())
    url = storage.resolve(path, here)
    try:
        content = yaml.safe_load(storage.read_bytes(url))
    except FileNotFoundError as error:
        raise ConfigurationError(f"there is no configuration at {path}") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} holds no mapping of keys, but {type(content).__name__}")
    _place(content, url.rpartition("/")[0])
    written = [_override(text) for text in overrides]
    for keys, value in written:
        _set(content, keys, value)
    for keys, _ in written:
        _place_one(content, keys, here)
    if output is not None:
        content["output"] = storage.resolve(output, here)
    return validate(content, path)


def validate(content: Mapping[str, Any], path: str = "the configuration") -> Config:
    """Check a configuration that has been read; errors as `load`."""
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        faults = "\n".join(f"  {line}" for line in _explain(error))
        raise ConfigurationError(f"{path} is wrong:\n{faults}") from error


PATHS = (("output",), ("area", "geometry"), ("validation", "stations"), ("validation", "truth"))
"""Keys that hold a path or URL, besides ``catalogs.<name>.url``."""


def _paths(content: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    yield from PATHS
    catalogs = content.get("catalogs")
    if isinstance(catalogs, dict):
        yield from (("catalogs", name, "url") for name in catalogs)


def _place(content: dict[str, Any], base: str) -> None:
    """Resolve every path of a configuration against its own folder; truth.zarr beside it is the default truth."""
    for keys in _paths(content):
        _place_one(content, keys, base)
    validation = content.setdefault("validation", {})
    beside = storage.join(base, "truth.zarr")
    if isinstance(validation, dict) and validation.get("truth") is None and storage.exists(beside):
        validation["truth"] = beside


def _place_one(content: dict[str, Any], keys: tuple[str, ...], base: str) -> None:
    if keys not in _paths(content):
        return
    *outer, last = keys
    node: Any = content
    for key in outer:
        node = node.get(key) if isinstance(node, dict) else None
    if isinstance(node, dict) and isinstance(node.get(last), str):
        node[last] = storage.resolve(node[last], base)


def _override(text: str) -> tuple[tuple[str, ...], Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigurationError(f"-o {text!r} is not KEY=VALUE, such as -o models.seed=1")
    try:
        return tuple(key.split(".")), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"-o {text!r}: the value is not YAML: {error}") from error


def _set(content: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    node = content
    for key in keys[:-1]:
        node = node.setdefault(key, {})
        if not isinstance(node, dict):
            raise ConfigurationError(f"-o {'.'.join(keys)}: {key!r} holds a value, not a mapping of keys")
    node[keys[-1]] = value


def nearest(name: str, known: Iterable[str]) -> str:
    """End of a message about an unknown name: the nearest known one, else all of them."""
    choices = list(known)
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(choices)}"


def _explain(error: ValidationError) -> Iterator[str]:
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            *outer, key = fault["loc"]
            yield f"{where}: unknown key{nearest(str(key), _keys(outer))}"
        elif fault["type"] == "missing":
            yield f"{where}: this key is missing"
        else:
            yield f"{where or 'the whole'}: {_sentence(fault)}"


def _sentence(fault: ErrorDetails) -> str:
    message = fault["msg"].removeprefix("Value error, ")
    plain = isinstance(fault["input"], (str, int, float, list)) and fault["type"] != "value_error"
    return f"{message}; got {fault['input']!r}" if plain else message


def _keys(outer: Sequence[str | int]) -> list[str]:
    """Known keys of the section at a place."""
    section: type[BaseModel] = Config
    for key in outer:
        field = section.model_fields.get(str(key))
        if field is None:
            continue
        section = next(iter(_sections(field.annotation)), section)
    return list(section.model_fields)


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _sections(part)


def dump(config: Config) -> dict[str, Any]:
    """Resolved configuration as plain data; it holds no secrets, for the configuration takes none."""
    return json.loads(config.model_dump_json())


def last_month(config: Config) -> np.datetime64:
    """Last month of the period."""
    return as_month(config.period[1])
