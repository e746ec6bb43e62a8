"""What a worker does to publish a map: write it as COGs with pictures of it, and the item that describes them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soilscale import grid, maps, publish, storage
from soilscale.engine.output import Workspace
from soilscale.engine.units import Cost, Task
from soilscale.grid import Grid
from soilscale.schema import MAP, QUALITY, Quality
from soilscale.tasks.costs import Scale

Array = NDArray[Any]

PUBLISH = "publish"
"""Stage of the units that publish maps."""


@dataclass(frozen=True)
class Edition:
    """How one map is published."""

    every: str
    """Group of the map, `maps.MONTH` or `maps.SEASON`."""
    identifier: str
    collection: str
    span: tuple[np.datetime64, np.datetime64]
    """First instant, and the first one after it."""
    properties: Mapping[str, Any]
    sources: Sequence[Mapping[str, str]]
    """Items that the map was made from, each with ``href`` and ``title``."""
    optional: Sequence[str]
    """Layers that the map has beside its values and their quality."""
    stem: str
    """How the names of its files begin: name of the configuration, and month or season."""
    scale: publish.Scale
    """Values of the first and the last colour of every map."""
    root: str | None = None
    """Public URL of the output."""
    log: str | None = None
    """Address of a run's log."""
    version: str = ""
    """Digest of what the map is made from."""

    def place(self, name: str) -> tuple[str, str, str, str]:
        """Where one of its files lies below the published maps: no other edition's files lie there."""
        return self.every, self.identifier, self.version, name

    def file(self, layer: str, ending: str) -> str:
        """Name of a file, which says by itself of which map and layer it is."""
        return f"{self.stem}_{layer}.{ending}"

    @property
    def home(self) -> str | None:
        """Public URL of the folder of its files."""
        return publish.About(root=self.root).home(*self.place("")[:-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishMap(Task):
    """Write a whole map and its quality layer as COGs, and the item that describes them; an empty map has none.

    One tile at a time is read, and the files are made on the worker's disk, so that memory does not go with the area.
    """

    fine: Grid
    edition: Edition
    index: int
    """Of the map in the store."""

    @classmethod
    def cost(cls, scale: Scale, *, count: int, layers: Sequence[str], kinds: int) -> Cost:
        """Cost of publishing so many maps of these layers, of one kind or two. Work: bytes, in millions."""
        size = count * scale.cells * sum(1 if name == QUALITY else 4 for name in layers)
        # Of each map its item and marker, the pictures and a file a layer; then the catalog, and a collection a kind.
        objects = count * (2 + len(publish.SIDES) + len(layers)) + 1 + kinds
        return Cost(
            units=count, read=size, written=size, objects=objects, work=size / 1e6, load=scale.tile_cells * 4.0 * 8
        )

    def run(self, workspace: Workspace) -> None:
        """Write the files below the published maps."""
        # A month without a value is no product, and would be an empty item in the catalog.
        if not any(
            np.isfinite(values).any() for _, values in _tiles(workspace, self.fine, self.edition, MAP, self.index)
        ):
            return
        counts = maps.count_flags(part for _, part in _tiles(workspace, self.fine, self.edition, QUALITY, self.index))
        optional = (publish.OPTIONAL_BANDS[name] for name in self.edition.optional)
        files: dict[str, publish.File] = {}
        for band in (publish.MAP_BAND, publish.QUALITY_BAND, *optional):
            files |= self._write(workspace, band)
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        versions = {"version": self.edition.version, "created": created}
        item = publish.item(
            self.edition.identifier,
            self.edition.collection,
            self.fine.fine,
            self.edition.span,
            files,
            {**self.edition.properties, **_shares(*counts), **versions},
            self.edition.sources,
            scale=self.edition.scale,
            home=self.edition.home,
            run=workspace.term,
            log=self.edition.log,
        )
        storage.write_json(workspace.published(*self.edition.place(f"{self.edition.identifier}.json")), item)

    def _write(self, workspace: Workspace, band: publish.Band) -> dict[str, publish.File]:
        """Write a layer as a COG, and of the map itself its pictures; asset name -> file."""
        edition = self.edition
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / edition.file(band.name, "tif")
            pieces = _tiles(workspace, self.fine, edition, band.name, self.index)
            figures = publish.write_cog(path, pieces, self.fine.fine, band, {"SOILSCALE_ID": edition.identifier})
            files = {band.name: publish.File.of(path, band, figures)}
            if band is publish.MAP_BAND:
                for name, side in publish.SIDES.items():
                    picture = path.with_name(edition.file(name, "png"))
                    picture.write_bytes(publish.preview(path, side, edition.scale))
                    files[name] = publish.File.of(picture)
            for file in files.values():
                storage.write_file(workspace.published(*edition.place(file.name)), path.with_name(file.name))
        return files


def _shares(flags: Mapping[Quality, int], masked: int) -> dict[str, Any]:
    """Share of the cells with a value that carry each bit, and of cells left out as frozen of them and these."""
    valued = flags[Quality.OBSERVED] + flags[Quality.PREDICTED]
    shares = {str(bit.name).lower(): count / valued for bit, count in flags.items() if bit != Quality.OUTSIDE}
    return {"soilscale:quality": shares, "soilscale:masked_frozen": masked / (valued + masked)}


def _tiles(
    workspace: Workspace, fine: Grid, edition: Edition, name: str, index: int
) -> Iterator[tuple[grid.Slices, Array]]:
    """Tiles of a layer of a map, one after another."""
    for tile in fine.tiles():
        yield tile.fine, storage.read_region(workspace.maps, edition.every, name, (index, *tile.fine))
