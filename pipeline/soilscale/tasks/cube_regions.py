"""What a worker does for a unit of the cube: read, fold, write its regions."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np

from soilscale import cube, kernels, storage
from soilscale.catalog import Scene
from soilscale.cube import FRACTION, Reading
from soilscale.engine import payloads
from soilscale.engine.output import Workspace
from soilscale.engine.payloads import Arrays
from soilscale.engine.units import Cost, Task
from soilscale.errors import IncompleteError, ServiceError
from soilscale.grid import Grid, Tile
from soilscale.schema import COARSE, FINE, VALID_FRACTION
from soilscale.seasons import Months, position
from soilscale.sources import Source
from soilscale.tasks.costs import AREA, Scale, Stored

CUBE, GATHER = "cube", "coarse"
"""Stages of the cube: sources into the fine group, and what they keep into the coarse one."""

PIXEL = 2
"""Bytes of a pixel of an asset, most of which are integers of 16 bits."""

Place = tuple[int, tuple[int, ...]]
"""Lag, and the index in time, none of a static source."""

Features = Mapping[str, np.ndarray[Any, Any]]

SHARE = ""
"""Name under which a unit keeps the valid share: no feature has it."""

PARTLY = "*"
"""Name under which a unit keeps what share of a coarse cell only some dates show; likewise."""

SERIES = 3
"""Dimensions of what has months."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindClasses(Task):
    """Look up the class codes that a categorical source holds in a tile."""

    reading: Reading
    scenes: Sequence[Scene]
    grid: Grid
    tile: Tile

    def run(self, workspace: Workspace) -> None:
        """Write the codes below `state/`."""
        codes = sorted(cube.codes(self.reading, self.scenes, self.grid.fine[self.tile.fine]))
        storage.write_json(workspace.state("classes", self.reading.source.name, f"{self.tile.name}.codes.json"), codes)


class Region(Task):
    """What a unit writes of one source in one tile."""

    __slots__ = ()

    tile: Tile

    @property
    @abstractmethod
    def source(self) -> Source:
        """The source."""

    def places(self) -> list[Place]:
        """Lags and indices in time of what is written; a static source has none."""
        return [(0, ())]

    def blank(self, workspace: Workspace) -> None:
        """Leave the region missing."""
        # The target is kept in markers alone, so that there is nothing to blank.
        if not self.source.on_coarse:
            put(workspace, self.tile, self.places(), _blank(self.source, self.tile))


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthRegion(Region):
    """A region of some months that hold the same values, most often of one."""

    tile: Tile
    months: Months
    """Months of the cube."""
    alike: tuple[np.datetime64, ...]
    """Months of the source."""

    def places(self) -> list[Place]:
        """Lags and indices in time of what is written."""
        return times(self.source, self.months, self.alike)


class FromScenes(Region):
    """A region that is read from the scenes of its source."""

    __slots__ = ()

    reading: Reading

    @property
    def source(self) -> Source:
        """The source."""
        return self.reading.source

    @property
    def warnings(self) -> Mapping[str, str]:
        """What was read with a warning."""
        return self.reading.warnings


@dataclass(frozen=True, slots=True, kw_only=True)
class FillStatic(FromScenes):
    """Fill a tile with a static source."""

    reading: Reading
    scenes: Sequence[Scene]
    grid: Grid
    tile: Tile

    def run(self, workspace: Workspace) -> Arrays:
        """Write the features; what is kept is as `FillMonth` keeps it."""
        with blank_on_failure(partial(self.blank, workspace)):
            features = cube.read_static(self.reading, self.scenes, self.grid.fine[self.tile.fine])
            put(workspace, self.tile, self.places(), features)
        return means(features, self.grid.ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadMonth(FromScenes, MonthRegion):
    """What is read of a source in a tile's month."""

    reading: Reading
    scenes: Sequence[Scene]
    grid: Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class FillMonth(ReadMonth):
    """Fill a tile's month with a source, the months that hold the same values, and those that have them as a lag."""

    @classmethod
    def cost(cls, scale: Scale, *, units: int, pixels: float, layers: float, stored: Stored) -> Cost:
        """Cost of reading all sources, also by the other tasks of `CUBE`. Work: fine cells, dates and assets, in 1e6.

        Parameters
        ----------
        units
            Of all sources.
        pixels
            Fine cells times dates and assets.
        layers
            Most values that a unit holds of a fine cell, beside those of its date.
        stored
            What is written into the cube.
        """
        return Cost(
            units=units,
            read=pixels * PIXEL,
            written=stored.size,
            objects=units + stored.objects,
            work=pixels / 1e6,
            load=scale.tile_cells * 4 * (6 + layers),
        )

    def run(self, workspace: Workspace) -> Arrays:
        """Write the features.

        What is kept is their block means, and as `SHARE` the share of each coarse cell that is valid.
        """
        with blank_on_failure(partial(self.blank, workspace)):
            features = cube.read_month(self.reading, self.scenes, self.grid.fine[self.tile.fine], self.alike[0])
            put(workspace, self.tile, self.places(), features)
        return means(features, self.grid.ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveMonth(ReadMonth):
    """Write what is seen of a source in a tile's month, whose gaps are filled later."""

    def run(self, workspace: Workspace) -> Arrays:
        """Write what is seen; what is kept is as of `FillMonth`, and as `PARTLY` what share only some dates show."""
        with blank_on_failure(partial(self.blank, workspace)):
            fine = self.grid.fine[self.tile.fine]
            values, shown = cube.read_completed(self.reading, self.scenes, fine, self.alike[0])
            features = {self.source.name: values}
            self._write(workspace, features)
        # A mean of some dates is shifted by those that are missing; filling the gaps needs to know where.
        some_dates = ((shown > 0) & (shown < 1) & np.isfinite(values)).astype("float32")
        partly = kernels.block_mean(some_dates, self.grid.ratio)[0]
        return {**means(features, self.grid.ratio), PARTLY: partly.astype("float32")}

    def blank(self, workspace: Workspace) -> None:
        """Leave missing what is seen."""
        self._write(workspace, _blank(self.source, self.tile))

    def _write(self, workspace: Workspace, features: Features) -> None:
        index = observed_at(self.months, self.alike[0])
        for name, values in features.items():
            place = (index, *self.tile.fine)
            storage.write_region(workspace.cube, cube.OBSERVED, name, values.astype("float32"), place)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepTarget(ReadMonth):
    """Keep the observation of a tile's month."""

    def run(self, workspace: Workspace) -> Arrays:  # noqa: ARG002 - it is gathered later
        """Read the observation; nothing is written but the marker, which keeps it."""
        (month,) = self.alike
        values = cube.read_month(self.reading, self.scenes, self.grid.coarse[self.tile.coarse], month)
        return {self.source.name: values[self.source.name].astype("float32")}


def observed_at(months: Months, month: np.datetime64) -> int:
    """Index of a month in the groups that begin `cube.BEFORE` months before a cube's."""
    return position(months, month) + cube.BEFORE


@dataclass(frozen=True, slots=True, kw_only=True)
class Gather(Task):
    """Chunks of the coarse group and of the valid shares, from the markers of units that hold what goes there."""

    pieces: tuple[payloads.Piece, ...]
    coarse: tuple[str, ...]
    """Variables of the coarse group that are written."""
    shares: tuple[str, ...]
    """Variables of the group of valid shares that are written."""
    shape: tuple[int, ...]
    """Months, unless it is static, coarse rows and columns."""
    first: int = 0
    """Index in time of the first month."""
    static: tuple[tuple[str, tuple[payloads.Piece, ...]], ...] | None = None
    """Static predictors, whose shares count beside the months' for `VALID_FRACTION`; None: that is not written."""

    @classmethod
    def cost(cls, scale: Scale, *, static: bool, stored: Stored) -> Cost:
        """Cost of what is gathered of the predictors. Work: bytes that are written, in millions."""
        # Static features are one unit more, in a chunk of their own.
        units = math.ceil(scale.months / cube.TOGETHER) + static
        load = stored.size * min(cube.TOGETHER / scale.months, 1.0)
        written, objects = stored.size, units + stored.objects
        return Cost(
            units=units, read=written, written=written, objects=objects, work=written / 1e6, load=load, grows=AREA
        )

    @classmethod
    def merging_cost(cls, scale: Scale, stored: Stored) -> Cost:
        """Cost of gathering a harmonised target. Work: coarse cells and months, in half millions."""
        units, half = math.ceil(scale.months / cube.TOGETHER), scale.series / 2
        objects = units + stored.objects
        return Cost(
            units=units, read=half, written=half, objects=objects, work=half / 1e6, load=scale.series, grows=AREA
        )

    def run(self, workspace: Workspace) -> None:
        """Write whole chunks; what no marker holds is missing, and its valid share nothing."""
        coarse = {name: np.full(self.shape, np.nan, "float32") for name in self.coarse}
        # A unit that failed has no marker: its share is nothing, not unknown.
        shares = {name: np.zeros(self.shape, "float32") for name in self.shares}
        for piece, stored in payloads.read(workspace, self.pieces):
            for lag, place in self._places(piece):
                for name, values in stored.items():
                    if name == PARTLY:
                        continue
                    arrays, variable = (shares, piece.source) if name == SHARE else (coarse, name)
                    arrays[cube.lagged(variable, lag)][(*place, piece.rows, piece.columns)] = self._part(values)
        if self.static is not None:
            # One predictor that is not seen takes a cell away, however well the others are.
            smallest = [_static_share(workspace, self.static, self.shape[1:]), *shares.values()]
            coarse[VALID_FRACTION] = np.broadcast_to(reduce(np.minimum, smallest), self.shape)
        time = (slice(self.first, self.first + self.shape[0]),) if len(self.shape) == SERIES else ()
        for group, variables in ((COARSE, coarse), (FRACTION, shares)):
            for name, values in variables.items():
                storage.write_region(workspace.cube, group, name, values, (*time, slice(None), slice(None)))

    def _places(self, piece: payloads.Piece) -> Iterator[tuple[int, tuple[int | slice, ...]]]:
        """Lag, and index in time, with which a piece stands among what is gathered."""
        if len(self.shape) < SERIES:
            yield 0, ()
        elif not piece.places:
            yield 0, (slice(None),)
        for lag, index in piece.places:
            # A lag may carry a month into another chunk, which is another unit's to write.
            if 0 <= index - self.first < self.shape[0]:
                yield lag, (index - self.first,)

    def _part(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """What of a series belongs to the months that are gathered; a month's values as they are."""
        return values[self.first : self.first + self.shape[0]] if values.ndim == SERIES else values


def _static_share(
    workspace: Workspace, sources: Sequence[tuple[str, Sequence[payloads.Piece]]], shape: tuple[int, ...]
) -> np.ndarray[Any, Any]:
    """Smallest valid share of the static predictors."""
    shares = {name: np.zeros(shape, "float32") for name, _ in sources}
    for piece, arrays in payloads.read(workspace, [piece for _, pieces in sources for piece in pieces]):
        shares[piece.source][piece.rows, piece.columns] = arrays[SHARE]
    return reduce(np.minimum, shares.values(), np.ones(shape, "float32"))


def reach(source: Source, months: Months, month: np.datetime64) -> list[int]:
    """Lags with which a source's month stands in a cube of some months, none of them 0."""
    index = position(months, month)
    return [lag for lag in (0, *source.lags) if 0 <= index + lag < len(months)]


def times(source: Source, months: Months, alike: Sequence[np.datetime64]) -> list[Place]:
    """Lags, and the index in time where some months of a source go with each, for those within the cube.

    Of a source from which something with a memory is derived, also months before the cube's first: indices below 0.
    """
    before = [index for month in alike if -source.memory <= (index := position(months, month)) < 0]
    earlier: list[Place] = [(0, (index,)) for index in before]
    return earlier + [
        (lag, (position(months, month) + lag,)) for month in alike for lag in reach(source, months, month)
    ]


def put(workspace: Workspace, tile: Tile, places: Sequence[Place], features: Features) -> None:
    """Write features to the fine group, and of months before the cube's first to that of earlier ones."""
    for lag, time in places:
        group, at = (cube.EARLIER, (time[0] + cube.BEFORE,)) if is_earlier(time) else (FINE, time)
        for name, values in features.items():
            lagged = cube.lagged(name, lag)
            storage.write_region(workspace.cube, group, lagged, values.astype("float32"), (*at, *tile.fine))


def is_earlier(time: tuple[int, ...]) -> bool:
    """Whether a place in time lies before the cube's first month."""
    return bool(time) and time[0] < 0


def means(features: Features, ratio: int) -> Arrays:
    """Block means of features, and the smallest share of each block that is valid."""
    block_means = {name: kernels.block_mean(values, ratio) for name, values in features.items()}
    means = {name: mean.astype("float32") for name, (mean, _) in block_means.items()}
    return means | {SHARE: np.min([share for _, share in block_means.values()], axis=0).astype("float32")}


@contextmanager
def blank_on_failure(write: Callable[[], None]) -> Iterator[None]:
    """Leave a unit missing, not as an earlier run left it, when its input cannot be used."""
    try:
        yield
    # These say nothing of the input: the unit is tried again, and what stands stays.
    except (ServiceError, IncompleteError):
        raise
    except Exception:
        write()
        raise


def _blank(source: Source, tile: Tile) -> Features:
    return dict.fromkeys(cube.feature_names(source), np.full(shape(tile.fine), np.nan))


def shape(part: tuple[slice, slice]) -> tuple[int, int]:
    """Rows and columns of a part of a grid."""
    return part[0].stop - part[0].start, part[1].stop - part[1].start
