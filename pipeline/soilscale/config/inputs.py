"""Sources in a configuration: a single source or a target of several parts, and conflicts between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator
from pyproj import CRS
from pyproj.exceptions import CRSError

from soilscale.config import numbers
from soilscale.config.base import FaultError, Name, Section, Text, ascending
from soilscale.errors import nearest
from soilscale.sources import (
    Aggregate,
    Derivation,
    Harmonise,
    Kind,
    Matching,
    PixelGrid,
    QualityRule,
    ResamplingName,
    Role,
    Source,
    decoding_keys,
    presets,
    profiles,
    served,
)

LAST_BIT = 31
"""Last bit of the widest quality band."""

SOURCE, PARTS, RULE, RULES = "(source)", "(parts)", "(rule)", "(rules)"
"""Which section stands under a name of `sources` and under `quality`; in the place of an error that pydantic tells."""

LEAVE = "leave"
"""Key of a profile's entry for a preset: the profile's keys that do not hold there, and are left to the items."""

DATA = "data"
"""Asset of an item that is one file, where neither the source nor its profile names it."""

GRID, GRIDS = "(grid)", "(grids)"
"""Whether one pixel grid or a list of them stands under `place`; likewise."""

OWN_KEYS = ("parts", "harmonise", "reference", "through")
FEWEST = 2

FARTHEST = 24
"""Months that a lag or a memory may reach back; the cube's groups that begin earlier hold as many."""

DERIVATIONS = ("antecedent", "night", "tvdi")
"""Keys of a source by which a predictor is made from it month by month."""


def _as_tuple(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) or value is None else (value,)


def _as_names(value: Any) -> Any:
    return () if value is None else _as_tuple(value)


class QualitySection(Section):
    """Which pixels of a quality band are accepted."""

    asset: str
    """Name of the asset that holds the quality band."""
    bits: tuple[int, int]
    """`[first, last]` bit, counted from the least significant."""
    accept: tuple[int, ...]
    """Values that those bits may hold."""
    layer: Text | None = None
    """Variable inside the file, if it holds several. Default: the one named as the asset."""

    @model_validator(mode="after")
    def _ordered(self) -> QualitySection:
        first, last = self.bits
        if not 0 <= first <= last <= LAST_BIT:
            fault = f"got {list(self.bits)}; expected [first, last] within 0..{LAST_BIT}"
            raise FaultError(("bits", fault))
        largest = 2 ** (last - first + 1) - 1
        if any(not 0 <= value <= largest for value in self.accept):
            fault = f"got {list(self.accept)}; bits {first} to {last} hold 0..{largest} only"
            raise FaultError(("accept", fault))
        return self


def _one_or_more(written: Any) -> str:
    return RULES if isinstance(written, (list, tuple)) else RULE


# By a discriminator: of a plain union pydantic tells the faults of both forms, though a person wrote only one.
AnyRules = Annotated[
    Annotated[QualitySection, Tag(RULE)] | Annotated[tuple[QualitySection, ...], Tag(RULES)],
    Discriminator(_one_or_more),
]


class PlaceSection(Section):
    """Where the pixels of files lie that do not say it."""

    crs: str
    """Reference system, such as `EPSG:6933`."""
    transform: tuple[float, float, float, float, float, float]
    """`[width, 0, left, 0, height, top]`: size of a pixel and outer corner of the first one, height negative if the
    first row is the northernmost."""
    shape: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None
    """`[rows, columns]` of the files that it applies to. Default: any."""

    @model_validator(mode="after")
    def _sensible(self) -> PlaceSection:
        try:
            CRS.from_user_input(self.crs)
        except CRSError:
            raise FaultError(("crs", f"got {self.crs!r}; expected a reference system, such as EPSG:6933")) from None
        width, sheared, _, turned, height, _ = self.transform
        if width <= 0 or sheared or turned or not height:
            fault = f"got {list(self.transform)}; expected [width, 0, left, 0, height, top], width positive, and "
            raise FaultError(("transform", f"{fault}height negative if the first row is the northernmost"))
        return self


def _one_or_more_grids(written: Any) -> str:
    return GRIDS if isinstance(written, (list, tuple)) else GRID


AnyPlaces = Annotated[
    Annotated[PlaceSection, Tag(GRID)] | Annotated[tuple[PlaceSection, ...], Tag(GRIDS)],
    Discriminator(_one_or_more_grids),
]


class AntecedentSection(Section):
    """Memory of what fell in earlier months."""

    months: int = Field(default=3, ge=1, le=FARTHEST)
    """Months before the month itself that count, 1 to 24; they are also read before the period."""
    decay: float = Field(default=0.5, gt=0, le=1)
    """Weight of each month relative to that of the month after it, above 0, at most 1."""


class SourceSection(Section):
    """One input."""

    catalog: str
    """Name of one of `catalogs`."""
    collection: str
    """Id of its collection. Required, unless the profile states it for the preset, or files are the catalog."""
    asset: str
    """Name of the asset that holds the values. Required, unless the profile states it or files are the catalog."""
    profile: str | None = None
    """A product whose decoding is known, such as `MOD11A2`; its keys apply unless this source sets them; see
    [Product profiles](profiles.md)."""
    role: Role = "predictor"
    """`predictor`, `target`, or `part`: one of the sensors of a target of several parts; a part is read on the
    coarse grid and is not a feature."""
    kind: Kind = "continuous"
    """`categorical` makes one feature `<source>_<class>` for each class: its share of the cell."""
    scale: numbers.Factor = None
    """Physical value = stored value x scale + offset; if item and file differ, see [How inputs are
    read](inputs.md). Default: as the item, else the file, states; else 1."""
    offset: float | None = None
    """See `scale`. Default: as the item, else the file, states; else 0."""
    nodata: Annotated[
        tuple[float, ...] | None, BeforeValidator(_as_tuple, json_schema_input_type=float | tuple[float, ...] | None)
    ] = None
    """Stored value or values that mean missing, in addition to those that the item and the file state; `[]` reads
    theirs as data."""
    valid_range: tuple[float, float] | None = None
    """Minimum and maximum stored value, before scale and offset; anything else is missing."""
    quality: AnyRules | None = None
    """One rule or a list of rules, on one or several quality bands; a pixel must meet all of them."""
    composite: float | None = Field(default=None, gt=0)
    """Days that a composite covers, if an item has no interval; an item's own interval takes precedence. Totals
    (`aggregate: sum`) that state no interval need it, unless there is one a month or a year."""
    aggregate: Aggregate = "mean"
    """How composites become a month: `mean`, weighted by the days shared with the month; `sum`, for composites that
    are totals: mean daily rate of the valid ones x days of the month; or `rate`, for mean rates, per day unless
    item or file state another unit: mean rate x days of the month."""
    resampling: ResamplingName = "auto"
    """To the grid: `auto` interpolates between pixel centres and averages over the cell (the target: as `average`);
    `average` weighs pixels by the area that they share with the cell; `bilinear` interpolates linearly; `nearest`
    takes the pixel at the cell's centre."""
    derive: tuple[Literal["slope", "aspect", "aspect_angle", "twi"], ...] = ()
    """For an elevation in metres: `slope` (degrees), `aspect` (as `northness` and `eastness`, each times the sine
    of the slope), `aspect_angle` (the paper's: degrees clockwise from north, 0 on flat land), `twi` (topographic
    wetness index, see [Memory of the soil](science.md#memory-of-the-soil))."""
    lags: tuple[Annotated[int, Field(ge=1, le=FARTHEST)], ...] = ()
    """Months, 1 to 24, by which the source is also lagged: features `<source>_lag<n>`."""
    antecedent: AntecedentSection | None = None
    """Antecedent precipitation index: the month's rain and, with decreasing weights, that of the months before it:
    feature `<source>_api`; see [Memory of the soil](science.md#memory-of-the-soil)."""
    night: Name | None = None
    """For a daytime land surface temperature: the source of the night-time one, in the same unit; feature
    `<source>_range` is day minus night."""
    tvdi: Name | None = None
    """For a land surface temperature: the source of a vegetation index; feature `<source>_tvdi` is the temperature
    vegetation dryness index."""
    group: Name | None = None
    """Name under which features are grouped; recorded in the cube's attributes. Default: the source's name; `slope`
    and `aspect` of what is derived."""
    static: bool | None = None
    """Whether the source applies to every month. By default it does if all its items share one date or if none lies
    in the period; totals and rates, and others with a `min_coverage`, are static only if set so. Default: as the
    items show."""
    classes: tuple[int, ...] | None = None
    """Codes of a categorical source. Default: as the items hold."""
    class_names: Mapping[int, Text] = {}
    """Names of these codes in the report, such as `{10: forest, 20: cropland}`; others are called as items
    (`classification:classes`), files (category names of GDAL, `flag_meanings` of CF) or the profile say."""
    unit: str | None = None
    """Unit in the cube; values of another stated unit are converted or refused, see [Units](inputs.md#units). With
    `scale`, it is the unit of the scaled values. For the target `m3 m-3`; for a source with `derive` `m`. Default:
    as the source is used, else as the item or the file states; else `1`."""
    band: int = Field(default=1, ge=1)
    """Band of the file, counted from 1."""
    layer: Text | None = None
    """Variable inside the file, if it holds several: HDF4-EOS, HDF5, NetCDF, GRIB, Zarr; with its groups if the
    name alone is not unique, `Grid/precipitation`. It has no effect for a raster such as a GeoTIFF; see [Files with
    several variables](inputs.md#files-with-several-variables). Default: the only variable, or the one named as the
    asset."""
    place: AnyPlaces | None = None
    """Location of the pixels, for files that do not state it: one place, or a list of places for files of several
    sizes. Default: as the file or the item states."""
    query: Mapping[str, Any] = {}
    """Conditions on the items' properties, as in STAC's query extension: `{"eo:cloud_cover": {lt: 50}}`."""
    platform: Annotated[
        tuple[str, ...], BeforeValidator(_as_names, json_schema_input_type=str | tuple[str, ...] | None)
    ] = ()
    """Platform or platforms whose items count, such as `terra`, in any spelling; if empty, all count, and a month
    is their mean; see [Which items make a month](months.md)."""
    min_coverage: float | None = Field(default=None, ge=0, le=1)
    """Minimum share of a month's days, 0 to 1, that items, and the valid composites of a pixel, must cover; below
    it the month, or the pixel, is missing; see [Coverage](months.md#coverage-of-a-month). Default: half for `sum`
    and `rate`, else nothing."""
    overviews: bool | None = None
    """Whether overviews that are averages are read instead of pixels: the coarsest with four pixels along a fine
    cell; see [Overviews](inputs.md#overviews). Default: true, unless something is derived."""

    @model_validator(mode="before")
    @classmethod
    def _with_profile(cls, values: Any) -> Any:
        """Keys of the named profile, beneath those that are written out."""
        if not isinstance(values, dict) or not values.get("profile"):
            return values
        catalogue = profiles()
        if not isinstance(values["profile"], str):
            raise FaultError(("profile", f"got {values['profile']!r}; expected the name of a profile, such as MOD11A2"))
        if values["profile"] not in catalogue:
            fault = f"there is no profile {values['profile']!r}{nearest(str(values['profile']), catalogue)}"
            raise FaultError(("profile", fault))
        return decoding_keys(values["profile"]) | values

    @model_validator(mode="after")
    def _sensible(self) -> SourceSection:
        if self.kind == "categorical" and (self.aggregate != "mean" or self.derive or self.role != "predictor"):
            raise FaultError(("kind", "a categorical source cannot be the target, be summed or have derive"))
        if self.class_names and self.kind != "categorical":
            raise FaultError(("class_names", "only allowed with kind: categorical"))
        if self.role != "predictor" and (self.lags or self.derive or self.static):
            raise FaultError(("role", f"the {self.role} has neither lags nor derive, and is not static"))
        if self.static and self.lags:
            raise FaultError(("lags", "a static source has no lags"))
        for key in DERIVATIONS:
            if getattr(self, key) and (self.role != "predictor" or self.kind != "continuous" or self.static):
                raise FaultError((key, "only allowed for a continuous predictor that changes from month to month"))
        ascending("valid_range", self.valid_range)
        return self

    @property
    def rules(self) -> tuple[QualityRule, ...]:
        """Rules that a pixel must all meet."""
        written = self.quality if isinstance(self.quality, tuple) else filter(None, (self.quality,))
        return tuple(QualityRule(rule.asset, rule.bits, rule.accept, rule.layer) for rule in written)

    @property
    def places(self) -> tuple[PixelGrid, ...]:
        """Where pixels lie, of files of each shape."""
        written = self.place if isinstance(self.place, tuple) else filter(None, (self.place,))
        return tuple(PixelGrid(place.crs, place.transform, place.shape) for place in written)

    def source(self, name: str) -> Source:
        """The source as the stages take it."""
        # Left out, since they are objects of their own in a source; dumped they would be plain dicts.
        values = self.model_dump(exclude={"quality", "place", "class_names", *DERIVATIONS})
        memory = self.antecedent.months if self.antecedent else 0
        return Source(name=name, quality=self.rules, place=self.places, memory=memory, **values)

    def derived(self, name: str) -> Iterator[Source]:
        """Predictors that are made from this source and others, month by month."""
        group = self.group
        derivations: dict[str, Derivation] = {}
        if self.antecedent is not None:
            derivations["api"] = Derivation("antecedent", (name,), self.antecedent.months, self.antecedent.decay)
        if self.night is not None:
            derivations["range"] = Derivation("range", (name, self.night))
        if self.tvdi is not None:
            derivations["tvdi"] = Derivation("tvdi", (name, self.tvdi))
        for end, how in derivations.items():
            yield Source(f"{name}_{end}", catalog="", collection="", asset="", group=group, derivation=how)


class HarmonisedSection(Section):
    """A target that several sensors observe, one after another or together, brought to one level."""

    role: Literal["target"]
    """`target`."""
    parts: Annotated[tuple[Name, ...], Field(min_length=FEWEST)]
    """Names of two or more sources with `role: part`."""
    harmonise: Matching = "linear"
    """`linear` matches mean and spread, cell by cell and by calendar month; `cdf` the distribution of each cell;
    `none` leaves the sensors as they are."""
    reference: Name | None = None
    """The part to whose level the others are brought. It takes precedence where several see a cell; after it, the
    others count from last to first. Default: the last of `parts`."""
    through: Name | None = None
    """Bridge series: a source that covers all parts and changes from month to month, such as a reanalysis; a
    predictor, or another source with `role: part`. It relates sensors that share less than a year of months."""

    @model_validator(mode="before")
    @classmethod
    def _sensible(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        part_keys = ", ".join(key for key in OWN_KEYS if key in values)
        if "parts" not in values:
            fault = f"{part_keys} is for a target of several parts; name the sources with parts: [first, second]"
            raise FaultError(("", fault))
        if isinstance(values["parts"], (list, tuple)) and len(values["parts"]) < FEWEST:
            fault = f"got {list(values['parts'])}; expected at least two sources; one needs no parts"
            raise FaultError(("parts", fault))
        if misplaced := [key for key in ("catalog", "collection", "asset", "profile") if key in values]:
            fault = f"a target of several parts has no {', '.join(misplaced)} of its own; its parts have them"
            raise FaultError(("", fault))
        return values

    def source(self, name: str, valid_range: tuple[float, float]) -> Source:
        """The target as the stages take it."""
        reference = self.reference or self.parts[-1]
        how = Harmonise(self.parts, self.harmonise, reference, self.through, valid_range)
        return Source(name, catalog="", collection="", asset="", role="target", harmonise=how)


def placed(name: object, section: Any, catalogs: Any) -> Any:
    """Section of a source with what its profile says of its catalog beneath what is written out.

    Parameters
    ----------
    name, section
        As they are written under ``sources``.
    catalogs
        As it is written under ``catalogs``.

    Raises
    ------
    FaultError
        If the profile is not in the preset that the catalog is, and no collection is written out.
    """
    profile, called = (section.get(key) if isinstance(section, dict) else None for key in ("profile", "catalog"))
    catalog = catalogs.get(called) if isinstance(catalogs, dict) and isinstance(called, str) else None
    if not isinstance(catalog, dict):
        return section
    if catalog.get("files") is not None:
        return {"collection": profile or name} | ({} if profile else {"asset": DATA}) | section
    preset = catalog.get("preset")
    if not (isinstance(profile, str) and profile in profiles() and isinstance(preset, str) and preset in presets()):
        return section
    entry = served(profile, preset)
    if entry is None and "collection" not in section:
        available = ", ".join(profiles()[profile].get("catalogs", {})) or "none"
        raise FaultError(
            (
                f"sources.{name}.catalog",
                f"the preset {preset} has no {profile}; presets that have it: {available}; or write the collection",
            )
        )
    # What is written in the configuration comes last, and so wins over the profile.
    left = dict.fromkeys((entry or {}).get(LEAVE, ()))
    return left | {key: value for key, value in (entry or {}).items() if key != LEAVE} | section


def kind_of(written: Any) -> str:
    """Which section is written under a name of `sources`."""
    if isinstance(written, HarmonisedSection):
        return PARTS
    return PARTS if isinstance(written, dict) and any(key in written for key in OWN_KEYS) else SOURCE


AnySource = Annotated[
    Annotated[SourceSection, Tag(SOURCE)] | Annotated[HarmonisedSection, Tag(PARTS)], Discriminator(kind_of)
]
