"""Tables that units write in parts and a stage puts together."""

from __future__ import annotations

from collections.abc import Sequence

from soilscale import storage
from soilscale.engine.output import digest
from soilscale.engine.units import Task, Unit
from soilscale.stages.project import Project
from soilscale.storage import tables


def is_joined(run: Project, work: Sequence[Unit[Task]], url: str) -> bool:
    """Whether a table was put together from these units, and what is written with it too."""
    marker = joined(run, work[0].stage)
    return storage.exists(url) and storage.exists(marker) and storage.read_json(marker) == _origin(work)


def join(run: Project, work: Sequence[Unit[Task]], url: str) -> None:
    """Write the tables of units as one."""
    storage.remove(joined(run, work[0].stage))
    tables.put_together([run.workspace.state(unit.stage, f"{unit.name}.parquet") for unit in work], url)


def mark_joined(run: Project, work: Sequence[Unit[Task]]) -> None:
    """Note which units a table was put together from, once all that goes with it is written."""
    storage.write_json(joined(run, work[0].stage), _origin(work))


def joined(run: Project, stage: str) -> str:
    """Marker of a table that was put together, beside its units' own."""
    return run.workspace.state(f"{stage}-joined.json")


def _origin(work: Sequence[Unit[Task]]) -> str:
    return digest([unit.marker for unit in work])
