"""The text of a proposed configuration: YAML with comments on the choices, and the accounts it needs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from soilscale.config import SOUTHERN
from soilscale.proposal.choices import Choice, Request, Target
from soilscale.sources import facts, presets, profiles

CATALOGS: Mapping[str, str] = {
    "jaxa-earth": "jaxa",
    "planetary-computer": "pc",
    "nasa-lpcloud": "lpcloud",
    "nasa-gesdisc": "gesdisc",
    "nasa-nsidc": "nsidc",
}
"""Preset -> what its catalog is called in the configuration; others as the preset."""

SCHEMA = "soilscale.schema.json"
"""JSON Schema beside the configuration: editors reach it offline, and it is of the version that is installed."""


def write(
    name: str, output: str, area: str, request: Request, target: Target, predictors: Sequence[Choice], command: str
) -> str:
    """Text of a configuration.

    Parameters
    ----------
    name, output
        Its name, and where the products go.
    area
        The line below ``area:``.
    command
        How it was made, for its head.
    """
    return "\n".join(
        [
            f"# yaml-language-server: $schema={SCHEMA}",
            f"# Made by {command}.",
            "# `soilscale check` contacts its catalogs and opens files of every source; `soilscale run` makes maps.",
            *_accounts_comment(target, predictors),
            f"name: {name}",
            f"output: {_scalar(output)}",
            "",
            "area:",
            f"  {area}",
            "",
            *_grid(target),
            "",
            f"period: [{', '.join(request.period)}]       # first and last month",
            *_seasons(request),
            "",
            "catalogs:",
            *_catalogs((*target.parts, *predictors)),
            "",
            "sources:",
            *_target(target),
            *(line for choice in predictors for line in _source(choice, {"role": "predictor"})),
            "",
            "maps:",
            "  every: [month, season]",
            "",
            "# Stations to validate the maps: a table of station, longitude, latitude, time and value, or files of the",
            "# International Soil Moisture Network.",
            "# validation: {stations: stations.csv}",
            "",
        ]
    )


def accounts(choices: Sequence[Choice]) -> list[str]:
    """What has to be had before a run: accounts of catalogs, and files to download; a line each."""
    lines = [
        f"{preset}: {presets()[preset]['account']}"
        for preset in dict.fromkeys(choice.preset for choice in choices if choice.preset)
        if presets()[preset]["account"]
    ]
    lines += [
        f"{choice.profile}: no catalog offers it; download its files to {folder(choice)} "
        f"({profiles()[choice.profile]['reference']})"
        for choice in choices
        if choice.preset is None
    ]
    return lines


def folder(choice: Choice) -> str:
    """Where the files of a product lie that no catalog has, beside the configuration."""
    return f"data/{choice.profile}"


def _accounts_comment(target: Target, predictors: Sequence[Choice]) -> Iterator[str]:
    lines = accounts((*target.parts, *predictors))
    yield "#"
    yield "# Before the run you need:" if lines else "# No account is needed."
    yield from (f"#   {line}" for line in lines)
    yield ""


def _grid(target: Target) -> Iterator[str]:
    grid = target.grid
    geographic = grid["coarse"] < 1
    unit = "degrees" if geographic else "m"
    fine = grid["coarse"] / grid["ratio"]
    yield "grid:                                # coarse cells are the pixels of the observation"
    yield f"  crs: {grid['crs']}"
    yield f"  coarse: {grid['coarse']:.12g}                        # {unit}"
    yield f"  ratio: {grid['ratio']}                          # fine cells of {fine:.6g} {unit}"
    yield f"  origin: [{', '.join(f'{value:.12g}' for value in grid['origin'])}]"


def _seasons(request: Request) -> Iterator[str]:
    # South of the equator, summer begins in December.
    if request.box[1] + request.box[3] < 0:
        months = ", ".join(f"{season}: {list(numbers)}" for season, numbers in SOUTHERN.items())
        yield f"seasons: {{{months}}}"
    else:
        yield "seasons: meteorological              # winter is December to February; or your own mapping"


def _catalogs(choices: Sequence[Choice]) -> Iterator[str]:
    # Several sources share a catalog, which is written once.
    for choice in {_catalog(choice): choice for choice in choices}.values():
        if choice.preset is None:
            yield f"  {_catalog(choice)}: {{files: {_scalar(folder(choice) + '/**/*')}}}"
        else:
            yield f"  {_catalog(choice)}: {{preset: {choice.preset}}}"


def _catalog(choice: Choice) -> str:
    return CATALOGS.get(choice.preset, choice.preset) if choice.preset else f"files_{choice.name}"


def _target(target: Target) -> Iterator[str]:
    if len(target.parts) == 1:
        yield from _source(target.parts[0], {"role": "target"})
        return
    names = ", ".join(part.name for part in target.parts)
    yield f"  # Successive sensors, matched to the level of {target.parts[-1].name}."
    yield f"  soil_moisture: {{role: target, parts: [{names}]}}"
    for part in target.parts:
        yield from _source(part, {"role": "part"})


def _source(choice: Choice, extra: Mapping[str, Any]) -> Iterator[str]:
    about = facts(choice.profile, choice.preset)
    yield f"  # {profiles()[choice.profile]['about']}"
    if choice.covers < 1:
        yield f"  # It covers {choice.covers:.0%} of the months ({' to '.join([*about['period'], 'now'][:2])})."
    if choice.others:
        alternatives = ", ".join(dict.fromkeys(f"{profile} of {preset}" for profile, preset in choice.others))
        yield f"  # Or: {alternatives}."
    keys: dict[str, Any] = {key: value for key, value in extra.items() if value != "predictor"}
    keys |= {"profile": choice.profile, "catalog": _catalog(choice), **choice.keys}
    if about["quantity"] == "elevation":
        keys["derive"] = ["slope", "aspect"]
    if about["quantity"] == "texture":
        keys["group"] = "texture"
    written = ", ".join(f"{key}: {_scalar(value)}" for key, value in keys.items())
    yield f"  {choice.name}: {{{written}}}"


def _scalar(value: Any) -> str:
    """Value as YAML within braces; JSON is YAML too."""
    if isinstance(value, list):
        return f"[{', '.join(map(_scalar, value))}]"
    text = str(value)
    return (
        text if text.replace("_", "").replace("-", "").replace("/", "").replace(".", "").isalnum() else json.dumps(text)
    )
