"""A source and access to its assets: headers, decoding, and windows of values."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from soilscale import formats, storage
from soilscale.catalog import Scene
from soilscale.cube import assets, georeference, opening, windows
from soilscale.cube.assets import Header, Within
from soilscale.cube.class_names import class_names
from soilscale.cube.decoding import Decoding, resolve
from soilscale.cube.georeference import Georeference
from soilscale.cube.prefetch import side_by_side
from soilscale.cube.statements import Contradiction, Statement
from soilscale.errors import DataError, SoilscaleError
from soilscale.extents import intersects, padded
from soilscale.grid import Bounds, lonlat_bounds
from soilscale.sources import Band, Source

_asking = threading.Lock()
"""Held while a thread asks whether the files of a source have masks beside them, so that no other asks too."""

STRAY = 1.0
"""Degrees by which an item's bounding box may miss its file."""


@dataclass(frozen=True)
class Reading:
    """A source and the way to its assets: what every function below needs to know."""

    source: Source
    sign: Callable[[str], str]
    unit: str | None = None
    """Unit of the source in the cube; None: the source's, or whichever its values are in."""
    warnings: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    """What does not go together in the items read so far, by topic; see `Contradiction`."""
    _decodings: dict[tuple[str, str], Decoding] = field(default_factory=dict, repr=False, compare=False)
    _masks: dict[str, bool] = field(default_factory=dict, repr=False, compare=False)
    """Asset -> whether a mask lies beside the first file of it that was read from a distant store."""
    _headers: dict[tuple[object, ...], Header] = field(default_factory=dict, repr=False, compare=False)
    """Headers read so far; a replaced file is seen by the next `Reading`."""

    def header(self, scene: Scene, band: Band) -> Header:
        """Header of one of a scene's bands.

        Raises
        ------
        DataError
            If the item has no such asset, or its file lies elsewhere than the item says.
        """
        key = _key(scene, band)
        if key not in self._headers:
            asset = self._asset(scene, band)
            placement = scene.placements.get(asset)
            href = self.sign(scene.hrefs[asset])
            number = self.source.band if band == self.source.data else 1
            file_header = assets.header(href, number, placement, self._within(scene, band))
            # Before anything else: a file in the wrong place would be read as one without pixels there.
            _check_place(scene, file_header)
            # Beside a remote file GDAL is told not to look: every name that it tries would be a request.
            if file_header.layer is None and (mask := self._mask(scene, asset, href)):
                file_header = replace(file_header, mask=mask, masked=True, dtype="float64")
            place = Georeference(file_header.crs, file_header.transform)
            elsewhere = georeference.apart(place, file_header.shape, placement)
            if elsewhere is not None:
                self._note(_apart(self.source.name, scene.item, elsewhere, file_header))
            if band == self.source.data and scene.reduction > 1 and file_header.layer is None:
                file_header = assets.reduced(file_header, href, scene.reduction)
            self._headers[key] = file_header
        return self._headers[key]

    def class_names(self, scene: Scene) -> dict[int, str]:
        """Names of classes that the file of a scene's data states; errors as `header`."""
        band = self.source.data
        return class_names(self.sign(scene.hrefs[self._asset(scene, band)]), self.header(scene, band))

    def _asset(self, scene: Scene, band: Band) -> str:
        """Asset that holds a band: its own, else that of the data, if that is a file of several variables."""
        if band.asset in scene.hrefs:
            return band.asset
        data = self.source.asset
        if data in scene.hrefs and band != self.source.data and self.header(scene, self.source.data).layer is not None:
            return data
        have = ", ".join(sorted(scene.hrefs)) or "none of the requested ones"
        raise DataError(f"item {scene.item} has no asset {band.asset!r} (it has {have}); {self._remedy(band.asset)}")

    def _within(self, scene: Scene, band: Band) -> Within:
        """Which part of its file a band is; a quality band that is no asset must be there by name."""
        layer = band.layer or (None if band.asset in scene.hrefs else band.asset)
        return Within(layer, band.asset, scene.step, self.source.place)

    def steps(self, href: str) -> tuple[formats.Step, ...]:
        """Dates of a file of the data, of none or one as of a raster nothing.

        Parameters
        ----------
        href
            Not signed.

        Raises
        ------
        DataError
            If the file cannot be read, has no such layer, or does not say when its steps are.
        ServiceError
            If its store cannot be reached.
        """
        href = self.sign(href)
        kind = formats.kind(href)
        if kind is None:
            return ()
        with formats.layer(href, kind, self.source.layer, self.source.asset) as layer:
            return layer.steps() if layer.count > 1 else ()

    def decoding(self, scene: Scene) -> Decoding:
        """How the stored values of a scene's data become physical ones.

        Raises
        ------
        DataError
            If what the item and the file state cannot both hold, or does not lead to the unit of the cube.
        """
        # Some catalogs give one id to items of several tiles, whose files may decode differently.
        key = scene.item, scene.hrefs[self.source.asset]
        if key not in self._decodings:
            statements = {
                "item": Statement.of_item(scene.decoding),
                "file": Statement.of_file(self.header(scene, self.source.data), self.source),
            }
            unit = None if self.source.kind == "categorical" else self.unit or self.source.unit
            resolved, problems = resolve(self.source, unit, scene.item, statements, (scene.start, scene.end))
            for problem in problems:
                if problem.grave:
                    raise DataError(str(problem))
                self._note(problem)
            self._decodings[key] = resolved
        return self._decodings[key]

    def _note(self, problem: Contradiction) -> None:
        self.warnings.setdefault(problem.topic, str(problem))

    def _remedy(self, asset: str) -> str:
        if asset == self.source.asset:
            return "check the key `asset`"
        return "check the key `quality`; `quality: null` reads the source without a quality band"

    def _mask(self, scene: Scene, asset: str, href: str) -> str | None:
        """Mask beside a file: as the item lists it, else a local one, else if the source's first file has one."""
        if asset in scene.masks:
            return self.sign(scene.masks[asset])
        if not (path := storage.gdal_path(href)).startswith("/vsi"):
            # GDAL itself does not look beside a file that has a mask inside.
            return f"{path}.msk" if Path(f"{path}.msk").is_file() else None
        if asset != self.source.asset:
            return None
        address, question, query = href.partition("?")
        beside = f"{address}.msk{question}{query}"
        with _asking:
            if asset not in self._masks:
                self._masks[asset] = _answers(beside)
                return beside if self._masks[asset] else None
        return beside if self._masks[asset] and _answers(beside) else None

    def fetch_headers(self, scenes: Sequence[Scene]) -> None:
        """Fetch what headers a distant store's scenes may need, side by side; near files are asked one by one later.

        Raises
        ------
        DataError, ServiceError
            As `header`, for the data; whether the flags are needed is seen then only.
        """

        def fetch(scene_band: tuple[Scene, Band]) -> None:
            # Flags may turn out not to be needed; if they are, the error comes again when they are read.
            with suppress(SoilscaleError) if scene_band[1] != self.source.data else nullcontext():
                self.header(*scene_band)

        if self.distant(scenes):
            bands = [(scene, band) for scene in scenes for band in self.source.bands]
            side_by_side(fetch, [scene_band for scene_band in bands if _key(*scene_band) not in self._headers])

    def windows(
        self, bands: Sequence[tuple[Scene, Band]], lattice: Header, bounds: Bounds, **how: Any
    ) -> list[NDArray[Any]]:
        """Stored values of bands of scenes on one lattice, an array for each; see `windows.windows`."""
        files = [(self.sign(scene.hrefs[self._asset(scene, band)]), self.header(scene, band)) for scene, band in bands]
        return windows.windows(files, lattice, bounds, **how)

    def distant(self, scenes: Sequence[Scene]) -> bool:
        """Whether files of scenes lie in a store that each request has to travel to."""
        return any(storage.gdal_path(href).startswith("/vsi") for scene in scenes for href in scene.hrefs.values())

    def on(self, scene: Scene, lattice: Header) -> tuple[Band, ...]:
        """Bands of a scene that lie on a lattice, the data before the quality."""
        return tuple(band for band in self.source.bands if self.header(scene, band).shares_grid(lattice))


def _key(scene: Scene, band: Band) -> tuple[object, ...]:
    """What tells the header of a scene's band from others."""
    # Not the item's id alone: some catalogs name items by their date, so that all tiles of a date share one.
    return scene.item, frozenset(scene.hrefs.items()), band


def _answers(url: str) -> bool:
    """Whether a raster is there; one that its store refuses to show is as good as none, and so is a page of a site."""
    try:
        return storage.answers(url) and opening.opened(url, lambda file: file.count > 0)
    except SoilscaleError:
        return False


def _apart(source: str, item: str, place_text: str, header: Header) -> Contradiction:
    place = f"CRS {header.crs}, transform {[float(f'{number:.12g}') for number in header.transform[:6]]}"
    return Contradiction(
        source=source,
        item=item,
        what="place",
        statements=(("file", place), ("item", place_text)),
        consequence="the file's is used",
        remedy="correct the item's proj:* or the file",
        grave=False,
    )


def _check_place(scene: Scene, header: Header) -> None:
    """Refuse a file that lies nowhere near the place its item tells."""
    try:
        near = intersects(padded(scene.bbox, STRAY), lonlat_bounds(header.bounds, header.wkt))
    except ValueError:
        near = False
    if not near:
        raise DataError(
            f"item {scene.item} says that it lies within {[round(v, 3) for v in scene.bbox]} (degrees), but its file "
            f"lies within {[round(v, 3) for v in header.bounds]} of {header.crs}; correct the item or the file's CRS"
        )


def turns(header: Header) -> tuple[float, ...]:
    """Shifts in x under which a file shows the same place: whole turns, where its map repeats itself."""
    width = (header.turn or 0) * header.pixel[0]
    return (0.0, width, -width) if width else (0.0,)


def shifted(bounds: Bounds, shift: float) -> Bounds:
    """Bounds moved east."""
    return bounds[0] + shift, bounds[1], bounds[2] + shift, bounds[3]
