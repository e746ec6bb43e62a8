"""How much of a file is read, where a grid's cells lie in it, and that reading ahead changes nothing."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.files import Files, serve
from soilscale.cube import mesh, read_month, select
from soilscale.cube.ahead import READERS, ahead, reads_ahead, turn
from soilscale.cube.windows import SPARE, strips
from soilscale.sources import QualityRule
from worlds import MODIS_1KM, SINUSOIDAL, around, box, cover, reading, scene, write

JANUARY = np.datetime64("2005-01")


# --- what is needed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [(106.0, 36.0), (-60.0, -20.0), (0.1, 0.1)])
@pytest.mark.parametrize("crs", ["EPSG:6933", "EPSG:4326"])
def test_every_pixel_that_a_cell_lies_in_is_needed(place: tuple[float, float], crs: str) -> None:
    geobox = around(*place, crs, 1000 if crs == "EPSG:6933" else 0.01, 150)
    (part,) = cover(geobox, SINUSOIDAL, MODIS_1KM)
    wkt = part.crs.to_wkt()
    found = mesh.needed(geobox, wkt, part.transform, (0, 0), tuple(part.shape))
    assert found is not None
    rows, columns = geobox.shape
    x, y = geobox.transform @ np.meshgrid(np.arange(columns + 1), np.arange(rows + 1))
    column, row = ~part.transform @ mesh.transformer(str(geobox.crs), wkt).transform(x, y)
    row, column = np.floor(row).astype(int), np.floor(column).astype(int)
    assert (found[row, 0] <= column).all()
    assert (column < found[row, 1]).all()
    assert np.diff(found).sum() < 1.3 * np.ptp(found) * part.shape[0]


@pytest.mark.parametrize(
    ("crs", "longitude"), [("+proj=ortho +lat_0=0 +lon_0=0", 88.0), ("EPSG:4326", 179.8)], ids=["edge", "leap"]
)
def test_what_is_needed_is_not_known_beyond_the_edge_of_a_map(crs: str, longitude: float) -> None:
    geobox = box("EPSG:32660" if crs == "EPSG:4326" else "EPSG:4326", longitude, 5, 0.1, (100, 100))
    if crs == "EPSG:4326":
        geobox = around(longitude, 5.0, "EPSG:32660", 1000, 100)
    side = 0.01 if crs == "EPSG:4326" else 1000
    assert mesh.needed(geobox, crs, box(crs, 0, 0, side, (9, 9)).transform, (0, 0), (9, 9)) is None


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
    seen: set[bool] = set()

    def work(job: int) -> int:
        met.wait(timeout=30)
        with turn():
            seen.add(reads_ahead())
        return job * job

    jobs = range(3 * READERS)
    assert list(ahead(work, jobs, distant=True)) == [(job, job * job) for job in jobs]
    assert seen == {True}
    assert not reads_ahead()


@pytest.mark.parametrize("distant", [True, False])
def test_a_job_that_fails_says_so(*, distant: bool) -> None:
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


@pytest.mark.server
def test_a_month_over_http_is_that_of_the_disk(files: Files, tmp_path: Path) -> None:
    grid = box("EPSG:4326", 5.0, 48.0, 0.01, (40, 60))
    rng = np.random.default_rng(0)
    near, far = [], []
    for number in range(12):
        start = np.datetime64("2005-01-01", "s") + np.timedelta64(2 * number, "D")
        names = f"{number}.tif", f"{number}-quality.tif"
        for name, most in zip(names, (1000, 4), strict=True):
            path = write(tmp_path / name, rng.integers(0, most, (40, 60)).astype("uint16"), grid, nodata=0)
            files.contents[name] = path.read_bytes()
        told: dict[str, Any] = {"start": start, "end": start + np.timedelta64(2, "D")}
        near.append(scene(tmp_path / names[0], quality=tmp_path / names[1], **told))
        data, quality = (files.href(name) for name in names)
        far.append(scene(data, bbox=near[-1].bbox, quality=quality, **told))
    masked = reading(quality=QualityRule("quality", (0, 1), (0, 1)))
    found, expected = (read_month(masked, select(some, JANUARY), grid, JANUARY)["field"] for some in (far, near))
    np.testing.assert_array_equal(found, expected)
    opened = [name for name, wanted in files.ranges if wanted and wanted.startswith("bytes=0-")]
    assert len(opened) == len(set(opened)) == 24, "each file's header is asked for once"
