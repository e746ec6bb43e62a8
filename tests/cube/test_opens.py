"""What the cube reads of its files: each opened once for a date, each date once for two months, no more than needed."""

import pickle
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.testing import assert_array_equal

from servers.files import Files, serve
from soilscale import kernels
from soilscale.cube import layers, months, mosaics, opening, read_month, select, windows
from soilscale.cube.assets import header
from soilscale.cube.opening import kept_open
from soilscale.sources import QualityRule
from worlds import box, reading, scene, write

GRID = box("EPSG:4326", 5.0, 48.0, 0.01, (40, 60))
JANUARY, FEBRUARY = np.datetime64("2005-01"), np.datetime64("2005-02")


def stored(seed: int, shape: tuple[int, int] = (40, 60)) -> Any:
    return np.random.default_rng(seed).integers(1, 1000, shape, dtype="uint16")


def composites(folder: Path, count: int = 8) -> list[Any]:
    """Composites of 8 days from the new year on, with a quality band; the fourth crosses into February."""
    found = []
    for number in range(count):
        start = np.datetime64("2005-01-01", "s") + np.timedelta64(8 * number, "D")
        path = write(folder / f"{number}.tif", stored(number), GRID, nodata=0)
        flags = write(folder / f"{number}-quality.tif", (stored(100 + number) % 4).astype("uint8"), GRID)
        found.append(scene(path, start=start, end=start + np.timedelta64(8, "D"), quality=flags))
    return found


def masked(**more: Any) -> Any:
    return reading(resampling="nearest", quality=(QualityRule("quality", (0, 1), (0, 1)),), **more)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file is opened."""
    found: Counter[str] = Counter()
    real = rasterio.open

    def counted(path: str, *arguments: Any, **keys: Any) -> Any:
        found[Path(path).name] += 1
        return real(path, *arguments, **keys)

    monkeypatch.setattr(rasterio, "open", counted)
    return found


def values(read: Any, scenes: list[Any], month: np.datetime64) -> Any:
    return read_month(read, select(scenes, month), GRID, month)["field"]


# --- dates and months ---------------------------------------------------------------------------------------------


def test_a_date_opens_each_file_once(tmp_path: Path, opened: Counter[str]) -> None:
    scenes = composites(tmp_path)[:1]
    opened.clear()
    assert np.isfinite(values(masked(), scenes, JANUARY)).any()
    assert opened == {"0.tif": 1, "0-quality.tif": 1}


def test_a_date_that_two_months_share_is_read_once(tmp_path: Path, opened: Counter[str]) -> None:
    scenes, read = composites(tmp_path), masked()
    opened.clear()
    months_read = [values(read, scenes, month) for month in (JANUARY, FEBRUARY)]
    assert len(opened) == 16
    assert set(opened.values()) == {1}
    for found, month in zip(months_read, (JANUARY, FEBRUARY), strict=True):
        assert_array_equal(found, values(masked(), scenes, month), "as if each month were read alone")
    assert opened["3.tif"] == 3


def test_a_replaced_file_is_seen_by_the_next_reading(tmp_path: Path) -> None:
    scenes = composites(tmp_path)
    values(masked(), scenes, JANUARY)
    before = values(masked(), scenes[3:4], FEBRUARY)
    write(tmp_path / "3.tif", stored(99), GRID, nodata=0)
    assert (values(masked(), scenes[3:4], FEBRUARY) != before).any()


def test_another_grid_begins_anew(tmp_path: Path) -> None:
    scenes, read = composites(tmp_path), masked()
    values(read, scenes, JANUARY)
    part = GRID[:10, :20]
    found = read_month(read, select(scenes, FEBRUARY), part, FEBRUARY)["field"]
    assert_array_equal(found, values(masked(), scenes, FEBRUARY)[:10, :20])


def kept_dates() -> list[Any]:
    return list(months._crossing.layers or ())  # noqa: SLF001 - what it holds bounds the memory of a worker


def test_only_dates_that_reach_beyond_the_month_are_kept(tmp_path: Path) -> None:
    scenes, read = composites(tmp_path), masked()
    values(read, scenes, JANUARY)
    assert [date[0] for date in kept_dates()] == [scenes[3].start]
    values(read, scenes, np.datetime64("2005-07"))
    assert not kept_dates()


def test_what_is_kept_is_a_threads_own(tmp_path: Path, opened: Counter[str]) -> None:
    scenes, read = composites(tmp_path), masked()
    values(read, scenes, JANUARY)
    other = threading.Thread(target=values, args=(read, scenes, FEBRUARY))
    other.start()
    other.join()
    assert opened["3.tif"] > 1


def test_units_that_travel_together_share_their_reading() -> None:
    read = masked(name="packed")
    sent = mosaics.Reading(read.source, str)
    first, second = pickle.loads(pickle.dumps([(sent, JANUARY), (sent, FEBRUARY)]))  # noqa: S301 - packed above
    assert first[0] is second[0]


# --- files --------------------------------------------------------------------------------------------------------


def test_files_stay_open_within_the_context_only(tmp_path: Path, opened: Counter[str]) -> None:
    href = str(write(tmp_path / "a.tif", stored(0), GRID))
    opened.clear()
    with kept_open():
        header(href)
        with kept_open():
            header(href)
        header(href)
    assert opened["a.tif"] == 1
    header(href)
    assert opened["a.tif"] == 2


def test_only_so_many_files_stay_open(tmp_path: Path, opened: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MOST_OPEN", 2)
    hrefs = [str(write(tmp_path / f"{name}.tif", stored(0), GRID)) for name in "abc"]
    opened.clear()
    with kept_open():
        for href in (hrefs[0], hrefs[1], hrefs[0], hrefs[2], hrefs[0], hrefs[1]):
            header(href)
    assert opened == {"a.tif": 1, "b.tif": 2, "c.tif": 1}


def test_a_file_that_a_thread_still_reads_when_the_context_ends_is_closed_after_that(tmp_path: Path) -> None:
    href, under_way, ended = str(write(tmp_path / "a.tif", stored(0), GRID)), threading.Event(), threading.Event()
    read: list[rasterio.DatasetReader] = []

    def slow(file: rasterio.DatasetReader) -> None:
        read.append(file)
        under_way.set()
        assert ended.wait(timeout=30)
        assert not file.closed

    def other(shelf: opening.Shelf) -> None:
        opening.share(shelf)
        opening.opened(href, slow)

    with kept_open():
        thread = threading.Thread(target=other, args=(opening.shelf(),))
        thread.start()
        assert under_way.wait(timeout=30)
        header(href)
    ended.set()
    thread.join()
    assert read[0].closed


def test_a_file_that_fails_is_not_kept(tmp_path: Path) -> None:
    href = str(write(tmp_path / "a.tif", stored(0), GRID))
    content = Path(href).read_bytes()
    with kept_open():
        lattice = header(href)
        Path(href).write_bytes(content[: len(content) // 2])
    with kept_open():
        with pytest.raises(Exception, match="cannot be read"):
            windows.windows([(href, lattice)], lattice, lattice.bounds)
        Path(href).write_bytes(content)
        assert_array_equal(windows.windows([(href, lattice)], lattice, lattice.bounds)[0], stored(0))


# --- how much is read ---------------------------------------------------------------------------------------------


@pytest.fixture
def files() -> Any:
    with serve() as found:
        yield found


def sent(files: Files) -> int:
    """Bytes of the ranges that the server was asked for."""
    total = 0
    for _, wanted in files.ranges:
        if wanted is not None:
            first, last = wanted.removeprefix("bytes=").split("-")
            total += int(last) + 1 - int(first)
    return total


@pytest.mark.server
def test_bytes_read_are_those_of_the_blocks_that_the_window_needs(files: Files, tmp_path: Path) -> None:
    """A window in one corner of a large file, through one date's header and values."""
    grid = box("EPSG:4326", 5.0, 48.0, 0.01, (2048, 2048))
    path = write(tmp_path / "a.tif", stored(1, (2048, 2048)), grid, nodata=0)
    files.contents["a.tif"] = path.read_bytes()
    with rasterio.open(path) as file:
        blocks = [int(file.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", bidx=1)) for x in (3, 4) for y in (3, 4)]
    part = grid[1000:1100, 1000:1100]
    one = scene(files.href("a.tif"), bbox=(4.9, 27.0, 26.0, 48.1))
    found = layers.layer(reading(resampling="nearest"), [one], part)
    assert found is not None
    assert_array_equal(found[0], stored(1, (2048, 2048))[1000:1100, 1000:1100])
    assert sum(blocks) <= sent(files) <= 1.1 * sum(blocks)
    asked = [wanted for name, wanted in files.ranges if name == "a.tif"]
    assert all(asked[1:]), "but for its size, the file is never asked for whole"
    assert len(files.ranges) - len(asked) == 1, "one request asks for a mask beside it"


@pytest.mark.parametrize("limit", [1, 2**23])
def test_scenes_read_together_or_alone_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(mosaics, "TOGETHER", limit)
    left, right, whole = GRID[:, :35], GRID[:, 25:], stored(5)
    paths = [
        write(tmp_path / f"{name}.tif", whole[:, part], geobox)
        for name, part, geobox in (("left", slice(35), left), ("right", slice(25, None), right))
    ]
    found = layers.layer(reading(resampling="nearest"), [scene(path) for path in paths], GRID)
    assert found is not None
    assert_array_equal(found[0], whole)


def test_windows_of_a_source_much_finer_than_the_grid_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fine elevation comes to a coarse grid block by block: no window holds more than its share."""
    monkeypatch.setattr(layers, "SUBGRID", 64)
    fine = box("EPSG:4326", 5.0, 48.0, 0.01 / 30, (600, 600))
    path = write(tmp_path / "dem.tif", stored(7, (600, 600)), fine)
    sizes: list[int] = []
    real = windows.windows

    def measured(*arguments: Any, **how: Any) -> Any:
        found = real(*arguments, **how)
        sizes.extend(part.size for part in found)
        return found

    monkeypatch.setattr(windows, "windows", measured)
    coarse = box("EPSG:4326", 5.0, 48.0, 0.01, (20, 20))
    found = layers.layer(reading(resampling="average"), [scene(path)], coarse)
    assert found is not None
    np.testing.assert_allclose(found[0], kernels.block_mean(stored(7, (600, 600)).astype(float), 30)[0], rtol=1e-9)
    assert len(sizes) == 100
    assert max(sizes) <= (64 + 8) ** 2
