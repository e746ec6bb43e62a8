"""Products for a configuration: those that cover area and period, from preferred or account-free catalogs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np

from soilscale.errors import ConfigurationError, nearest
from soilscale.extents import Box
from soilscale.sources import facts, presets, profiles, served

QUANTITIES: Mapping[str, str] = {
    "precipitation": "precipitation",
    "lst": "temperature",
    "ndvi": "vegetation",
    "et": "evapotranspiration",
    "land_cover": "land_cover",
    "elevation": "elevation",
}
"""Name of a predictor -> what it measures."""

TEXTURES = ("sand", "silt", "clay")
"""Predictors whose profiles end in their name."""

STEADY = ("land_cover", "elevation", "texture")
"""Quantities of which the nearest year, or the only one, holds."""

SENSORS = ("AMSR-E_L3_SMC", "AMSR2_L3_SMC")
"""Profiles of the two sensors that follow each other, which a target of both joins."""

YEARS = 3
"""Whole years of a period that is not named."""

HALF = 0.5
"""Share of a period's months below which a product is taken only if no other covers more."""

Span = tuple[str, str]


@dataclass(frozen=True)
class Request:
    """What a configuration is to be for."""

    box: Box
    """West, south, east, north in degrees."""
    period: Span
    presets: tuple[str, ...] = ()
    """Catalogs to be taken from before others, in this order; of the others those that need no account come first."""


@dataclass(frozen=True)
class Choice:
    """One source: a product, the catalog it is from, and what else is to be said."""

    name: str
    profile: str
    preset: str | None
    """None: it is in no catalog, and its files have to be downloaded."""
    covers: float
    """Share of the period's months."""
    keys: Mapping[str, Any] = field(default_factory=dict)
    others: tuple[tuple[str, str], ...] = ()
    """Further profiles of the same quantity, and their presets, that cover the period too."""


@dataclass(frozen=True)
class Target:
    """The observation: one product, or several sensors one after another, and the grid of its pixels."""

    parts: tuple[Choice, ...]

    @property
    def grid(self) -> dict[str, Any]:
        """Section `grid` whose coarse cells are the pixels of the observation, the fine ones about a kilometre."""
        last = self.parts[-1]
        pixel = facts(last.profile, last.preset)["pixel"]
        side, crs = float(pixel["size"]), str(pixel["crs"])
        goal = 0.01 if side < 1 else 1000.0  # a pixel below 1 is in degrees
        left, top = pixel.get("origin", (0.0, 0.0))
        # Of all corners of the same grid, the one nearest to 0, 0.
        corner = [round(value - side * round(value / side), 6) + 0.0 for value in (left, top)]
        return {"crs": crs, "coarse": side, "ratio": max(2, round(side / goal)), "origin": corner}


def default_period(names: Sequence[str], today: date) -> Span:
    """First and last month of the last whole years in which profiles of soil moisture run; errors as of `target`."""
    observations(names)
    # Not the year that runs, which is not whole yet.
    last = f"{today.year - 1}-12"
    ends = [facts(name).get("period", ("",))[1:] for name in names]
    end = min([last, *(end[0] for end in ends if end)])
    first = max([f"{int(end[:4]) - YEARS + 1}-01", *(facts(name).get("period", ("",))[0] for name in names[:1])])
    return first, end


def observations(names: Sequence[str]) -> list[str]:
    """Profiles of soil moisture; an error as of `target` for one that is wanted and none of them."""
    observed = [name for name in profiles() if facts(name)["quantity"] == "soil_moisture"]
    for name in names:
        if name not in observed:
            raise ConfigurationError(f"--target: {name!r} is not a soil moisture profile{nearest(name, observed)}")
    return observed


def target(request: Request, requested: Sequence[str] = ()) -> Target:
    """Choose the observation.

    Parameters
    ----------
    requested
        Profiles of soil moisture, the last one the reference; none: what covers the period, one sensor before two.

    Raises
    ------
    ConfigurationError
        If a profile is unknown or observes no soil moisture, or nothing covers any of the period.
    """
    observed = observations(requested)
    if requested:
        parts = tuple(_best(name, [name], request, files=True) for name in requested)
        chosen = [part for part in parts if part is not None]
        if missed := [name for name, part in zip(requested, parts, strict=True) if part is None]:
            raise ConfigurationError(f"--target {', '.join(missed)}: {_outside(missed, request)}")
        return Target(tuple(_after_sensor(part) for part in chosen) if len(chosen) > 1 else tuple(chosen))
    single = _best("soil_moisture", observed, request)
    sensor_parts = [part for name in SENSORS if (part := _best(name, [name], request)) is not None]
    # Two sensors one after another only where they see more months than any single product.
    if len(sensor_parts) > 1 and (single is None or single.covers < sum(part.covers for part in sensor_parts)):
        return Target(tuple(map(_after_sensor, sensor_parts)))
    if single is None:
        raise ConfigurationError(
            f"no catalog has soil moisture of {request.period[0]} to {request.period[1]}; choose another --period, or "
            "use --target with a product that you have as files, such as ESA_CCI_SM"
        )
    return Target((single,))


def predictors(request: Request) -> list[Choice]:
    """Choose a product for every predictor; what no catalog has for area and period is left out."""
    chosen = list(_predictors(request))
    return [choice for choice in chosen if choice is not None]


def _predictors(request: Request) -> Iterator[Choice | None]:
    for name, quantity in QUANTITIES.items():
        choice = _best(name, [profile for profile in profiles() if facts(profile)["quantity"] == quantity], request)
        yield choice
        if quantity == "vegetation" and choice is not None and (keys := enhanced(choice)):
            yield Choice("evi", choice.profile, choice.preset, choice.covers, keys)
    for name in TEXTURES:
        yield _best(name, [profile for profile in profiles() if profile.endswith(f"_{name}")], request)


def enhanced(choice: Choice) -> dict[str, str]:
    """Keys with which a source of NDVI becomes one of EVI; none if its product has no EVI."""
    entry = served(choice.profile, choice.preset) if choice.preset else None
    keys = {**profiles()[choice.profile], **(entry or {})}
    return {key: keys[key].replace("NDVI", "EVI") for key in ("asset", "layer") if "NDVI" in keys.get(key, "")}


def _after_sensor(part: Choice) -> Choice:
    """Part of a target under its sensor's name."""
    letters = part.profile.partition("_L3")[0].lower()
    name = "".join(letter if letter.isalnum() else "_" for letter in letters)
    return Choice(name, part.profile, part.preset, part.covers, part.keys, part.others)


def _best(name: str, profile_names: Sequence[str], request: Request, *, files: bool = False) -> Choice | None:
    """Product and catalog for a source; `files`: one that no catalog has may be of downloaded files."""
    candidates = []
    for order, profile in enumerate(profile_names):
        covers = coverage(profile, request)
        if covers == 0:
            continue
        for preset in profiles()[profile].get("catalogs", ()):
            rank = _rank(preset, request.presets)
            ended = len(facts(profile).get("period", ())) > 1
            # Whether an account is needed comes first, how much is covered only then.
            candidates.append(((rank[0], covers < HALF, rank, covers < 1, ended, order), profile, preset, covers))
    usable = sorted(candidates, key=lambda candidate: candidate[0])
    if not usable:
        only = profile_names[0] if files else None
        return (
            None
            if only is None or not coverage(only, request)
            else Choice(_plain(name), only, None, coverage(only, request))
        )
    _, profile, preset, covers = usable[0]
    alternatives = tuple((profile_name, place) for _, profile_name, place, share in usable[1:] if share >= covers)
    return Choice(_plain(name), profile, preset, covers, {}, alternatives)


def _plain(name: str) -> str:
    return "soil_moisture" if name in profiles() else name


def _rank(preset: str, preferred: Sequence[str]) -> tuple[bool, int]:
    """Order of catalogs: those preferred, those without account, the rest."""
    account = bool(presets()[preset]["account"])
    if preset in preferred:
        return False, preferred.index(preset)
    return account, len(preferred) + account


def coverage(profile: str, request: Request) -> float:
    """Share of the period's months that a product has over the area, 0..1."""
    about = facts(profile)
    _, south, _, north = about.get("extent", (-180, -90, 180, 90))
    # Partly covered is not covered.
    if request.box[1] < south or request.box[3] > north:
        return 0.0
    if about["quantity"] in STEADY:
        return 1.0
    first, last = (np.datetime64(month, "M") for month in request.period)
    begin, *ends = (np.datetime64(month, "M") for month in about["period"])
    shared = min([last, *ends]) - max(first, begin) + 1
    return max(0.0, float(shared / (last - first + 1)))


def _outside(names: Sequence[str], request: Request) -> str:
    listed = "; ".join(f"{name} has {' to '.join([*facts(name)['period'], 'now'][:2])}" for name in names)
    return f"nothing from {request.period[0]} to {request.period[1]} in this area; {listed}; choose another --period"
