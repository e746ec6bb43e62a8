"""Paths of the products below the output."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from functools import cached_property
from typing import Any

from soilscale import storage
from soilscale.errors import DataError


@dataclass(frozen=True)
class Workspace:
    """The output of one configuration.

    Examples
    --------
    >>> Workspace("s3://bucket/moselle").model("winter", "random_forest", "model.json")
    's3://bucket/moselle/models/winter/random_forest/model.json'
    """

    output: str
    term: int | None = None
    """Term of the lease by which it is written to; None where it is only read."""
    snapshot: frozenset[str] | None = field(default=None, compare=False, repr=False)
    """Names below `state/` as they were once listed, for a command that only reads; None: they are listed each time."""

    def listed(self) -> Workspace:
        """The same output with a snapshot of its records: `status` needs those of every stage."""
        return replace(self, snapshot=frozenset(storage.names_below(self.state(), by_folder=True)))

    def records(self, *parts: str) -> Collection[str]:
        """Names of the records below `state/`, or a folder of it, relative to that."""
        if self.snapshot is None:
            return storage.names_below(self.state(*parts), by_folder=True)
        if not parts:
            return self.snapshot
        folder = "".join(f"{part}/" for part in parts)
        names = self._by_stage[folder.partition("/")[0]]
        return [name.removeprefix(folder) for name in names if name.startswith(folder)]

    @cached_property
    def _by_stage(self) -> defaultdict[str, list[str]]:
        """Names of the snapshot by their first folder: a nation has a million, and a stage is asked for by its name."""
        names: defaultdict[str, list[str]] = defaultdict(list)
        for name in self.snapshot or ():
            names[name.partition("/")[0]].append(name)
        return names

    def lacks(self, noun: str, command: str) -> DataError:
        """Error of a reader who meets no product of a kind.

        Parameters
        ----------
        noun
            The product, such as ``maps``.
        command
            Command that makes it.
        """
        return DataError(
            f"{storage.shown(self.output)} has no {noun} yet; run `soilscale {command}` or `soilscale run` with the "
            "configuration of this output (`soilscale status` shows its progress)"
        )

    def items(self, source: str) -> str:
        """Frozen items of a source."""
        return storage.join(self.output, "items", f"{source}.json")

    @property
    def audit(self) -> str:
        """Audit of the frozen items; no source has a name with a full stop."""
        return storage.join(self.output, "items", "inputs.audit.json")

    @property
    def resolved(self) -> str:
        """Resolved configuration, its hash and the versions of packages."""
        return storage.join(self.output, "run.yaml")

    @property
    def cube(self) -> str:
        """The cube, with its groups fine, coarse and fraction."""
        return storage.join(self.output, "cube.zarr")

    @property
    def samples(self) -> str:
        """The training table."""
        return storage.join(self.output, "samples.parquet")

    @property
    def predictions(self) -> str:
        """Predictions of rows that a model did not learn from."""
        return storage.join(self.output, "predictions.parquet")

    @property
    def maps(self) -> str:
        """The maps, with their groups month, season and coarse."""
        return storage.join(self.output, "maps.zarr")

    def model(self, season: str, algorithm: str, *name: str) -> str:
        """Folder of a fitted model, or a part of it: ``model.skops``, ``model.json`` or ``trees.npz``."""
        return storage.join(self.output, "models", season, algorithm, *name)

    def published(self, *parts: str) -> str:
        """COGs and STAC documents of the maps."""
        return storage.join(self.output, "maps", *parts)

    def report(self, name: str) -> str:
        """File of the report."""
        return storage.join(self.output, "report", name)

    def state(self, *parts: str) -> str:
        """Markers of complete and failed units, and parts that are put together later."""
        return storage.join(self.output, "state", *parts)


def digest(*parts: object) -> str:
    """Short SHA-256 of plain data, the same in every process and on every machine.

    Examples
    --------
    The same in every process and on every machine:

    >>> digest("lst", [1, 2]) == digest("lst", (1, 2))
    True
    """
    text = json.dumps(parts, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)
