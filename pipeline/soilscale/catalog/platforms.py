"""The satellite of an item, whatever its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PLATFORMS: Mapping[str, str] = {
    "eosam1": "terra",
    "am1": "terra",
    "eospm1": "aqua",
    "pm1": "aqua",
    "npp": "suomi-npp",
    "snpp": "suomi-npp",
    "suominpp": "suomi-npp",
    "jpss1": "noaa-20",
    "jpss2": "noaa-21",
    "gcomw1": "gcomw",
}
"""Further names of platforms, letters and digits alone -> the name that is used here."""

PREFIXES: Mapping[str, str] = {
    "MOD": "terra",
    "MYD": "aqua",
    "VNP": "suomi-npp",
    "VJ1": "noaa-20",
    "VJ2": "noaa-21",
    **{f"S{number}{letter}": f"sentinel-{number}{letter.lower()}" for number in (1, 2, 3, 6) for letter in "ABCD"},
    **{f"L{sensor}0{number}": f"landsat-{number}" for sensor in "CEOT" for number in (4, 5, 7, 8, 9)},
}
"""First letters of a product's id -> platform, where an item names none."""

_PRODUCT = re.compile(
    r"(MOD|MYD|VNP|VJ[12])(?=[0-9][0-9A-Z]*(?:[._-]|$)|[._-])|(S[1236][A-D]|L[CEOT]0[45789])(?=[._-])"
)
"""Where the id of a product begins with its platform."""


def canonical(name: str) -> str:
    """Name of a platform as it is compared: ``Terra``, ``EOS-Terra`` and ``EOS AM-1`` are ``terra``."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    plain = plain if plain in PLATFORMS else plain.removeprefix("eos")
    return PLATFORMS.get(plain, _hyphenated(plain))


def _hyphenated(plain: str) -> str:
    """``sentinel2a`` as ``sentinel-2a``: a number is set off from the name before it."""
    return re.sub(r"^([a-z]{3,})(\d+[a-z]?)$", r"\1-\2", plain)


def platform(item: Mapping[str, Any]) -> str | None:
    """Platform of an item: as its properties state, else as its id begins; None if neither says.

    Several in one item, as in a product of Terra and Aqua combined, are joined by ``+`` in alphabetical order.
    """
    properties = item["properties"]
    # The constellation only after the platform: it may be of several.
    for key in ("platform", "constellation"):
        names = _names(properties.get(key))
        if names:
            return "+".join(sorted(set(names)))
    match = _PRODUCT.match(str(item["id"]).upper())
    return PREFIXES[match.group()] if match else None


def _names(value: Any) -> list[str]:
    names = (
        value
        if isinstance(value, (list, tuple))
        else re.split(r"[,;/+&]| and ", value)
        if isinstance(value, str)
        else []
    )
    return [canonical(name) for name in names if isinstance(name, str) and re.search(r"\w", name)]
