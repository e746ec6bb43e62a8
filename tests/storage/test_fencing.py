"""Fences: nothing is written or removed once the term of a lease has ended, on a folder and on a real object store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from calls import calling
from servers.clouds import Emulator
from soilscale import storage
from soilscale.engine import lease, units
from soilscale.engine.output import Workspace
from soilscale.errors import IncompleteError
from soilscale.storage import puts

VALUES = np.arange(16, dtype="float32").reshape(4, 4)
REGION = (0, slice(0, 4), slice(0, 4))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(str(tmp_path / "run"))


def begin(workspace: Workspace, term: int) -> Workspace:
    """Begin a term, as a run does that takes the lease."""
    storage.write_json(workspace.state(lease.TERMS, f"{term:06}.json"), {})
    return Workspace(workspace.output, term)


def template(months: int = 1) -> xr.Dataset:
    lazy = da.full((months, 4, 4), np.float32("nan"), dtype="float32", chunks=(1, 4, 4))
    variable = xr.Variable(("time", "y", "x"), lazy, None, {"_FillValue": np.float32("nan"), "chunks": (1, 4, 4)})
    return xr.Dataset({"ndvi": variable}, {"time": np.arange(float(months))})


def lay(workspace: Workspace) -> None:
    storage.create(workspace.cube, "fine", template())


WRITES: dict[str, Callable[[Workspace], None]] = {
    "an object": lambda there: storage.write_bytes(there.samples, b"late"),
    "a new object": lambda there: storage.write_new(there.published("catalog.json"), b"late") and None,
    "a JSON object": lambda there: storage.write_json(there.state("cube", "a.json"), {}),
    "a region": lambda there: storage.write_region(there.cube, "fine", "ndvi", VALUES, REGION),
    "metadata": lay,
    "months more": lambda there: storage.grow(there.cube, "fine", template(2)),
    "a removal": lambda there: storage.remove(f"{there.cube}/fine/zarr.json"),
    "a removal of some": lambda there: storage.remove(there.cube, ["fine/zarr.json"]),
}
"""All ways in which something is written or removed below an output."""


def contents(workspace: Workspace) -> dict[str, bytes]:
    return storage.read_many(workspace.output, storage.names_below(workspace.output))


@pytest.mark.parametrize("write", WRITES)
def test_nothing_is_written_or_removed_on_a_folder_once_the_term_has_ended(workspace: Workspace, write: str) -> None:
    held = begin(workspace, 1)
    lay(workspace)
    with storage.fenced(partial(lease.prove, held)):
        begin(workspace, 2)
        before = contents(workspace)
        with pytest.raises(IncompleteError, match=r"the lease of this run \(term 1\)"):
            WRITES[write](workspace)
    assert contents(workspace) == before, "no draft stays either"


def test_a_file_is_not_copied_once_the_term_has_ended(workspace: Workspace, tmp_path: Path) -> None:
    held, path = begin(workspace, 1), tmp_path / "map.tif"
    path.write_bytes(b"late")
    with storage.fenced(partial(lease.prove, held)):
        begin(workspace, 2)
        with pytest.raises(IncompleteError):
            storage.write_file(workspace.published("map.tif"), path)
    assert storage.names_below(workspace.published()) == []


def test_a_fence_is_of_its_context_and_another_thread_writes_on(workspace: Workspace) -> None:
    held = begin(workspace, 1)
    with storage.fenced(partial(lease.prove, held)):
        begin(workspace, 2)
        thread = threading.Thread(target=storage.write_bytes, args=(workspace.samples, b"of a later run"))
        thread.start()
        thread.join()
    assert storage.read_bytes(workspace.samples) == b"of a later run"


def test_an_old_term_that_comes_back_proves_nothing(workspace: Workspace) -> None:
    held = begin(workspace, 1)
    begin(workspace, 2)
    storage.remove(workspace.state(lease.TERMS), ["000001.json"])
    begin(workspace, 1)  # its holder renews it, too late
    with pytest.raises(IncompleteError):
        lease.prove(held)


# Units


def write_twice(workspace: Workspace, between: Callable[[Workspace], object]) -> None:
    storage.write_region(workspace.cube, "fine", "ndvi", VALUES, REGION)
    between(workspace)
    storage.write_bytes(workspace.samples, b"late")


def fail_later(workspace: Workspace) -> None:
    begin(workspace, 2)
    raise ValueError("holds nothing")


def test_a_marker_states_term_size_and_checksum_of_what_its_unit_wrote(workspace: Workspace) -> None:
    lay(workspace)
    held = begin(workspace, 7)
    (receipt,) = units.perform(held, [calling("cube", "a", "0" * 16, write_twice, lambda _: None)])
    marker = storage.read_json(workspace.state("cube", f"a.{'0' * 16}.json"))
    assert marker["term"] == 7
    assert set(marker["wrote"]) == {"cube.zarr/fine/ndvi/c/0/0/0", "samples.parquet"}
    for name, written in marker["wrote"].items():
        url = storage.join(workspace.output, name)
        assert written["size"] == len(storage.read_bytes(url))
        assert written["checksum"] == storage.checksum(url)
        assert written["stamp"] == storage.stamp(url)
    assert set(receipt.wrote) == {*marker["wrote"], f"state/cube/a.{'0' * 16}.json"}


def test_a_unit_is_neither_gone_on_with_nor_marked_once_its_run_has_lost_the_lease(workspace: Workspace) -> None:
    lay(workspace)
    held = begin(workspace, 1)
    with pytest.raises(IncompleteError):
        units.perform(held, [calling("cube", "a", "0" * 16, write_twice, lambda there: begin(there, 2))])
    assert units.markers(workspace, "cube") == set()
    assert storage.names_below(workspace.output) == [
        *(f"cube.zarr/{name}" for name in storage.names_below(workspace.cube)),
        *("state/lease/000001.json", "state/lease/000002.json"),
    ]


def test_a_unit_that_fails_after_its_run_has_lost_the_lease_is_not_marked_as_failed(workspace: Workspace) -> None:
    held = begin(workspace, 1)
    with pytest.raises(IncompleteError):
        units.perform(held, [calling("cube", "a", "0" * 16, fail_later)])
    assert units.failures(workspace) == []


# Object storage


@pytest.fixture
def bucket(anywhere: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    anywhere.faults.heal()
    monkeypatch.setattr(lease, "PROOF", 0.0)
    workspace = Workspace(f"{anywhere.home}/fenced")
    storage.remove(workspace.output, storage.names_below(workspace.output))
    yield workspace
    anywhere.faults.heal()


@pytest.mark.server
@pytest.mark.parametrize("write", WRITES)
def test_nothing_is_written_or_removed_in_a_bucket_once_the_term_has_ended(bucket: Workspace, write: str) -> None:
    held = begin(bucket, 1)
    lay(bucket)
    with storage.fenced(partial(lease.prove, held)):
        begin(bucket, 2)
        before = contents(bucket)
        with pytest.raises(IncompleteError, match=r"the lease of this run \(term 1\)"):
            WRITES[write](bucket)
    assert contents(bucket) == before


@pytest.mark.server
@pytest.mark.parametrize("write", ["an object", "a region", "a large object"])
def test_what_a_later_run_wrote_between_proof_and_write_is_not_replaced(bucket: Workspace, write: str) -> None:
    """The writer is suspended right after its proof, and goes on when the other has written the same object."""
    large = b"late" * (puts.WHOLE // 4)
    writes = WRITES | {"a large object": lambda there: storage.write_bytes(there.samples, large)}
    lay(bucket)
    held, suspended = begin(bucket, 1), []
    url = f"{bucket.cube}/fine/ndvi/c/0/0/0" if write == "a region" else bucket.samples
    thread = threading.Thread(target=storage.write_bytes, args=(url, b"of the later run"))

    def prove(afresh: bool) -> None:
        lease.prove(held, afresh)
        if not suspended:
            suspended.append(afresh)
            begin(bucket, 2)
            # In a thread of its own, which this fence does not hold.
            thread.start()
            thread.join()

    with storage.fenced(prove), pytest.raises(IncompleteError):
        writes[write](bucket)
    assert storage.read_bytes(url) == b"of the later run"


@pytest.mark.server
def test_new_objects_cost_no_further_request_and_others_are_replaced(
    bucket: Workspace, anywhere: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "PROOF", 600.0)
    held = begin(bucket, 1)
    with storage.fenced(partial(lease.prove, held)) as fence:
        lease.prove(held)
        anywhere.faults.heal()
        for number in range(5):
            storage.write_bytes(bucket.state("cube", f"{number}.json"), b"new")
        assert anywhere.faults.requests == {"POST" if anywhere.home.startswith("gs") else "PUT": 5}
        storage.write_bytes(bucket.state("cube", "0.json"), b"other")
    assert storage.read_bytes(bucket.state("cube", "0.json")) == b"other"
    assert {name: one.stamp for name, one in fence.below(bucket.output).items()} == {
        f"state/cube/{number}.json": storage.stamp(bucket.state("cube", f"{number}.json")) for number in range(5)
    }
