"""Files as a catalog: a folder, a pattern or an index page, whose files become items by their names."""

from __future__ import annotations

import logging
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from fsspec.utils import glob_translate

from soilscale import formats, storage
from soilscale.catalog import rasters
from soilscale.catalog.containers import CONTAINER, RASTER
from soilscale.catalog.items import add, skip
from soilscale.catalog.naming import Named, named, tile_box
from soilscale.catalog.query import Broken, Found, Item, Progress, Query
from soilscale.errors import ConfigurationError, DataError
from soilscale.extents import WORLD
from soilscale.sources import profiles

logger = logging.getLogger(__name__)

THREADS = 16
"""Files that are opened at a time."""

SHOWN = 3
"""Files that do not fit of which a message gives the names."""

ANY = (r".+",)
"""Pattern of files that no profile names: their dates are their own."""

TIMELESS = "2000-01-01T00:00:00Z"
"""Date of the items of a static source whose files' names hold none."""


def holds_data(name: str) -> bool:
    """Whether a file may hold data, by its name; in a folder, whatever else lies there counts for nothing."""
    return not _is_hidden(name) and bool(RASTER.search(name) or CONTAINER.search(name))


@dataclass
class Fitting:
    """Files of a listing by whether their names fit."""

    items: list[Item] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    """Files whose names do not fit."""


def listed(place: str) -> dict[str, str]:
    """URL of every file of a folder or pattern -> its `storage.stamp`, by URL.

    Parameters
    ----------
    place
        Absolute path or URL of a folder, of an index page of links that ends with a slash, or of one file; or one with
        ``*``, ``?``, ``[...]`` or ``**`` (any number of folders).

    Raises
    ------
    ServiceError
        If the store cannot be reached.
    """
    parts = place.split("/")
    first = next((index for index, part in enumerate(parts) if re.search(r"[*?\[]", part)), None)
    if first is None:
        below = storage.stamps(place)
        # A file is listed as itself, and so is an empty local folder.
        if set(below) == {"."}:
            return {} if storage.is_local(place) and Path(place).is_dir() else {place: below["."]}
        return {storage.join(place, name): stamp for name, stamp in sorted(below.items()) if holds_data(name)}
    base, pattern = "/".join(parts[:first]) or "/", re.compile(glob_translate("/".join(parts[first:])))
    stamps = sorted(storage.stamps(base if storage.is_local(base) else f"{base}/").items())
    return {
        storage.join(base, name): stamp for name, stamp in stamps if pattern.fullmatch(name) and not _is_hidden(name)
    }


def _is_hidden(name: str) -> bool:
    """Whether a file is hidden, such as ``._a.nc``, which macOS lays beside ``a.nc``."""
    return posixpath.basename(name).startswith(".")


def gather(query: Query, *_: object, progress: Progress, broken: Broken, **__: object) -> Found:
    """Items of the files of a catalog that the source's profile names; parameters as of `walk.gather`.

    A file whose name does not fit is left out, named and counted: its date is never guessed.
    """
    findings, source, place = Found(), query.source, str(query.catalog.files)
    stamps = query.shared.once(f"files {place}", partial(listed, place))
    if not stamps:
        raise ConfigurationError(
            f"{query.where}: there are no files in {storage.shown(place)}; correct catalogs.{query.catalog.name}.files"
        )
    profile = profiles().get(source.profile or "", {})
    fitting = fit(stamps, profile, source.asset, static=bool(source.static))
    findings.collections.add(source.collection)
    if not fitting.items:
        raise DataError(
            f"{query.where}: of {len(stamps)} files in {storage.shown(place)} no name matches "
            f"{source.profile or 'the source'}; the first is {posixpath.basename(next(iter(stamps)))!r}, expected such "
            f"as {_expected(profile)}"
        )
    # Once for a folder: every source of it would repeat the same warning.
    odd = query.shared.once(f"odd {place} {source.name}", lambda: _of_no_product(fitting.odd))
    if odd:
        names = ", ".join(repr(posixpath.basename(url)) for url in odd[:SHOWN]) + (", ..." if len(odd) > SHOWN else "")
        logger.warning(
            "%s: %d of %d file names match no product and are left out: %s; expected such as %s",
            query.where,
            len(odd),
            len(stamps),
            names,
            _expected(profile),
        )
        query.shared.kept[f"odd {place} {source.name}"] = []
    within = source.layer, source.asset
    for count, item in enumerate(
        settled(fitting.items, profile, within, partial(skip, findings, query, broken=broken)), 1
    ):
        href = next(iter(item["assets"].values()))["href"]
        try:
            add(findings, item, href, query, inside=True)
        except DataError as error:
            skip(findings, query, href, str(error), broken)
        progress(f"{source.name}: listing files", count, len(fitting.items))
    return findings


def _expected(profile: Mapping[str, Any]) -> str:
    return " or ".join(profile.get("names", ANY))


def telling() -> list[str]:
    """Profiles whose files' names say what they are: their date, that is."""
    return [
        name
        for name, profile in profiles().items()
        if any("(?P<year>" in pattern for pattern in profile.get("names", ()))
    ]


def _of_no_product(urls: Sequence[str]) -> list[str]:
    """Files that no profile knows: one folder may hold the files of several products."""
    patterns = [pattern for name in telling() for pattern in profiles()[name]["names"]]
    return [url for url in urls if named(posixpath.basename(url), patterns) is None]


def fit(stamps: Mapping[str, str], profile: Mapping[str, Any], asset: str, *, static: bool) -> Fitting:
    """Items of files by their names: one for each product, date and tile, its files by their variables its assets.

    Parameters
    ----------
    stamps
        URL -> stamp, as of `listed`.
    profile
        Profile of the product; empty: any file is one.
    asset
        Asset that a file is whose name holds no variable.
    static
        Whether names need no date.
    """
    fitting, groups = Fitting(), defaultdict[tuple[Any, ...], dict[str, Item]](dict)
    for url, stamp in stamps.items():
        name = posixpath.basename(url)
        says = named(name, profile.get("names", ANY))
        if says is None:
            fitting.odd.append(url)
            continue
        key = _id(name, says), says.start, says.end, says.tile
        groups[key][says.asset or asset] = {"href": storage.as_href(url), "roles": ["data"], "soilscale:stamp": stamp}
    for (name, start, end, tile), assets in groups.items():
        properties: dict[str, Any] = {"datetime": f"{start}T00:00:00Z" if start else TIMELESS if static else None}
        if start and end:
            properties |= {"start_datetime": f"{start}T00:00:00Z", "end_datetime": f"{end}T00:00:00Z"}
        item = {"type": "Feature", "stac_version": "1.0.0", "id": name, "properties": properties, "assets": assets}
        item |= {"bbox": list(tile_box(tile) or WORLD)} if tile else {}
        fitting.items.append(item)
    return fitting


def _id(name: str, says: Named) -> str:
    stem = re.sub(r"(\.DBL)?\.\w+$", "", name)
    return stem if says.asset is None else stem.replace(says.asset, "", 1).strip("._-").replace("__", "_")


def settled(
    items: Sequence[Item], profile: Mapping[str, Any], within: tuple[str | None, str], broken: Broken
) -> Iterator[Item]:
    """Items with a box and a date, as their names or else their files say them.

    The box is that of the tile, of a raster what it says, else the extent of the product, else the world.

    Parameters
    ----------
    within
        Layer that is read of files of several, and its usual name.
    broken
        Called with the URL of a file that cannot be opened or says no date, and why; its item is left out.
    """
    usual = list(profile.get("extent", WORLD))

    def settle(item: Item) -> Item | DataError:
        href = next(iter(item["assets"].values()))["href"]
        try:
            if item["properties"]["datetime"] is None:
                item = item | {"properties": item["properties"] | dates(href, within)}
            if "bbox" in item:
                return item
            return item | {"bbox": list(rasters.bounds(href)) if RASTER.search(href) else usual}
        except DataError as error:
            return error

    # In the order of the files, so that the same folder gives the same items.
    with ThreadPoolExecutor(THREADS, thread_name_prefix="files") as pool:
        for item, outcome in zip(items, pool.map(settle, items), strict=True):
            if isinstance(outcome, DataError):
                broken(next(iter(item["assets"].values()))["href"], str(outcome))
            else:
                yield outcome


def dates(href: str, within: tuple[str | None, str]) -> dict[str, str | None]:
    """First and last instant of a file's time axis, as properties of its item; of a single date that alone.

    Raises
    ------
    DataError
        If it has none.
    """
    kind = formats.kind(href)
    steps: Sequence[formats.Step] = ()
    if kind is not None:
        with formats.layer(href, kind, *within) as layer:
            steps = layer.steps()
    if not steps:
        raise DataError(
            f"neither the name of {storage.shown(href)} nor the file states its date; name the profile of the "
            "product, or write static: true if it applies to all times"
        )
    if len(steps) == 1 and steps[0].end == steps[0].start:
        return {"datetime": f"{steps[0].start}Z"}
    # Ends of items are inclusive in STAC; the day after would belong to two of them.
    last = steps[-1].end - np.timedelta64(1, "s")
    return {"datetime": f"{steps[0].start}Z", "start_datetime": f"{steps[0].start}Z", "end_datetime": f"{last}Z"}
