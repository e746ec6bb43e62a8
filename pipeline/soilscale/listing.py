"""Profiles and presets as readable lists: what each product needs, and the page of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from soilscale.config import SourceSection
from soilscale.errors import ConfigurationError, nearest
from soilscale.sources import FACTS, Source, decoding_keys, presets, profiles

COLUMNS = ("profile", "quantity", "months", "catalogs", "account", "files")
"""Columns of `rows`."""

VALUES = (
    "profile",
    "asset",
    "kind",
    "scale",
    "nodata",
    "valid range",
    "quality: bits, accepted",
    "composite",
    "aggregate",
    "unit",
)
"""Columns of the page's table of values."""

FREE = "none"
"""What a catalog needs that needs no account."""


def rows() -> list[tuple[str, ...]]:
    """One row for each profile, in the columns `COLUMNS`: what it is, when, where, and what that needs."""
    return [
        (
            name,
            str(profile["quantity"]).replace("_", " "),
            months(profile),
            ", ".join(profile.get("catalogs", ())) or "your own",
            ", ".join(dict.fromkeys(map(needs, profile.get("catalogs", ())))),
            "by name" if "names" in profile else "",
        )
        for name, profile in profiles().items()
    ]


def months(profile: Mapping[str, Any]) -> str:
    """First and last month of a product; nothing for one that holds for all time."""
    period = profile.get("period", ())
    return f"{period[0]} to {period[1] if len(period) > 1 else 'now'}" if period else ""


def needs(preset: str) -> str:
    """Account that a catalog needs, in a word or two."""
    account = str(presets()[preset]["account"])
    return FREE if not account else account.partition(",")[0].removeprefix("an ")


def details(name: str) -> list[str]:
    """Lines on one profile: every key, and what each of its catalogs needs.

    Raises
    ------
    ConfigurationError
        If there is no such profile, with the nearest one.
    """
    if name not in profiles():
        raise ConfigurationError(f"there is no profile {name!r}{nearest(name, profiles())}")
    profile = profiles()[name]
    lines = [f"{name}: {profile['about']}"]
    lines += [
        f"  {key}: {value}" for key, value in profile.items() if key not in ("about", "like", "catalogs", "notes")
    ]
    for preset, keys in profile.get("catalogs", {}).items():
        account = presets()[preset]["account"] or FREE
        listed = ", ".join(f"{key}: {value}" for key, value in keys.items())
        lines += [f"  in the preset {preset}: {listed}", f"    account: {account}"]
    return [*lines, f"  notes: {profiles()[profile.get('like', name)]['notes']}"]


def page() -> str:
    """The page of the documentation, in Markdown: its text is `profiles.md` beside this module."""
    parts = {
        "products": _table(COLUMNS, [(f"`{name}`", *cells) for name, *cells in rows()]),
        "values": _table(VALUES, map(_values, profiles())),
        "places": _table(("profile", "layer", "preset: keys", "license"), map(_places, profiles())),
        "notes": map(_notes, (name for name, profile in profiles().items() if "notes" in profile)),
    }
    text = files("soilscale").joinpath("profiles.md").read_text(encoding="utf-8")
    for name, lines in parts.items():
        text = text.replace(f"{{{name}}}", "\n".join(lines))
    return text


def _table(columns: Sequence[str], cells: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    for row in cells:
        yield "| " + " | ".join(row) + " |"


def _source(name: str) -> Source:
    return SourceSection.model_validate({"catalog": "", "collection": "", "profile": name}).source(name)


def _values(name: str) -> tuple[str, ...]:
    source, keys = _source(name), decoding_keys(name)
    return (
        f"`{name}`",
        f"`{source.asset}`",
        source.kind,
        "" if source.scale is None else str(source.scale),
        ", ".join(map(str, keys.get("nodata", ()))),
        " to ".join(map(str, keys.get("valid_range", ()))),
        "; ".join(f"`{rule.asset}`: {list(rule.bits)}, {list(rule.accept)}" for rule in source.quality),
        "" if source.composite is None else f"{source.composite:g}",
        source.aggregate,
        str(source.unit),
    )


def _places(name: str) -> tuple[str, ...]:
    profile = profiles()[name]
    entries = (
        f"{preset}: " + ", ".join(f"{key} `{value}`" for key, value in keys.items())
        for preset, entry in profile.get("catalogs", {}).items()
        for keys in [{key: value for key, value in entry.items() if key not in FACTS}]
    )
    return f"`{name}`", f"`{profile['layer']}`" if "layer" in profile else "", "; ".join(entries), profile["license"]


def _notes(name: str) -> str:
    """What is to be known of a profile and those like it, with their references."""
    alike = [name, *(relative for relative, profile in profiles().items() if profile.get("like") == name)]
    references = dict.fromkeys(
        str(profiles()[profile_name]["reference"]).partition("; https")[0] for profile_name in alike
    )
    return f"- **{', '.join(alike)}** ({'; '.join(references)}): {profiles()[name]['notes']}"
