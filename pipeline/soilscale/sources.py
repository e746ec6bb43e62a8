"""Sources of data and product profiles: scale, fill codes, valid range, quality bits and period."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

Role = Literal["predictor", "target", "part"]
"""A part is one of the sensors of a target, or the series through which they are related; no model sees it."""

Kind = Literal["continuous", "categorical"]
Aggregate = Literal["mean", "sum", "rate"]
ResamplingName = Literal["auto", "average", "bilinear", "nearest"]
Sign = Literal["planetary-computer", "earthdata", "none"]
Matching = Literal["cdf", "linear", "none"]

PROSE = ("about", "reference", "class_names", "notes", "like")
"""Keys of a profile that are for its reader: what the product is, who says how it decodes, and what is to be known of
it; ``like`` names the profile whose notes are of this one too."""

FACTS = ("quantity", "period", "extent", "pixel", "license", "citation", "catalogs", "names")
"""Keys of a profile that say where and when the product is, and how catalogs and files name it:

``quantity`` what it measures; ``period`` first and last month, the last left out while it goes on; ``extent`` west,
south, east, north in degrees, left out if global; ``pixel`` side of a pixel with its ``crs``; ``license``,
``citation``; ``catalogs`` preset -> the keys of a source that differ there; ``names`` regular expressions of which one
matches the name of each of its files.
"""


@dataclass(frozen=True)
class Catalog:
    """Where items are found."""

    name: str
    url: str = ""
    """A STAC API, a static catalog (http, s3 or file) or an ItemCollection; empty where files are the catalog."""
    sign: Sign = "none"
    preset: str | None = None
    """Entry of `presets` that it is."""
    files: str | None = None
    """Folder or glob pattern, local, s3 or http, of files that are the catalog."""


class Band(NamedTuple):
    """What is read: an asset, and of a file of several variables one of them."""

    asset: str
    layer: str | None = None
    """None: the one named as the asset."""


@dataclass(frozen=True)
class QualityRule:
    """Which pixels a quality band accepts."""

    asset: str
    bits: tuple[int, int]
    """First and last bit, counted from the least significant."""
    accept: tuple[int, ...]
    """Values that those bits may hold."""
    layer: str | None = None
    """Variable inside the asset's file that holds the band; None: the one named as the asset."""

    @property
    def band(self) -> Band:
        """What is read of it."""
        return Band(self.asset, self.layer)


@dataclass(frozen=True)
class PixelGrid:
    """Where the pixels of a product lie whose files do not say it."""

    crs: str
    transform: tuple[float, float, float, float, float, float]
    """From columns and rows, as they are stored, to coordinates: a, b, c, d, e, f of x = a column + b row + c and
    y = d column + e row + f."""
    shape: tuple[int, int] | None = None
    """Rows and columns of the files that it is of; None: of any."""


@dataclass(frozen=True)
class Harmonise:
    """How several sensors become one target."""

    parts: tuple[str, ...]
    """Names of the sensors' sources."""
    method: Matching
    reference: str
    """The part to whose level the others are brought."""
    through: str | None = None
    """Source that covers all parts, through which those are related that share no months."""
    valid_range: tuple[float, float] = (-math.inf, math.inf)
    """Physical range: what a sensor sees outside it is not used, and nothing is brought outside it."""

    @property
    def order(self) -> tuple[str, ...]:
        """Parts in the order in which they count where several see a cell: the reference, then from last to first."""
        return (self.reference, *(part for part in reversed(self.parts) if part != self.reference))

    @property
    def matching(self) -> Literal["cdf", "linear"]:
        """The method of one that has any."""
        if self.method == "none":
            raise ValueError("harmonise: none matches nothing")
        return self.method

    @property
    def needs(self) -> tuple[str, ...]:
        """Sources that the target is made from."""
        return (*self.parts, self.through) if self.through and self.method != "none" else self.parts


@dataclass(frozen=True)
class Derivation:
    """How a predictor is made from others, month by month, after their gaps are filled."""

    kind: Literal["antecedent", "range", "tvdi"]
    of: tuple[str, ...]
    """Names of the sources that it is made from."""
    months: int = 0
    """Months before the one that it is made for which it takes."""
    decay: float = 1.0
    """Weight of each month as a share of that of the month after it."""


@dataclass(frozen=True)
class Source:
    """One input: where its items are, how its pixels decode, and how they become months on the grid."""

    name: str
    catalog: str
    collection: str
    asset: str
    role: Role = "predictor"
    kind: Kind = "continuous"
    scale: float | None = None
    """Physical value = stored value x scale + offset; None: as the item, or else the file, states."""
    offset: float | None = None
    nodata: tuple[float, ...] | None = None
    """Stored values that are missing, beside those that the item or the file states."""
    valid_range: tuple[float, float] | None = None
    """Least and greatest stored value, before scale and offset."""
    quality: tuple[QualityRule, ...] = ()
    """Rules that a pixel must all meet."""
    composite: float | None = None
    """Days a composite covers, where an item has no interval of its own."""
    aggregate: Aggregate = "mean"
    """How composites become a month: as a mean, as totals of their days, or as mean daily rates to be summed."""
    resampling: ResamplingName = "auto"
    derive: tuple[str, ...] = ()
    lags: tuple[int, ...] = ()
    """Months by which the source is also shifted back to make further features."""
    group: str | None = None
    static: bool | None = None
    """Whether the source holds for every month; None: if its items say so."""
    classes: tuple[int, ...] | None = None
    """Codes of a categorical source; None: those that its items hold."""
    unit: str | None = None
    """Unit in the cube, and with a scale that of the scaled values; None: as it is used, else as items or files
    state."""
    band: int = 1
    layer: str | None = None
    """Variable inside the asset's file that holds the data; None: the one named as the asset, or the only one. Of no
    effect in files of one raster."""
    place: tuple[PixelGrid, ...] = ()
    """Where pixels lie, of files that do not say it; the one whose shape is the file's counts."""
    query: Mapping[str, Any] = field(default_factory=dict)
    profile: str | None = None
    """Product profile that the keys which the configuration leaves out are from."""
    platform: tuple[str, ...] = ()
    """Platforms whose items count; none: all."""
    min_coverage: float | None = None
    """Least share of a month's days that valid composites must cover; None: see `least_coverage`."""
    overviews: bool | None = None
    """Whether overviews that are averages are read in place of pixels; None: unless something is derived."""
    harmonise: Harmonise | None = None
    """Of a target that has no items of its own: what it is made from."""
    memory: int = 0
    """Months before each month that what is derived from it takes."""
    derivation: Derivation | None = None
    """Of a predictor that has no items of its own: what it is made from."""

    @property
    def on_coarse(self) -> bool:
        """Whether it is read on the coarse grid alone: a target, or one of its sensors."""
        return self.role != "predictor"

    @property
    def composed(self) -> bool:
        """Whether it has no items of its own, but is made from other sources."""
        return self.harmonise is not None or self.derivation is not None

    @property
    def steps(self) -> tuple[int, ...]:
        """Months back from a month, 0 among them, in which its items count for that month."""
        return tuple(sorted({0, *self.lags, *range(1, self.memory + 1)}))

    @property
    def back(self) -> int:
        """Months before the first of a period that it is read for."""
        return self.steps[-1]

    @property
    def origins(self) -> tuple[str, ...]:
        """Names of the sources whose items show it: those that it is made from, or itself."""
        if self.derivation is not None:
            return self.derivation.of
        return (self.name,) if self.harmonise is None else self.harmonise.parts

    @property
    def assets(self) -> tuple[str, ...]:
        """Names of the assets that are read, the data before the quality bands."""
        return tuple(dict.fromkeys(band.asset for band in self.bands))

    @property
    def data(self) -> Band:
        """The band that holds the values."""
        return Band(self.asset, self.layer)

    @property
    def bands(self) -> tuple[Band, ...]:
        """What is read, the data before the quality bands."""
        return tuple(dict.fromkeys((self.data, *(rule.band for rule in self.quality))))

    @property
    def reducible(self) -> bool:
        """Whether it may be read from overviews: where flags mask pixels, those would mix what is masked with the rest.

        Gradients are those of the source's own pixels: from overviews of four a cell the slope is 3 % off.
        """
        usual = not self.derive if self.overviews is None else self.overviews
        averaged = self.kind == "continuous" and self.resampling in ("auto", "average")
        return usual and averaged and not self.quality and not self.on_coarse

    def states(self, key: str) -> str:
        """Who states a key of the source, as messages name it: the configuration, or the profile that it names."""
        profile = profiles().get(self.profile or "", {})
        if key in profile and profile[key] == getattr(self, key):
            return f"profile {self.profile}"
        return "configuration"

    @property
    def least_coverage(self) -> float:
        """Least share of a month's days that a month rests on: half of them for totals, unless the source says."""
        if self.min_coverage is not None:
            return self.min_coverage
        return 0.0 if self.aggregate == "mean" else 0.5


@cache
def profiles() -> Mapping[str, Mapping[str, Any]]:
    """Product profiles by name; each holds keys of a source, and those of `PROSE` and `FACTS`."""
    return _entries("sources.toml")


@cache
def presets() -> Mapping[str, Mapping[str, Any]]:
    """Presets of catalogs by name: ``about``, ``url``, ``sign``, ``account``, ``license``, ``citation``, ``traps``."""
    return _entries("catalogs.toml")


def decoding_keys(profile: str) -> dict[str, Any]:
    """Those keys of a profile that are keys of a source."""
    return {key: value for key, value in profiles()[profile].items() if key not in (*PROSE, *FACTS)}


def served(profile: str, preset: str) -> Mapping[str, Any] | None:
    """Keys of a source that a catalog's preset adds to a profile, its collection among them; None if it has none."""
    entry: Mapping[str, Any] | None = profiles()[profile].get("catalogs", {}).get(preset)
    return None if entry is None else {key: value for key, value in entry.items() if key not in FACTS}


def facts(profile: str, preset: str | None = None) -> Mapping[str, Any]:
    """Those keys of a profile that are of `FACTS`, as they are in a catalog: one may have it in other pixels."""
    entry = profiles()[profile].get("catalogs", {}).get(preset, {})
    return {key: value for key, value in (profiles()[profile] | entry).items() if key in FACTS}


def _entries(name: str) -> Mapping[str, Mapping[str, Any]]:
    return tomllib.loads(files("soilscale").joinpath(name).read_text(encoding="utf-8"))
