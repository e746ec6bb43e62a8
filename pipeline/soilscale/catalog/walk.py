"""A static catalog, or a file of items, read breadth first and in parallel, without the parts that cannot matter."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from soilscale import storage
from soilscale.catalog import documents, probing, pruning
from soilscale.catalog.items import add, skip
from soilscale.catalog.query import Broken, Found, Progress, Pruned, Query, Span, kind_of, links
from soilscale.errors import DataError

THREADS = 16
"""Documents that are read at a time."""


logger = logging.getLogger(__name__)

FOREIGN = 3000
"""Documents below other collections that are read at most, to find one that lies there."""


@dataclass(frozen=True)
class _Page:
    """A document to be read."""

    url: str
    inside: bool
    """Whether it lies within the wanted collection."""
    depth: int = 0
    """Links from the root."""
    coarser: tuple[str, ...] = ()
    """Other levels of resolution that it stands for."""
    foreign: bool = False
    """Whether it lies below another collection."""


@dataclass
class _Walk:
    """One way through a catalog."""

    query: Query
    span: Span | None
    broken: Broken
    prune: bool
    found: Found = field(default_factory=Found)
    visited: set[str] = field(default_factory=set)
    ahead: list[_Page] = field(default_factory=list)
    below: list[_Page] = field(default_factory=list)
    """What lies below other collections: read only if the wanted one is not found above."""
    foreign: int = 0
    """Documents below other collections that were read."""
    dated: dict[tuple[int, str], bool] = field(default_factory=dict)
    """Depth and format of names -> whether they are dates, as items below such a name show."""
    level: str = ""
    """Level of resolution that is read, once that is known."""

    def open(self, page: _Page, document: Mapping[str, Any]) -> None:
        """Take what a document holds, and note the documents that it leads to."""
        kind = kind_of(document)
        if page.foreign and kind != "Collection":
            self._pass(page, document)
        elif kind == "Feature":
            add(self.found, document, page.url, self.query, inside=page.inside)
        elif kind == "FeatureCollection":
            self._features(page, document)
        elif kind == "Collection":
            self._collection(page, document)
        elif kind == "Catalog":
            self._follow(page, document, "child", "item", "items")
        else:
            raise DataError(f"{storage.shown(page.url)} is not a STAC catalog, collection or item")

    def fail(self, url: str, reason: str) -> None:
        """Go on without a document that cannot be used."""
        skip(self.found, self.query, url, reason, self.broken)

    def descend(self) -> bool:
        """Go on below other collections, if the wanted one has not been found; whether there is anything there."""
        if self.query.source.collection not in self.found.collections:
            affordable = self.below[: max(FOREIGN - self.foreign, 0)]
            if len(affordable) < len(self.below):
                logger.warning(
                    "%s: searched only %d documents for nested collections; give the URL of the collection itself",
                    self.query.where,
                    self.foreign,
                )
            self.ahead, self.below = affordable, []
            self.foreign += len(affordable)
        return bool(self.ahead)

    def _features(self, page: _Page, document: Mapping[str, Any]) -> None:
        for feature in document.get("features") or ():
            try:
                add(self.found, feature, page.url, self.query, inside=page.inside)
            except DataError as error:
                self.fail(page.url, str(error))
        for link in links(document, "next"):
            # A page by POST belongs to a search, and cannot be read as a document.
            if link.get("method", "GET").upper() == "GET":
                self._note(page, documents.resolve(page.url, link["href"]), self.ahead)

    def _collection(self, page: _Page, document: Mapping[str, Any]) -> None:
        name = str(document.get("id"))
        self.found.collections.add(name)
        if name != self.query.source.collection:
            self._pass(page, document)
        # What is left out is noted, so that it can be read after all if nothing is found.
        elif self.prune and (why := pruning.outside_area(document, self.query.bbox)):
            self._leave_out(page.url, why)
        elif self.span and (why := pruning.outside_period(document, self.span)):
            self._leave_out(page.url, why, dated=True)
        else:
            self._follow(replace(page, inside=True, foreign=False), document, "child", "item", "items")

    def _pass(self, page: _Page, document: Mapping[str, Any]) -> None:
        """Note what lies below another collection, or below a catalog in it."""
        for link in links(document, "child"):
            self._note(replace(page, foreign=True), documents.resolve(page.url, link["href"]), self.below)

    def _follow(self, page: _Page, document: Mapping[str, Any], *relations: str) -> None:
        for link in links(document, *relations):
            if link["rel"] != "child":
                self._note(page, documents.resolve(page.url, link["href"]), self.ahead)
        children = [documents.resolve(page.url, link["href"]) for link in links(document, "child")]
        if page.coarser and not any(pruning.band(url, page.url) for url in children):
            for url in page.coarser:  # they were tiles, no levels
                self._note(page, url, self.ahead)
        levels = pruning.levels(children, page.url) if page.inside and self.prune else {}
        fine = [levels[self._level(levels)]] if levels else children
        coarse = tuple(url for url in children if url not in fine)
        late = self._late(page, fine)
        for url in fine:
            if url in late:
                self._leave_out(url, "its name is a date outside the period", dated=True)
            else:
                self._note(page, url, self.ahead, coarse)

    def _level(self, levels: Mapping[str, str]) -> str:
        """The coarsest level that is fine enough, else the finest; looked for once, and then the same of every date."""
        least = self.query.pixels_per_degree
        if self.level not in levels:
            able = (
                number
                for number, url in levels.items()
                if least is not None and (probing.pixels_per_degree(url, self.query) or 0.0) >= least
            )
            self.level = next(able, list(levels)[-1])
        return self.level

    def _late(self, page: _Page, urls: Sequence[str]) -> set[str]:
        """Links to folders named as dates outside the period: where all beside them are so named, and rightly."""
        dates = pruning.dates(urls, page.url) if self.span else None
        if not self.span or dates is None:
            return set()
        first, after = self.span
        late = {url: dated for url, dated in zip(urls, dates, strict=True) if dated[0] >= after or dated[1] <= first}
        if not late:
            return set()
        key = page.depth, pruning.form(next(iter(late)), page.url)
        if key not in self.dated:
            # The farthest from the period: if even that one is of its date, names can be trusted.
            farthest = max(late, key=lambda url: max(first - late[url][1], late[url][0] - after))
            self.dated[key] = probing.is_dated(farthest, late[farthest], self.query)
        return set(late) if self.dated[key] else set()

    def _leave_out(self, url: str, why: str, *, dated: bool = False) -> None:
        self.found.pruned.append(Pruned(storage.shown(url), why))
        self.found.complete &= not dated

    def _note(self, page: _Page, url: str, to: list[_Page], coarser: tuple[str, ...] = ()) -> None:
        if url in self.visited:
            return
        if pruning.banded_outside(url, page.url, self.query.bbox):
            self._leave_out(url, "its name is a band of longitude or latitude outside the area")
            return
        # Noted before it is read: catalogs link to one document from several places, and in circles.
        self.visited.add(url)
        to.append(_Page(url, page.inside, page.depth + 1, coarser, page.foreign))


def gather(
    query: Query,
    url: str,
    root: Mapping[str, Any],
    span: Span | None,
    *,
    progress: Progress,
    broken: Broken,
    prune: bool = True,
) -> Found:
    """Walk a static catalog, or read a file of items.

    Parameters
    ----------
    query
        What is wanted.
    url, root
        The first document, and where it was read.
    span
        Period outside which dated parts of the catalog are left out; None: read every part.
    progress
        Told the documents read, and how many are known of.
    broken
        Told each document that cannot be used; the walk goes on without it.
    prune
        Whether collections are left out that lie outside the area or period by their extent, and coarser levels.

    Raises
    ------
    ServiceError
        If the catalog stops answering, or denies access.
    """
    walk = _Walk(query, span, broken, prune, visited={url})
    walk.open(_Page(url, inside=False), root)
    count = 1
    with ThreadPoolExecutor(THREADS, thread_name_prefix="catalog") as pool:
        while walk.ahead or walk.descend():
            pages, walk.ahead = walk.ahead, []
            # Taken in the order of the links, whichever document came first, so that the same catalog gives the same
            # items.
            for page, document in _read(pool, pages, query):
                _take(walk, page, document)
                count += 1
                progress(f"{query.source.name}: reading the catalog", count, len(walk.visited))
    return walk.found


def _read(
    pool: ThreadPoolExecutor, pages: Sequence[_Page], query: Query
) -> Iterator[tuple[_Page, dict[str, Any] | DataError]]:
    def read(page: _Page) -> dict[str, Any] | DataError:
        try:
            return query.shared.read(page.url, query.where)
        except DataError as error:
            return error

    # Threads hide the waiting for a server; of a disk there is none to hide.
    near = all(storage.is_local(page.url) for page in pages)
    return zip(pages, (map if near else pool.map)(read, pages), strict=True)


def _take(walk: _Walk, page: _Page, document: dict[str, Any] | DataError) -> None:
    if isinstance(document, DataError):
        walk.fail(page.url, str(document))
        return
    try:
        walk.open(page, document)
    except DataError as error:
        walk.fail(page.url, str(error))


def is_static(document: Mapping[str, Any]) -> bool:
    """Whether a document is one that this walk can begin with: STAC, and no other GeoJSON."""
    kind = kind_of(document)
    if kind == "FeatureCollection":
        features = document.get("features")
        return features == [] or (isinstance(features, list) and any(map(_has_assets, features)))
    return kind in ("Catalog", "Collection") or (kind == "Feature" and _has_assets(document))


def _has_assets(feature: Any) -> bool:
    return isinstance(feature, dict) and isinstance(feature.get("assets"), dict)
