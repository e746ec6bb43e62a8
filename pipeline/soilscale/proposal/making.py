"""What `soilscale init` does: the area by any of its names, the choices, the file, and the remaining steps."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import shapely
from shapely.geometry.base import BaseGeometry

from soilscale import config
from soilscale.errors import ConfigurationError, nearest
from soilscale.extents import Box
from soilscale.proposal import choices, places, text
from soilscale.sources import presets

MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


@dataclass(frozen=True)
class Wishes:
    """What a person says of the configuration, by flags or answers; None and nothing where he does not."""

    bbox: Box | None = None
    geometry: Path | None = None
    place: str | None = None
    period: tuple[str, str] | None = None
    targets: tuple[str, ...] = ()
    presets: tuple[str, ...] = ()
    output: str | None = None


@dataclass(frozen=True)
class Area:
    """Where: how the configuration says it, its box, and an outline that has to be written beside it."""

    line: str
    box: Box
    outline: tuple[Path, str] | None = None


def make(path: Path, wishes: Wishes, today: date) -> list[str]:
    """Write a configuration, and read it again as a run does.

    Parameters
    ----------
    path
        The file; nothing that stands is overwritten.
    wishes
        What it is to be for.
    today
        From which a period that is not named counts back.

    Returns
    -------
    list of str
        What was chosen, what is needed before a run, and the command that comes next.

    Raises
    ------
    ConfigurationError
        If a wish cannot be met, or the file stands already.
    """
    area = _area(path, wishes)
    # Before anything is fetched or written, so that nothing is left half done.
    for file in (path, *([area.outline[0]] if area.outline else [])):
        if file.exists():
            raise ConfigurationError(f"{file} exists already, and is not overwritten; name another FILE or remove it")
    for name in wishes.presets:
        if name not in presets():
            raise ConfigurationError(f"--preset: there is no preset {name!r}{nearest(name, presets())}")
    period = _period(wishes, today)
    request = choices.Request(area.box, period, wishes.presets)
    target, predictors = choices.target(request, wishes.targets), choices.predictors(request)
    output = wishes.output or f"runs/{_name(path)}"
    body = text.write(_name(path), output, area.line, request, target, predictors, f"soilscale init {path.name}")
    _put(path, body, area)
    # Read again as a run does: what is written must not fail at the first command.
    settings = config.load(str(path))
    shape = settings.nested_grid.coarse.shape
    summary = (
        f"{path}: {period[0]} to {period[1]}, {shape[0]} x {shape[1]} coarse cells of {settings.grid.coarse:g} "
        f"({settings.grid.crs}), {settings.grid.ratio} x {settings.grid.ratio} fine cells in each"
    )
    return [
        summary,
        *(f"  {choice.name}: {choice.profile} of {choice.preset or 'your own files'}" for choice in target.parts),
        *(f"  {choice.name}: {choice.profile} of {choice.preset}" for choice in predictors),
        *(f"before the run: {line}" for line in text.accounts((*target.parts, *predictors))),
        f"{path.with_name(text.SCHEMA)}: by it editors complete and check the keys",
        f"next: soilscale check {path}",
    ]


def _put(path: Path, body: str, area: Area) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if area.outline is not None:
            area.outline[0].write_text(area.outline[1], encoding="utf-8")
        # One of an earlier version is replaced: it is made, not written by a person.
        schema = json.dumps(config.json_schema(), indent=1, ensure_ascii=False)
        path.with_name(text.SCHEMA).write_text(f"{schema}\n", encoding="utf-8")
        path.write_text(body, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written ({error}); choose a writable folder") from error


def _area(path: Path, wishes: Wishes) -> Area:
    ways = [way for way in (wishes.bbox, wishes.geometry, wishes.place) if way is not None]
    if len(ways) != 1:
        raise ConfigurationError(
            "give the area in exactly one way: --place NAME (a country or province), --bbox WEST SOUTH EAST NORTH in "
            "degrees, or --geometry FILE (GeoJSON)"
        )
    if wishes.bbox is not None:
        return Area(
            f"bbox: [{', '.join(f'{value:.10g}' for value in wishes.bbox)}]   # west, south, east, north", wishes.bbox
        )
    if wishes.place is not None:
        label, shape = places.outline(wishes.place)
        beside = path.with_suffix(".geojson")
        return Area(
            f"geometry: {json.dumps(beside.name)}   # {label}, outline of Natural Earth",
            _box(shape),
            (beside, _geojson(label, shape)),
        )
    file = Path(os.path.abspath(str(wishes.geometry)))  # noqa: PTH100 - symbolic links stay
    shape = config.polygon(str(file))
    # Relative to the configuration, so that both can be moved together.
    relative = os.path.relpath(file, os.path.abspath(path.parent))  # noqa: PTH100 - likewise
    return Area(f"geometry: {json.dumps(relative)}", _box(shape))


def _box(shape: BaseGeometry) -> Box:
    west, south, east, north = shape.bounds
    return west, south, east, north


def _geojson(label: str, shape: BaseGeometry) -> str:
    geometry = json.loads(shapely.to_geojson(shape))
    feature = {"type": "Feature", "properties": {"name": label, "source": "Natural Earth"}, "geometry": geometry}
    return json.dumps({"type": "FeatureCollection", "features": [feature]}, ensure_ascii=False) + "\n"


def _period(wishes: Wishes, today: date) -> tuple[str, str]:
    if wishes.period is None:
        return choices.default_period(wishes.targets or choices.SENSORS[-1:], today)
    first, last = wishes.period
    for month in (first, last):
        if not MONTH.fullmatch(month):
            raise ConfigurationError(f"--period: got {month!r}; expected two months such as 2019-01 2021-12")
    if first > last:
        raise ConfigurationError(f"--period: {first} comes after {last}; expected the first and the last month")
    return first, last


def _name(path: Path) -> str:
    """Name of the product: that of the file, with what a name may hold."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._") or "region"


def ask(wishes: Wishes, prompt: Callable[[str, str], str], today: date) -> Wishes:
    """Ask for what was not said.

    Parameters
    ----------
    prompt
        Question and proposed answer -> answer.
    """
    if wishes.bbox is None and wishes.geometry is None and wishes.place is None:
        answer = prompt("Area: a country or province, a GeoJSON file, or west south east north in degrees", "")
        wishes = _with_area(wishes, answer)
    if not wishes.targets:
        answer = prompt(
            "Soil moisture: a profile, such as AMSR2_L3_SMC or ESA_CCI_SM; empty: a product that covers the period", ""
        )
        wishes = replace(wishes, targets=tuple(answer.replace(",", " ").split()))
    if wishes.period is None:
        proposed = choices.default_period(wishes.targets or choices.SENSORS[-1:], today)
        first, _, last = (
            prompt("Period: first and last month", " ".join(proposed)).replace(",", " ").strip().partition(" ")
        )
        wishes = replace(wishes, period=(first, last.strip()))
    return wishes


def _with_area(wishes: Wishes, answer: str) -> Wishes:
    try:
        west, south, east, north = map(float, answer.replace(",", " ").split())
    except ValueError:
        return replace(wishes, geometry=Path(answer)) if answer.endswith("json") else replace(wishes, place=answer)
    return replace(wishes, bbox=(west, south, east, north))
