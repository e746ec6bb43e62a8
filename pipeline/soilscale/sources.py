"""What a source of data is, and the product profiles: scale, fill codes, valid range, quality bits and period."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

Role = Literal["predictor", "target"]
Kind = Literal["continuous", "categorical"]
Aggregate = Literal["mean", "sum"]
ResamplingName = Literal["auto", "average", "bilinear", "nearest"]
Sign = Literal["planetary-computer", "earthdata", "none"]


@dataclass(frozen=True)
class Catalog:
    """Where items are found."""

    name: str
    url: str
    """A STAC API, a static catalog (http, s3 or file) or an ItemCollection."""
    sign: Sign = "none"


@dataclass(frozen=True)
class QualityRule:
    """Which pixels a quality band accepts."""

    asset: str
    bits: tuple[int, int]
    """First and last bit, counted from the least significant."""
    accept: tuple[int, ...]
    """Values that those bits may hold."""


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
    """Physical value = stored value x scale + offset; None: as the item, or else the file, says."""
    offset: float | None = None
    nodata: tuple[float, ...] | None = None
    valid_range: tuple[float, float] | None = None
    """Least and greatest stored value, before scale and offset."""
    quality: QualityRule | None = None
    composite: float | None = None
    """Days a composite covers, where an item has no interval of its own."""
    aggregate: Aggregate = "mean"
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
    band: int = 1
    query: Mapping[str, Any] = field(default_factory=dict)

    @property
    def assets(self) -> tuple[str, ...]:
        """Names of the assets that are read."""
        return (self.asset, self.quality.asset) if self.quality else (self.asset,)


@cache
def profiles() -> Mapping[str, Mapping[str, Any]]:
    """Product profiles by name; each holds keys of a source, and ``about``: what the product is and who says so."""
    text = files("soilscale").joinpath("sources.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
