"""Errors of a configuration in plain words: the key, its value, and the expected value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from soilscale import storage
from soilscale.config.base import FaultError
from soilscale.config.inputs import (
    GRID,
    GRIDS,
    PARTS,
    RULE,
    RULES,
    SOURCE,
    HarmonisedSection,
    SourceSection,
)
from soilscale.config.period import FIXED, RELATIVE
from soilscale.config.sections import Config
from soilscale.errors import nearest
from soilscale.seasons import SCHEMES

SOURCES: Mapping[str, type[BaseModel]] = {SOURCE: SourceSection, PARTS: HarmonisedSection}
"""What pydantic puts into the place of an error to say which section stands there -> the section."""

FORMS = {*SOURCES, FIXED, RELATIVE, RULE, RULES, GRID, GRIDS}
"""What pydantic puts into the place of an error to say which of two forms stands there."""

KEY = "[key]"
"""What pydantic adds to the place of an error in the name of a key itself."""

PASSWORD = re.compile(r"//[^/@\s]*@")
"""Credentials in a URL, which no message repeats."""

LONGEST = 80
"""Characters of a value that a message repeats."""

WORD = "letters, digits and _, a letter first"

EXPECTED: Mapping[str, str] = {
    "name": "a name of letters, digits, '.', '_' and '-', such as moselle",
    "output": storage.HOMES,
    "area": "bbox: [west, south, east, north] or geometry: FILE.geojson",
    "area.bbox": "four numbers in degrees, [west, south, east, north]",
    "area.geometry": "a GeoJSON file",
    "grid": "the keys crs, coarse and ratio",
    "grid.crs": "a reference system, such as EPSG:3035",
    "grid.coarse": "the side of a coarse cell in units of the CRS, such as 24000",
    "grid.ratio": "the number of fine cells along the side of a coarse one, 2 to 1000",
    "grid.origin": "two numbers, [x, y] of a corner of the coarse grid",
    "period": "the first and the last month, such as [1990-01, 1993-12], or last-3-months, or since-last-release",
    "period.*": "a month, YYYY-MM",
    "training": "the first and the last month, such as [1990-01, 1993-12]",
    "training.*": "a month, YYYY-MM",
    "seasons": f"one of {', '.join(SCHEMES)}, or the months of each season",
    "catalogs": "a url, preset or files below the name of each catalog, such as {pc: {preset: planetary-computer}}",
    "catalogs.*": "one of the keys url, preset and files, such as {url: catalog.json}",
    "catalogs.*.files": "a folder or a pattern, such as data/**/*.h5",
    "catalogs.*.preset": "the name of a preset, such as planetary-computer",
    "catalogs.*.url": "a STAC API, a static catalog or an ItemCollection: a URL or a path",
    "sources": "catalog, collection and asset below the name of each source",
    "sources.*": "the keys catalog, collection and asset",
    "sources.*.catalog": "the name of one of the catalogs",
    "sources.*.collection": "the id of a collection in the catalog",
    "sources.*.asset": "the key of an asset in the items",
    "sources.*.derive": "a list of slope, aspect, aspect_angle and twi, such as [slope, aspect]",
    "sources.*.antecedent": "months and decay of an antecedent precipitation index: {months: 3, decay: 0.5}",
    "sources.*.night": "the name of the source of the night's temperature",
    "sources.*.tvdi": "the name of the source of a vegetation index",
    "sources.*.valid_range": "two numbers, [minimum, maximum] as stored",
    "sources.*.quality.bits": "two whole numbers, [first, last]",
    "sources.*.quality.*.bits": "two whole numbers, [first, last]",
    "sources.*.quality.accept": "a list of the values that the bits may hold, such as [0, 1]",
    "sources.*.quality.*.accept": "a list of the values that the bits may hold, such as [0, 1]",
    "sources.*.quality.asset": "the key of the asset that holds the quality bits",
    "sources.*.quality.*.asset": "the key of the asset that holds the quality bits",
    "sources.*.quality": "the keys asset, bits and accept of a rule, or a list of rules",
    "sources.*.quality.*": "the keys asset, bits and accept of a rule",
    "sources.*.place.crs": "a reference system, such as EPSG:6933",
    "sources.*.place.*.crs": "a reference system, such as EPSG:6933",
    "sources.*.place.transform": "six numbers, [width, 0, left, 0, height, top]",
    "sources.*.place.*.transform": "six numbers, [width, 0, left, 0, height, top]",
    "sources.*.place.shape": "two whole numbers, [rows, columns]",
    "sources.*.place.*.shape": "two whole numbers, [rows, columns]",
    "sources.*.place": "the keys crs and transform, or a list of these with their shape",
    "sources.*.place.*": "the keys crs, transform and shape",
    "sources.*.lags": "a list of months back, such as [1, 2]",
    "models.algorithms": "a list of one name or more, such as [random_forest]",
    "models.ablation": "true, false or a list of features and groups",
    "maps.every": "a list of month, season or both, such as [month, season]",
    "maps.valid_range": "two numbers in m3 m-3, [minimum, maximum], such as [0, 0.6]",
    "maps.interval": "a share between 0 and 1, such as 0.9",
    "samples.min_valid_fraction": "a share from 0 to 1, such as 0.5",
    "validation.min_valid_fraction": "a share from 0 to 1, such as 0.5",
    "validation.stations": "one file, folder or ZIP archive: a path or URL",
    "validation.depth": "two numbers in m, [upper, lower], such as [0, 0.1]",
    "validation.flags": "a list of flags, such as [G, U]",
}
"""Key, * standing for any name or number -> what is expected of its value."""

KINDS: Mapping[str, str] = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "tuple": "a list in brackets",
    "list": "a list in brackets",
    "dict": "keys and their values below it",
}
"""First word of pydantic's name of an error -> what is expected."""

LIMITS: Mapping[str, tuple[str, str]] = {
    "greater_than": ("a number above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("a number below", "lt"),
    "less_than_equal": ("at most", "le"),
}
"""Pydantic's name of an error -> the limit in words, and its name there."""


def explain(error: ValidationError) -> Iterator[str]:
    """A line for each fault, in the order of the keys.

    Parameters
    ----------
    error
        Of `Config`.
    """
    details = error.errors()
    within = {fault["loc"][:-1] for fault in details}
    # A list that is too short since its only entries are wrong would be told of twice: the entries' own faults say it.
    emptied = [fault["type"] == "too_short" and fault["loc"] in within for fault in details]
    lines = [line for fault, empty in zip(details, emptied, strict=True) if not empty for line in _lines(fault)]
    yield from dict.fromkeys(PASSWORD.sub("//...@", line) for line in lines)


def _lines(fault: ErrorDetails) -> Iterator[str]:
    place = [part for part in fault["loc"] if part not in FORMS]
    cause = fault.get("ctx", {}).get("error")
    if isinstance(cause, FaultError):
        for key, message in cause.faults:
            yield f"{_joined([*place, *([key] if key else [])])}: {message}"
    elif place and place[-1] == KEY:
        key_form = "a code; expected a whole number" if fault["type"].startswith("int") else f"a name; expected {WORD}"
        yield f"{_joined(place[:-2])}: the key {_shown(place[-2])} is not {key_form}"
    elif fault["type"] == "extra_forbidden":
        yield f"{_joined(place)}: unknown key{nearest(str(place[-1]), _keys(fault['loc'][:-1]))}"
    elif fault["type"] == "missing" and isinstance(place[-1], int):
        yield _unlike(place[:-1], fault["input"], fault)
    elif fault["type"] == "missing":
        yield f"{_joined(place)}: this key is missing; expected {_expected(place, fault)}"
    elif fault["type"] == "value_error":
        yield f"{_joined(place)}: {cause}"
    else:
        yield _unlike(place, fault["input"], fault)


def _unlike(place: Sequence[str | int], value: Any, fault: ErrorDetails) -> str:
    """What was got and what was expected."""
    choices = re.findall(r"'([^']*)'", str(fault.get("ctx", {}).get("expected", "")))
    if choices and isinstance(value, str):
        return f"{_joined(place)}: got {_shown(value)}{_choice(value, choices)}"
    return f"{_joined(place)}: got {_shown(value)}; expected {_expected(place, fault)}"


def _choice(value: str, choices: Sequence[str]) -> str:
    close = nearest(value, choices)
    listed = "; expected " + " or ".join([", ".join(choices[:-1]), choices[-1]] if len(choices) > 1 else choices)
    return listed + (close if "did you mean" in close else "")


def _expected(place: Sequence[str | int], fault: ErrorDetails) -> str:
    """What should stand at a place: a limit that was passed, what is told of the key, or the kind of the value."""
    kind, context = fault["type"], fault.get("ctx", {})
    if kind in LIMITS:
        words, name = LIMITS[kind]
        return f"{words} {context[name]:g}"
    expectation = next((EXPECTED[key] for key in EXPECTED if _fits(place, key)), None)
    if expectation is not None:
        return expectation
    if kind == "too_short":
        return f"at least {context['min_length']} of them"
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "")
    if kind in {"model_type", "model_attributes_type", "missing"}:
        keys = _keys(fault["loc"])
        return f"keys below it, of {', '.join(keys)}" if kind != "missing" else "a value"
    return KINDS.get(kind.split("_")[0], fault["msg"])


def _fits(place: Sequence[str | int], key: str) -> bool:
    parts = key.split(".")
    return len(parts) == len(place) and all(
        pattern in {"*", str(part)} for pattern, part in zip(parts, place, strict=True)
    )


def _joined(place: Sequence[str | int]) -> str:
    return ".".join(map(str, place)) or "the configuration"


def _shown(value: Any) -> str:
    """Value as a person wrote it, shortened."""
    if value is None:
        return "nothing"
    # As YAML spells it, not Python.
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value) if isinstance(value, date) else repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _keys(place: Sequence[str | int]) -> list[str]:
    """Known keys of the section at a place."""
    section: type[BaseModel] = Config
    for key in place:
        if key in SOURCES:
            section = SOURCES[str(key)]
            continue
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
