"""Sources in a configuration: a single source or a target of several parts, and conflicts between them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pyproj import CRS
from pyproj.exceptions import CRSError

from soilscale.config import numbers
from soilscale.errors import nearest
from soilscale.seasons import SCHEMES
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

WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
"""What names of sources, groups and seasons look like."""

Name = Annotated[str, Field(pattern=f"^{WORD.pattern}$")]

Text = Annotated[str, Field(min_length=1)]


class FaultError(ValueError):
    """Faults that a section finds in itself.

    Parameters
    ----------
    faults
        Key below the section, or nothing for the section as a whole, and what is wrong there.
    """

    def __init__(self, *faults: tuple[str, str]) -> None:
        self.faults = faults
        super().__init__("; ".join(f"{key}: {message}" if key else message for key, message in faults))


def ascending(key: str, values: tuple[float, float] | None) -> None:
    """Refuse two numbers of which the second is not the larger."""
    if values is not None and not values[0] < values[1]:
        raise FaultError((key, f"got {list(values)}; expected two numbers, the smaller one first"))


def _as_tuple(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) or value is None else (value,)


def _as_names(value: Any) -> Any:
    return () if value is None else _as_tuple(value)


def as_scheme(value: Any) -> Any:
    """Refuse what is neither a scheme's name nor a list of months for each season."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        raise FaultError(("", f"got {value!r}; expected one of {', '.join(SCHEMES)}, or the months of each season"))
    for name, months in value.items():
        if not isinstance(name, str) or not WORD.fullmatch(name):
            raise FaultError(
                ("", f"{name!r} is not a valid season name; expected letters, digits and _, a letter first")
            )
        # By type: to isinstance `true` is a number, and would be January.
        if not isinstance(months, (list, tuple)) or not all(type(month) is int for month in months):
            raise FaultError(
                (name, f"got {months!r}; expected a list of the season's months, 1 to 12, such as [6, 7, 8]")
            )
    return value


def as_factors(value: Any) -> Any:
    """Refuse what is neither yes or no nor a list of names."""
    if isinstance(value, bool):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise FaultError(("", f"got {value!r}; expected true, false or a list of features and groups"))


class Section(BaseModel):
    """A part of the configuration: frozen, and keys that it does not know are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _numbers(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        return numbers.checked(value, cls.model_fields[name].annotation, name)


class QualitySection(Section):
    """Which pixels of a quality band are accepted."""

    asset: str
    bits: tuple[int, int]
    accept: tuple[int, ...]
    layer: Text | None = None

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
    transform: tuple[float, float, float, float, float, float]
    shape: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None

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
    decay: float = Field(default=0.5, gt=0, le=1)


class SourceSection(Section):
    """One input."""

    catalog: str
    collection: str
    asset: str
    profile: str | None = None
    role: Role = "predictor"
    kind: Kind = "continuous"
    scale: numbers.Factor = None
    offset: float | None = None
    nodata: Annotated[
        tuple[float, ...] | None, BeforeValidator(_as_tuple, json_schema_input_type=float | tuple[float, ...] | None)
    ] = None
    valid_range: tuple[float, float] | None = None
    quality: AnyRules | None = None
    composite: float | None = Field(default=None, gt=0)
    aggregate: Aggregate = "mean"
    resampling: ResamplingName = "auto"
    derive: tuple[Literal["slope", "aspect", "aspect_angle", "twi"], ...] = ()
    lags: tuple[Annotated[int, Field(ge=1, le=FARTHEST)], ...] = ()
    antecedent: AntecedentSection | None = None
    night: Name | None = None
    """The source of the night, from which that of the day differs by its range."""
    tvdi: Name | None = None
    """The vegetation index against which a land surface temperature tells how dry it is."""
    group: Name | None = None
    static: bool | None = None
    classes: tuple[int, ...] | None = None
    class_names: dict[int, Text] = {}
    unit: str | None = None
    band: int = Field(default=1, ge=1)
    layer: Text | None = None
    place: AnyPlaces | None = None
    query: dict[str, Any] = {}
    platform: Annotated[
        tuple[str, ...], BeforeValidator(_as_names, json_schema_input_type=str | tuple[str, ...] | None)
    ] = ()
    min_coverage: float | None = Field(default=None, ge=0, le=1)
    overviews: bool | None = None

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
        made: dict[str, Derivation] = {}
        if self.antecedent is not None:
            made["api"] = Derivation("antecedent", (name,), self.antecedent.months, self.antecedent.decay)
        if self.night is not None:
            made["range"] = Derivation("range", (name, self.night))
        if self.tvdi is not None:
            made["tvdi"] = Derivation("tvdi", (name, self.tvdi))
        for end, how in made.items():
            yield Source(f"{name}_{end}", catalog="", collection="", asset="", group=group, derivation=how)


class HarmonisedSection(Section):
    """A target that several sensors observe, one after another or together, brought to one level."""

    role: Literal["target"]
    parts: Annotated[tuple[Name, ...], Field(min_length=FEWEST)]
    """Sources with ``role: part``."""
    harmonise: Matching = "linear"
    reference: Name | None = None
    """The part to whose level the others are brought; None: the last."""
    through: Name | None = None
    """A source that covers all parts, through which those are related that share no months."""

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
        there = ", ".join(profiles()[profile].get("catalogs", {})) or "none"
        raise FaultError(
            (
                f"sources.{name}.catalog",
                f"the preset {preset} has no {profile}; presets that have it: {there}; or write the collection",
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
