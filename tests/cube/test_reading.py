"""How much of a file is read, where a grid's cells lie in it, and that reading ahead changes nothing."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from servers.files import Files, serve
from soilscale import extents
from soilscale.cube import assets, mesh, read_month, select, warping
from soilscale.cube.prefetch import READERS, ahead, next_ahead, turn
from soilscale.cube.windows import SPARE, strips
from soilscale.sources import QualityRule
from worlds import MODIS_1KM, SINUSOIDAL, around, box, cover, reading, scene, write

GRID = box("EPSG:4326", 5.0, 48.0, 0.01, (40, 60))
JANUARY = np.datetime64("2005-01")


# --- what is needed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [(106.0, 36.0), (-60.0, -20.0), (0.1, 0.1)])
@pytest.mark.parametrize("crs", ["EPSG:6933", "EPSG:4326"])
def test_every_pixel_that_a_cell_lies_in_is_needed(place: tuple[float, float], crs: str) -> None:
    geobox = around(*place, crs, 1000 if crs == "EPSG:6933" else 0.01, 150)
    (part,) = cover(geobox, SINUSOIDAL, MODIS_1KM)
    wkt = part.crs.to_wkt()
    found = mesh.needed(geobox, wkt, part.transform, part.boundingbox.bbox[0], (0, 0), tuple(part.shape))
    assert found is not None
    rows, columns = geobox.shape
    x, y = geobox.transform @ np.meshgrid(np.arange(columns + 1), np.arange(rows + 1))
    column, row = ~part.transform @ extents.transformer(str(geobox.crs), wkt).transform(x, y)
    row, column = np.floor(row).astype(int), np.floor(column).astype(int)
    assert (found[row, 0] <= column).all()
    assert (column < found[row, 1]).all()
    assert np.diff(found).sum() < 1.3 * np.ptp(found) * part.shape[0]


def test_what_is_needed_is_not_known_beyond_the_edge_of_a_map() -> None:
    crs, geobox = "+proj=ortho +lat_0=0 +lon_0=0", box("EPSG:4326", 88.0, 5, 0.1, (100, 100))
    assert mesh.needed(geobox, crs, box(crs, 0, 0, 1000, (9, 9)).transform, 0.0, (0, 0), (9, 9)) is None


@pytest.mark.parametrize("left", [-180.0, 0.0])
def test_a_grid_across_the_seam_of_a_file_needs_few_columns_of_it(left: float) -> None:
    """From 32660 the longitudes leap at 180 degrees; they are counted on, whichever way the file counts."""
    geobox = around(179.8, 5.0, "EPSG:32660", 1000, 100)
    file = box("EPSG:4326", left, 90.0, 0.01, (18_000, 36_000))
    header = assets.Header(CRS.from_epsg(4326), file.transform, tuple(file.shape), None, 1.0, 0.0, None)
    found = warping.bounds_on(geobox, header)
    assert found is not None
    assert found[0] < 179.8 < found[2] if left == 0 else found[0] < -180.2 < found[2] or found[0] < 179.8 < found[2]
    assert found[2] - found[0] < 1.1


@given(
    rows=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 900)), min_size=1, max_size=60),
    first=st.integers(0, 100),
    block=st.tuples(st.sampled_from([1, 16, 64]), st.sampled_from([16, 64, 1000])),
)
@settings(max_examples=200, deadline=None)
def test_strips_hold_what_is_wanted_and_few_blocks_more(
    rows: list[tuple[int, int]], first: int, block: tuple[int, int]
) -> None:
    wanted = np.array([(min(pair), max(pair)) for pair in rows])
    found = strips(wanted, first, block)
    held = np.zeros((first + len(rows), 1000), bool)
    for part in found:
        assert not held[part].any(), "no pixel is read twice"
        held[part] = True
    for row, (left, right) in enumerate(wanted, first):
        assert held[row, left:right].all()
    if len(found) == 1 and block == (64, 64):
        ((top, bottom), (left, right)) = ((part.start, part.stop) for part in found[0])
        blocks = (-(-bottom // 64) - top // 64) * (-(-right // 64) - left // 64)
        needed = 0
        for high in range(top // 64, -(-bottom // 64)):
            some = [pair for row, pair in enumerate(wanted.tolist(), first) if row // 64 == high and pair[0] < pair[1]]
            needed += -(-max(pair[1] for pair in some) // 64) - min(pair[0] for pair in some) // 64 if some else 0
        assert blocks <= SPARE * needed + 1e-9


# --- reading ahead ------------------------------------------------------------------------------------------------


def test_jobs_come_in_order_and_so_many_at_once() -> None:
    met = threading.Barrier(READERS)
    busy: list[int] = []

    def work(job: int) -> int:
        met.wait(timeout=30)
        with turn():
            busy.append(job)
            time.sleep(0.001)
            assert busy == [job], "one at a time works"
            busy.clear()
        return job * job

    jobs = range(3 * READERS)
    assert list(ahead(work, jobs, distant=True)) == [(job, job * job) for job in jobs]


def test_the_next_job_is_under_way_and_no_other() -> None:
    begun: list[int] = []

    def work(job: int) -> int:
        begun.append(job)
        return job * job

    for job, found in next_ahead(work, range(5), distant=True):
        time.sleep(0.05)
        assert found == job * job
        assert begun == list(range(min(job + 2, 5)))


def test_what_reads_for_another_has_no_next_job_under_way() -> None:
    def threads(_: int) -> set[str]:
        found = next_ahead(lambda _: threading.current_thread().name, range(5), distant=True)
        return {name for _, name in found} | {threading.current_thread().name}

    assert [len(names) for _, names in ahead(threads, range(4), distant=True)] == [1] * 4
    assert len(threads(0)) > 1


@pytest.mark.parametrize("ahead", [ahead, next_ahead])
@pytest.mark.parametrize("distant", [True, False])
def test_a_job_that_fails_says_so(ahead: Any, *, distant: bool) -> None:
    def work(job: int) -> int:
        if job == 3:
            raise ValueError("job 3")
        return job

    with pytest.raises(ValueError, match="job 3"):
        list(ahead(work, range(50), distant=distant))


@pytest.fixture
def files() -> Any:
    with serve() as found:
        yield found


def test_what_fails_leaves_nothing_under_way() -> None:
    begun: list[int] = []
    ended: list[int] = []

    def work(job: int) -> int:
        begun.append(job)
        time.sleep(0.01)
        ended.append(job)
        return 1 // job

    with pytest.raises(ZeroDivisionError):
        list(ahead(work, range(50), distant=True))
    assert sorted(begun) == sorted(ended)
    assert len(begun) < 2 * READERS


def test_threads_that_read_serve_again_and_end_with_the_one_they_work_for() -> None:
    def names() -> set[str]:
        return {name for _, name in ahead(lambda _: threading.current_thread().name, range(100), distant=True)}

    seen: list[set[str]] = []
    other = threading.Thread(target=lambda: seen.extend([names(), names()]))
    before = threading.active_count()
    other.start()
    other.join()
    assert len(seen[0] | seen[1]) <= READERS
    for _ in range(1000):
        if threading.active_count() <= before:
            return
        time.sleep(0.01)
    pytest.fail(f"{threading.active_count() - before} threads outlive the one that they read for")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_reads_ahead_with_threads_of_its_own() -> None:
    """In a process of its own, since to fork one that has threads is not sound in general."""
    script = """
import os, signal
from soilscale.cube.prefetch import ahead
read = lambda: [found for _, found in ahead(lambda job: job + 1, range(3), distant=True)]
assert read() == [1, 2, 3]
child = os.fork()
signal.alarm(30)
if not child:
    os._exit(0 if read() == [1, 2, 3] else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=60)


def composites(files: Files, folder: Path, count: int) -> tuple[list[Any], list[Any]]:
    """Scenes of two days with flags, from the new year on, as they lie on the disk and on the server."""
    rng = np.random.default_rng(0)
    near, far = [], []
    for number in range(count):
        start = np.datetime64("2005-01-01", "s") + np.timedelta64(2 * number, "D")
        names = f"{number}.tif", f"{number}-quality.tif"
        for name, most in zip(names, (1000, 4), strict=True):
            path = write(folder / name, rng.integers(0, most, GRID.shape).astype("uint16"), GRID, nodata=0)
            files.contents[name] = path.read_bytes()
        told: dict[str, Any] = {"start": start, "end": start + np.timedelta64(2, "D")}
        near.append(scene(folder / names[0], quality=folder / names[1], **told))
        data, quality = (files.href(name) for name in names)
        far.append(scene(data, bbox=near[-1].bbox, quality=quality, **told))
    return near, far


def month_of(scenes: list[Any]) -> Any:
    masked = reading(quality=(QualityRule("quality", (0, 1), (0, 1)),))
    return read_month(masked, select(scenes, JANUARY), GRID, JANUARY)["field"]


@pytest.mark.server
def test_a_month_over_http_is_that_of_the_disk(files: Files, tmp_path: Path) -> None:
    near, far = composites(files, tmp_path, 12)
    np.testing.assert_array_equal(month_of(far), month_of(near))
    opened = [name for name, wanted in files.ranges if wanted and wanted.startswith("bytes=0-")]
    masks = [name for name in opened if name.endswith(".msk")]
    assert len(opened) - len(masks) == len(set(opened) - set(masks)) == 24, "each file's header is asked for once"
    assert len(set(masks)) == 1, "one mask is asked for, and there is none"


@pytest.mark.server
def test_connections_are_few_and_used_again(files: Files, tmp_path: Path) -> None:
    _, far = composites(files, tmp_path, 12)
    month_of(far[:6])
    month_of(far[6:])
    assert len({name for name, _ in files.ranges if not name.endswith(".msk")}) == 24
    assert len(files.connections) <= READERS + 1, "and one more asks for a mask"


@pytest.mark.server
def test_flags_that_no_cell_needs_may_be_missing(files: Files, tmp_path: Path) -> None:
    """Flags of a tile beside the grid are asked for with its data, before it is known that it holds no cell."""
    near, far = composites(files, tmp_path, 1)
    path = write(tmp_path / "beside.tif", np.ones((40, 60), "uint16"), box("EPSG:4326", 6.0, 48.0, 0.01, (40, 60)))
    files.contents["beside.tif"] = path.read_bytes()
    told = {"start": far[0].start, "end": far[0].end}
    beside = scene(files.href("beside.tif"), bbox=(6.0, 47.6, 6.6, 48.0), quality=files.href("none.tif"), **told)
    np.testing.assert_array_equal(month_of([*far, beside]), month_of(near))
