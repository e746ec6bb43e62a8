"""What markers say was written, held against what stands: another writer's objects are found, and nothing else is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from calls import Call, calling
from soilscale import storage
from soilscale.engine import lease, units
from soilscale.engine.output import Workspace
from soilscale.engine.units import Unit
from soilscale.runs import repair, verification
from soilscale.runs.verification import Spoilt
from soilscale.stages import inventory, joint_fits, samples
from soilscale.tasks import joint_learning

PLACE = "cube.zarr/fine/ndvi/c/2/0"

NOTHING = Spoilt({}, [], [])


def keep(workspace: Workspace, name: str, content: bytes) -> None:
    storage.write_bytes(storage.join(workspace.output, name), content)


def unit(name: str, content: bytes, digest: str = "0" * 16) -> Unit[Call]:
    return calling("cube", name, digest, keep, f"cube.zarr/fine/ndvi/c/{name}/0", content)


def marker(name: str, digest: str = "0" * 16) -> str:
    return f"state/cube/{name}.{digest}.json"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Output of which two units were done by a run that was killed."""
    workspace = Workspace(str(tmp_path / "run"), 1)
    storage.write_json(workspace.state(lease.TERMS, "000001.json"), {})
    units.perform(workspace, [unit("0", b"first"), unit("1", b"second")])
    return workspace


def spoilt(workspace: Workspace, *, begun: bool = False) -> Spoilt:
    """What a run finds that begins."""
    with storage.fenced(partial(lease.prove, workspace)):
        return verification.spoilt(workspace, inventory.take(workspace), begun=begun)


def test_what_stands_as_it_was_written_is_not_even_read(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(storage, "checksum")
    assert spoilt(workspace) == NOTHING


def test_a_copy_is_read_and_found_to_be_the_same(workspace: Workspace, tmp_path: Path) -> None:
    shutil.copytree(workspace.output, tmp_path / "copy", copy_function=shutil.copyfile)
    assert spoilt(Workspace(str(tmp_path / "copy"), 1)) == NOTHING


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"other"),
        lambda path: path.write_bytes(b"of another size"),
        lambda path: path.unlink(),
    ],
    ids=["content", "size", "lost"],
)
def test_what_another_writer_replaced_is_told_by_the_marker(
    workspace: Workspace, spoil: Callable[[Path], object]
) -> None:
    name = "cube.zarr/fine/ndvi/c/0/0"
    path = Path(workspace.output, name)
    spoil(path)
    if path.exists():
        os.utime(path, ns=(1, 1))
    assert spoilt(workspace) == Spoilt({marker("0"): [name]}, [], [])


def test_of_two_markers_that_of_the_later_term_counts(workspace: Workspace) -> None:
    later = Workspace(workspace.output, 2)
    storage.write_json(workspace.state(lease.TERMS, "000002.json"), {})
    units.perform(later, [unit("0", b"other", "1" * 16)])
    assert spoilt(later) == NOTHING, "what was written last stands"
    keep(workspace, "cube.zarr/fine/ndvi/c/0/0", b"first")
    assert spoilt(later) == Spoilt({marker("0", "1" * 16): ["cube.zarr/fine/ndvi/c/0/0"]}, [], [])


def test_markers_that_a_complete_run_left_are_not_read_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory.write(workspace, inventory.take(workspace))
    monkeypatch.delattr(storage, "read_many")
    assert spoilt(workspace) == NOTHING


def test_what_a_run_removed_itself_is_not_looked_for(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    inventory.write(workspace, inventory.take(workspace))
    with storage.fenced(partial(lease.prove, workspace)):
        folder = storage.join(workspace.output, "cube.zarr", "fine")
        storage.remove(folder, storage.names_below(folder))
        monkeypatch.delattr(storage, "read_many")
        assert verification.spoilt(workspace, inventory.take(workspace), begun=True) == NOTHING


def test_a_run_knows_what_it_wrote_itself_and_what_its_workers_did(workspace: Workspace) -> None:
    with storage.fenced(partial(lease.prove, workspace)):
        keep(workspace, "samples.parquet", b"table")
        keep(workspace, "passing.json", b"{}")
        storage.remove(storage.join(workspace.output, "passing.json"))
        units.enter(workspace, units.perform(workspace, [unit("2", b"third")]))
        assert verification.spoilt(workspace, inventory.take(workspace), begun=True) == NOTHING
        for name in ("samples.parquet", "cube.zarr/fine/ndvi/c/2/0"):
            Path(workspace.output, name).write_bytes(b"late!")
            os.utime(Path(workspace.output, name), ns=(1, 1))
        assert verification.spoilt(workspace, inventory.take(workspace), begun=True) == Spoilt(
            {marker("2"): ["cube.zarr/fine/ndvi/c/2/0"]}, ["samples.parquet"], []
        )


def test_a_marker_of_an_earlier_version_or_one_that_is_damaged_says_nothing(workspace: Workspace) -> None:
    storage.write_json(storage.join(workspace.output, marker("0")), {"outcome": "done"})
    storage.write_bytes(storage.join(workspace.output, marker("1")), b"{")
    Path(workspace.output, "cube.zarr/fine/ndvi/c/0/0").unlink()
    assert spoilt(workspace) == NOTHING


@pytest.fixture
def late(workspace: Workspace) -> Workspace:
    """Output of a complete run of term 2, of which a late one has replaced a region, and left a marker that fits it."""
    storage.write_json(workspace.state(lease.TERMS, "000002.json"), {})
    units.perform(Workspace(workspace.output, 2), [unit("2", b"right")])
    inventory.write(workspace, inventory.take(workspace))
    storage.write_json(workspace.state(inventory.SEAL), {"term": 2})
    keep(workspace, PLACE, b"wrong")
    wrote = {PLACE: {"size": 5, "checksum": storage.checksum(storage.join(workspace.output, PLACE)), "stamp": ""}}
    storage.write_json(storage.join(workspace.output, marker("2", "1" * 16)), {"term": 1, "wrote": wrote})
    storage.write_json(workspace.state(lease.TERMS, "000003.json"), {})
    return Workspace(workspace.output, 3)


def test_a_marker_that_came_after_the_seal_under_a_term_before_it_is_late(late: Workspace) -> None:
    """What else is altered the inventory tells, for no other marker has come."""
    assert spoilt(late) == Spoilt({}, [], [marker("2", "1" * 16)])


def test_what_a_late_writer_replaced_is_found_where_a_later_run_was_at_work_too(late: Workspace) -> None:
    units.perform(late, [unit("3", b"third")])
    assert spoilt(late) == Spoilt({marker("2"): [PLACE]}, [], [marker("2", "1" * 16)])


def test_what_a_late_writer_replaced_during_a_run_is_found_at_its_end(late: Workspace) -> None:
    assert spoilt(late, begun=True) == Spoilt({marker("2"): [PLACE]}, [], [marker("2", "1" * 16)])


def test_what_joint_fits_rest_on_is_made_again_after_the_samples_and_before_the_fits() -> None:
    order = repair._order()  # noqa: SLF001 - what `verify` makes again
    places = [order.index(stage) for stage in (samples.SAMPLES, joint_learning.KNOTS, *joint_fits.JOINT, samples.TRAIN)]
    assert places == sorted(places)
