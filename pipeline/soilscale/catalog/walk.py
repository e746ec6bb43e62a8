"""A static catalog, or a file of items, read breadth first and in parallel, without the parts that cannot matter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from soilscale import storage
from soilscale.catalog import documents, pruning
from soilscale.catalog.items import add, skip
from soilscale.catalog.query import Broken, Found, Progress, Query, Span, links
from soilscale.errors import DataError

THREADS = 16
"""Documents that are read at a time."""


@dataclass(frozen=True)
class _Page:
    """A document to be read."""

    url: str
    inside: bool
    """Whether it lies within the wanted collection."""


@dataclass
class _Walk:
    """One way through a catalog."""

    query: Query
    span: Span | None
    broken: Broken
    found: Found = field(default_factory=Found)
    visited: set[str] = field(default_factory=set)
    ahead: list[_Page] = field(default_factory=list)

    def open(self, page: _Page, document: Mapping[str, Any], *, root: bool = False) -> None:
        """Take what a document holds, and note the documents that it leads to."""
        kind = _kind(document)
        if kind == "Feature":
            add(self.found, document, page.url, self.query, inside=page.inside)
        elif kind == "FeatureCollection":
            self._features(page, document)
        elif kind == "Collection":
            self._collection(page, document, root=root)
        elif kind == "Catalog":
            self._follow(page, document, "child", "item", "items")
        else:
            raise DataError(f"{storage.shown(page.url)} is no STAC catalog, collection or item")

    def fail(self, url: str, reason: str) -> None:
        """Go on without a document that cannot be used."""
        skip(self.found, self.query, url, reason, self.broken)

    def _features(self, page: _Page, document: Mapping[str, Any]) -> None:
        for feature in document.get("features") or ():
            try:
                add(self.found, feature, page.url, self.query, inside=page.inside)
            except DataError as error:
                self.fail(page.url, str(error))
        for link in links(document, "next"):
            if link.get("method", "GET").upper() == "GET":
                self._note(page, documents.resolve(page.url, link["href"]), inside=page.inside)

    def _collection(self, page: _Page, document: Mapping[str, Any], *, root: bool) -> None:
        name = str(document.get("id"))
        self.found.collections.add(name)
        if name != self.query.source.collection:
            if root:
                self._follow(page, document, "child")
        elif not pruning.outside_area(document, self.query.bbox):
            if self.span and pruning.outside_period(document, self.span):
                self.found.complete = False
            else:
                self._follow(_Page(page.url, inside=True), document, "child", "item", "items")

    def _follow(self, page: _Page, document: Mapping[str, Any], *relations: str) -> None:
        for link in links(document, *relations):
            if link["rel"] != "child":
                self._note(page, documents.resolve(page.url, link["href"]), inside=page.inside)
        children = [documents.resolve(page.url, link["href"]) for link in links(document, "child")]
        for url in pruning.finest(children, page.url) if page.inside else children:
            if self.span and pruning.dated_outside(url, page.url, self.span):
                self.found.complete = False
            else:
                self._note(page, url, inside=page.inside)

    def _note(self, page: _Page, url: str, *, inside: bool) -> None:
        if url not in self.visited and not pruning.banded_outside(url, page.url, self.query.bbox):
            self.visited.add(url)
            self.ahead.append(_Page(url, inside))


def gather(
    query: Query,
    url: str,
    root: Mapping[str, Any],
    span: Span | None,
    *,
    progress: Progress,
    broken: Broken,
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

    Raises
    ------
    ServiceError
        If the catalog stops answering, or denies access.
    """
    walk = _Walk(query, span, broken, visited={url})
    walk.open(_Page(url, inside=False), root, root=True)
    done = 1
    with ThreadPoolExecutor(THREADS, thread_name_prefix="catalog") as pool:
        while pages := walk.ahead:
            walk.ahead = []
            for page, document in _read(pool, pages, query.where):
                _take(walk, page, document)
                done += 1
                progress(f"{query.source.name}: reading the catalog", done, len(walk.visited))
    return walk.found


def _read(
    pool: ThreadPoolExecutor, pages: Sequence[_Page], where: str
) -> Iterator[tuple[_Page, dict[str, Any] | DataError]]:
    def read(page: _Page) -> dict[str, Any] | DataError:
        try:
            return documents.read(page.url, where)
        except DataError as error:
            return error

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


def _kind(document: Mapping[str, Any]) -> str | None:
    """STAC type of a document; catalogs before STAC 1.0 do not say it."""
    kind = document.get("type")
    if isinstance(kind, str):
        return "FeatureCollection" if kind == "ItemCollection" else kind
    if not isinstance(document.get("links"), list) or "id" not in document:
        return None
    return "Collection" if "extent" in document else "Catalog"


def is_static(document: Mapping[str, Any]) -> bool:
    """Whether a document is one that this walk can begin with: STAC, and no other GeoJSON."""
    kind = _kind(document)
    if kind == "FeatureCollection":
        features = document.get("features")
        return features == [] or (isinstance(features, list) and any(map(_has_assets, features)))
    return kind in ("Catalog", "Collection") or (kind == "Feature" and _has_assets(document))


def _has_assets(feature: Any) -> bool:
    return isinstance(feature, dict) and isinstance(feature.get("assets"), dict)
