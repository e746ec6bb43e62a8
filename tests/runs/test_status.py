"""`status` reads what stands, and asks the store for as little as that takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from soilscale import config, storage
from soilscale.engine.output import Workspace
from soilscale.runs.status import status
from soilscale.stages import completeness


def test_a_snapshot_has_the_records_of_each_folder(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    for name in ("layout.json", "cube/lst/2005-01.json", "cube/ndvi/2005-01.json", "cubes/x.json"):
        storage.write_json(workspace.state(name), {})
    listed = workspace.listed()
    storage.write_json(workspace.state("cube/late.json"), {})
    for folder in ((), ("cube",), ("cube", "lst"), ("nothing",)):
        before = {name for name in workspace.records(*folder) if "late" not in name}
        assert set(listed.records(*folder)) == before, folder
    assert set(listed.records("cube")) == {"lst/2005-01.json", "ndvi/2005-01.json"}
    assert listed == workspace


@pytest.mark.slow
def test_status_lists_the_records_once_reads_the_failed_once_and_works_out_the_cube_once(
    undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: Counter[str] = Counter()
    states: list[object] = []
    reads: list[str] = []
    names_below, state, read_many = storage.objects.names_below, completeness.state, storage.objects.read_many

    def listing(url: str, *, by_folder: bool = False) -> list[str]:
        listed[url.partition("/run/")[2].partition("/")[0]] += 1
        return names_below(url, by_folder=by_folder)

    def standing(*arguments: object) -> object:
        states.append(arguments)
        return state(*arguments)  # type: ignore[arg-type]

    def reading(url: str, names: Sequence[str]) -> dict[str, bytes]:
        reads.append(url)
        return read_many(url, names)

    monkeypatch.setattr("soilscale.engine.output.storage.names_below", listing)
    monkeypatch.setattr("soilscale.engine.units.storage.read_many", reading)
    monkeypatch.setattr(completeness, "state", standing)
    result = status(config.load(str(undisturbed)))
    assert {stage.name: stage.done for stage in result.stages}["report"] == 1
    assert listed["state"] == 1
    assert sum(listed.values()) <= 3
    assert len(states) == 1
    assert len(reads) == 1
