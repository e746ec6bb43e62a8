"""Outlines of countries and their provinces by name, from Natural Earth (public domain)."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files

import pyarrow.parquet as pq
import shapely
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from soilscale.errors import ConfigurationError
from soilscale.extents import TURN

AWAY = 10.0
"""Degrees from the largest part of a country beyond which an island or territory is left out."""

ELSE = "for any other area give --geometry FILE, a GeoJSON polygon, or --bbox WEST SOUTH EAST NORTH"

ALIASES: Mapping[str, str] = {
    "usa": "united states america",
    "us": "united states america",
    "united states": "united states america",
    "uk": "united kingdom",
    "great britain": "united kingdom",
    "tibet": "xizang",
    "inner mongolia": "inner mongol",
    "bavaria": "bayern",
    "north macedonia": "macedonia",
    "turkiye": "turkey",
    "burma": "myanmar",
    "czech republic": "czechia",
    "ivory coast": "cote d ivoire",
    "dr congo": "democratic republic congo",
    "reunion": "la reunion",
}
"""Names in use -> those of Natural Earth, as `_key` writes both."""

WORDS: Mapping[str, str] = {
    **dict.fromkeys(("the", "of", "and"), ""),
    "is": "islands",
    "island": "islands",
    "rep": "republic",
    "dem": "democratic",
    "eq": "equatorial",
    "herz": "herzegovina",
    "st": "saint",
    "fr": "french",
    "n": "northern",
    "s": "south",
    "w": "western",
    "geo": "georgia",
}
"""Words as Natural Earth shortens them, and words that people leave out -> what `_key` writes."""


@dataclass(frozen=True)
class Place:
    """A country or province."""

    name: str
    country: str
    geometry: bytes
    """Outline as WKB, longitude and latitude."""

    @property
    def label(self) -> str:
        """Name, of a province with its country."""
        return self.name if self.name == self.country else f"{self.name}, {self.country}"


def outline(name: str) -> tuple[str, BaseGeometry]:
    """Find a country or province.

    Parameters
    ----------
    name
        Its name, with or without accents and capitals; where several provinces share it, with the country after a
        comma: ``Amazonas, Brazil``.

    Returns
    -------
    str
        The name as Natural Earth writes it, of a province with its country.
    shapely geometry
        Its outline in degrees, to about a kilometre; of a country what lies within `AWAY` degrees of its largest part.

    Raises
    ------
    ConfigurationError
        If there is none, or more than one, with the nearest names and the way to give an outline.
    """
    province, _, country = (_key(part) for part in name.partition(","))
    province, country = ALIASES.get(province, province), ALIASES.get(country, country)
    matches = [
        place for place in _places() if _key(place.name) == province and (not country or _key(place.country) == country)
    ]
    # A country wins over provinces of its name, such as Georgia.
    matches = [place for place in matches if place.name == place.country] or matches
    if len(matches) > 1:
        listed = "; ".join(place.label for place in matches)
        raise ConfigurationError(f"--place {name!r}: several places have this name; write one of: {listed}")
    if not matches:
        raise ConfigurationError(f"--place: no country or province is called {name!r}{_near(province)}; {ELSE}")
    (place,) = matches
    return place.label, _near_the_largest(shapely.from_wkb(place.geometry))


@cache
def _places() -> Sequence[Place]:
    with as_file(files("soilscale").joinpath("places.parquet")) as path:
        return [Place(**row) for row in pq.read_table(path).to_pylist()]


def _key(text: str) -> str:
    # Accents become marks of their own, which are left out: few type them.
    plain = unicodedata.normalize("NFKD", text)
    letters = "".join(letter if letter.isalnum() else " " for letter in plain if not unicodedata.combining(letter))
    return " ".join(filter(None, (WORDS.get(word, word) for word in letters.casefold().split())))


def _near(name: str) -> str:
    labels: dict[str, str] = {}
    for place in _places():
        labels.setdefault(_key(place.name), place.label)
    close = difflib.get_close_matches(name, labels, n=3, cutoff=0.7)
    return f"; the nearest names are {'; '.join(labels[key] for key in close)}" if close else ""


def _near_the_largest(shape: BaseGeometry) -> BaseGeometry:
    parts = shapely.get_parts(shape)
    largest = parts[shapely.area(parts).argmax()]
    # Turned round the Earth too: Fiji and Chukotka go on beyond 180 degrees.
    turned = [translate(largest, shift) for shift in (0.0, TURN, -TURN)]
    away = shapely.distance(parts[:, None], turned).min(axis=1)
    # A box around all of France would reach from the Caribbean to the Indian Ocean.
    return shapely.union_all(parts[away <= AWAY])
