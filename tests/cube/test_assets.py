from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import stackstac
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from servers.files import Files, serve
from soilscale import storage
from soilscale.cube import assets, read_month
from soilscale.cube import windows as module
from soilscale.cube.assets import Header, header, overlap, snap
from soilscale.cube.opening import explain
from soilscale.cube.windows import NativeReader, windows
from soilscale.errors import DataError, RefusedError, ServiceError
from worlds import MODIS_1KM, SINUSOIDAL, box, reading, scene, write

HERE = box("EPSG:4326", 5.0, 48.0, 0.01, (40, 60))


def numbers(shape: tuple[int, int], kind: str = "float32") -> Any:
    """Values that differ everywhere."""
    return np.arange(shape[0] * shape[1]).reshape(shape).astype(kind)


def written(folder: Path, name: str = "a.tif", **tags: Any) -> str:
    return str(write(folder / name, numbers(HERE.shape), HERE, **tags))


def whole(href: str, band: int = 1) -> Any:
    """All stored values of a file."""
    lattice = header(href, band)
    return windows([(href, lattice)], lattice, lattice.bounds)[0]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let GDAL retry at once."""
    options = storage.gdal_options() | {"GDAL_HTTP_RETRY_DELAY": "0.01"}
    monkeypatch.setattr(storage, "gdal_options", lambda _href=None: options)


# --- headers ------------------------------------------------------------------------------------------------------


def test_a_header_says_what_the_file_says(tmp_path: Path) -> None:
    found = header(written(tmp_path, nodata=-9, scale=0.02, offset=-3.0, unit="K"))
    assert found.crs == CRS.from_epsg(4326)
    assert found.transform == HERE.transform
    assert (found.shape, found.nodata, found.scale, found.offset, found.unit) == ((40, 60), -9, 0.02, -3, "K")
    assert found.bounds == pytest.approx((5.0, 47.6, 5.6, 48.0))
    assert found.pixel == (0.01, 0.01)


def test_what_a_file_leaves_unset_is_neutral(tmp_path: Path) -> None:
    found = header(written(tmp_path))
    assert (found.nodata, found.scale, found.offset, found.unit) == (None, 1.0, 0.0, None)


def test_each_band_has_its_own_header(tmp_path: Path) -> None:
    path = tmp_path / "two.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=60,
        height=40,
        count=2,
        dtype="int16",
        crs="EPSG:4326",
        transform=HERE.transform,
    ) as file:
        file.write(np.stack([numbers((40, 60), "int16"), -numbers((40, 60), "int16")]))
        file.scales = (1.0, 0.1)
    assert header(str(path), 2).scale == 0.1
    assert whole(str(path), 2)[0, 5] == -5
    with pytest.raises(DataError, match=r"two.tif has 2 bands, but band 3 was requested; check the key `band`"):
        header(str(path), 3)


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    href = written(tmp_path, nodata=0)
    assert header(href).nodata == 0
    written(tmp_path, nodata=7)
    assert header(href).nodata == 7


@pytest.mark.parametrize(
    ("crs", "left", "pixel", "shares"),
    [
        ("EPSG:4326", 5.0 + 37 * 0.01, 0.01, True),
        ("EPSG:4326", 5.0 - 1000 * 0.01 + 1e-9, 0.01, True),
        ("EPSG:4326", 5.005, 0.01, False),
        ("EPSG:4326", 5.0, 0.0100002, False),
        ("EPSG:4326", 5.0, 0.02, False),
        ("EPSG:4258", 5.0, 0.01, False),
    ],
)
def test_files_share_a_grid_if_their_pixels_lie_on_one_lattice(
    tmp_path: Path, crs: str, left: float, pixel: float, *, shares: bool
) -> None:
    one = header(written(tmp_path))
    other = box(crs, left, 48.0 + pixel * 5, pixel, (30, 300))
    assert one.shares_grid(header(str(write(tmp_path / "b.tif", numbers(other.shape), other)))) is shares


def test_sinusoidal_tiles_share_a_grid_though_their_corners_are_rounded(tmp_path: Path) -> None:
    headers = [
        header(str(write(tmp_path / f"{i}.tif", numbers((30, 30)), box(SINUSOIDAL, left, top, 926.6254331, (30, 30)))))
        for i, (left, top) in enumerate([(0.0, 4447802.079), (1200 * MODIS_1KM, 4447802.0787), (-1111950.5197, 0.0)])
    ]
    assert headers[0].shares_grid(headers[1])
    assert headers[0].shares_grid(headers[2])


def unusable(path: Path, **profile: Any) -> str:
    known = {"driver": "GTiff", "width": 10, "height": 10, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", **(known | profile)) as file:
        file.write(np.ones((10, 10), "uint8"), 1)
    return str(path)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_file_without_a_place_is_refused(tmp_path: Path) -> None:
    bare = unusable(tmp_path / "bare.tif")
    no_transform = unusable(tmp_path / "no_transform.tif", crs="EPSG:4326")
    no_crs = unusable(tmp_path / "no_crs.tif", transform=Affine(1, 0, 0, 0, -1, 10))
    points = [GroundControlPoint(row, column, column, -row) for row, column in ((0, 0), (0, 9), (9, 0))]
    control = unusable(tmp_path / "control.tif", gcps=points, crs="EPSG:4326")
    nothing = "it has no CRS or no transform"
    for href, why in ((bare, nothing), (no_transform, nothing), (no_crs, nothing), (control, "it has ground control")):
        with pytest.raises(DataError, match=f"{Path(href).stem}.tif is not georeferenced: {why}"):
            header(href)


def test_a_place_that_is_missing_is_warned_of_by_rasterio(tmp_path: Path) -> None:
    with pytest.warns(NotGeoreferencedWarning):
        href = unusable(tmp_path / "bare.tif")
    with pytest.warns(NotGeoreferencedWarning), pytest.raises(DataError):
        header(href)


@pytest.mark.parametrize(
    "transform",
    [Affine(1, 0.1, 5, 0.1, -1, 9), Affine(1, 1e-3, 5, 0, -1, 9), Affine(-1, 0, 10, 0, -1, 10)],
    ids=["rotated", "sheared", "east to west"],
)
def test_a_file_whose_pixels_do_not_follow_the_axes_is_refused(tmp_path: Path, transform: Affine) -> None:
    href = unusable(tmp_path / "askew.tif", crs="EPSG:32630", transform=transform)
    with pytest.raises(DataError, match=r"askew.tif is rotated, sheared or mirrored: .* warp it first"):
        header(href)


# --- windows ------------------------------------------------------------------------------------------------------


def test_stored_values_come_through_stackstac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    read: list[Window] = []

    def stack(*arguments: Any, **keys: Any) -> Any:
        made.append(real_stack(*arguments, **keys))
        return made[-1]

    def fetch(self: NativeReader, window: Window, **keys: Any) -> Any:
        read.append(window)
        return real_read(self, window, **keys)

    real_stack, real_read = stackstac.stack, NativeReader.read
    monkeypatch.setattr(stackstac, "stack", stack)
    monkeypatch.setattr(NativeReader, "read", fetch)
    monkeypatch.setattr(module, "_plans", module._Plans())  # noqa: SLF001 - as of a thread that has read nothing yet
    assert (whole(written(tmp_path)) == numbers((40, 60))).all()
    assert made[0].dims == ("time", "band", "y", "x")
    assert any(str(key).startswith("fetch_raster_window") for layer in made[0].data.dask.layers for key in [layer])
    assert [(window.height, window.width) for window in read] == [(40, 60)]
    other = str(write(tmp_path / "other.tif", 7 + numbers((40, 60)), HERE))
    assert (whole(other) == 7 + numbers((40, 60))).all()
    assert len(made) == 1, "the same window of another file is not planned anew"


def test_a_window_outside_a_file_is_missing_there(tmp_path: Path) -> None:
    href = written(tmp_path)
    found = windows([(href, header(href))], header(href), (4.97, 47.99, 5.02, 48.03))
    assert found[0].shape == (4, 5)
    assert found[0].dtype == np.float64
    assert np.isnan(found[0][:3]).all()
    np.testing.assert_array_equal(found[0][3], [np.nan, np.nan, np.nan, 0, 1])


def test_tiles_whose_items_share_an_id_keep_their_places(tmp_path: Path) -> None:
    """Some catalogs name items by their date alone, tile by tile."""
    geobox = box("EPSG:4326", 5.0, 48.0, 0.01, (10, 20))
    scenes = [
        scene(write(tmp_path / f"{part.left}.tif", np.full((10, 10), value, "float32"), geobox[:, columns]), "20050101")
        for value, columns in ((1.0, slice(0, 10)), (2.0, slice(10, 20)))
        for part in [geobox[:, columns].extent.boundingbox]
    ]
    found = read_month(reading(), scenes, geobox, np.datetime64("2005-01"))["field"]
    np.testing.assert_array_equal(found, np.repeat([[1.0, 2.0]], 10, axis=0).repeat(10, axis=1))


def test_files_on_one_lattice_lie_side_by_side(tmp_path: Path) -> None:
    east = box("EPSG:4326", 5.6, 48.0, 0.01, (40, 60))
    hrefs = [written(tmp_path), str(write(tmp_path / "east.tif", 10_000 + numbers((40, 60)), east))]
    found = windows([(href, header(href)) for href in hrefs], header(hrefs[0]), (5.58, 47.98, 5.62, 48.0))
    np.testing.assert_array_equal(found[0][0], [58, 59, np.nan, np.nan])
    np.testing.assert_array_equal(found[1][0], [np.nan, np.nan, 10_000, 10_001])
    np.testing.assert_array_equal(found[1][1], [np.nan, np.nan, 10_060, 10_061])


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_stored_values_are_exact_and_unmasked_whatever_their_type(tmp_path: Path, kind: str) -> None:
    limits = np.finfo(kind) if kind.startswith("float") else np.iinfo(kind)
    values = np.array([[limits.min, 0], [1, limits.max]], kind)
    href = str(write(tmp_path / "a.tif", values, box("EPSG:4326", 5, 48, 0.01, (2, 2)), nodata=float(limits.min)))
    assert header(href).nodata == float(limits.min)
    assert (whole(href) == values.astype("float64")).all()


def test_a_mask_inside_the_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "masked.tif"
    mask = np.ones(HERE.shape, bool)
    mask[3, 4] = False
    grid = {"width": 60, "height": 40, "crs": "EPSG:4326", "transform": HERE.transform}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", driver="GTiff", count=1, dtype="float32", **grid) as file,
    ):
        file.write(numbers(HERE.shape), 1)
        file.write_mask(mask)
    found = whole(str(path))
    assert np.argwhere(np.isnan(found)).tolist() == [[3, 4]]
    assert (found[mask] == numbers(HERE.shape)[mask]).all()


def test_full_resolution_is_read_though_there_are_overviews(tmp_path: Path) -> None:
    large = box("EPSG:4326", 5.0, 48.0, 0.001, (600, 700))
    plain = write(tmp_path / "plain.tif", numbers(large.shape), large)
    rasterio.shutil.copy(plain, tmp_path / "cog.tif", driver="COG")
    with rasterio.open(tmp_path / "cog.tif") as file:
        assert file.overviews(1)
    assert (whole(str(tmp_path / "cog.tif")) == numbers(large.shape)).all()


def test_a_lattice_without_an_epsg_code_is_read_as_well(tmp_path: Path) -> None:
    there = box(SINUSOIDAL, 1200 * MODIS_1KM, 5000 * MODIS_1KM, MODIS_1KM, (30, 40))
    href = str(write(tmp_path / "a.tif", numbers(there.shape), there))
    lattice = header(href)
    bounds = snap(lattice, (lattice.bounds[0], lattice.bounds[1], lattice.bounds[2], lattice.bounds[3]), margin=2)
    found = windows([(href, lattice)], lattice, bounds)[0]
    rows, columns = np.nonzero(np.isfinite(found))
    assert (found[rows, columns].reshape(there.shape) == numbers(there.shape)).all()
    assert rows.min() >= 2
    assert columns.min() >= 2


def test_a_reader_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    lattice = header(written(tmp_path))
    spec = stackstac.raster_spec.RasterSpec(4326, lattice.bounds, lattice.pixel)
    reader = NativeReader(
        url=written(tmp_path), header=lattice, spec=spec, dtype=np.dtype("float64"), fill_value=np.nan
    )
    sent = pickle.loads(pickle.dumps(reader))  # noqa: S301 - packed above
    assert sent.read(Window(1, 0, 2, 1)).tolist() == [[1, 2]]
    sent.close()


# --- bounds -------------------------------------------------------------------------------------------------------


def lattice(left: float, top: float, width: float, height: float) -> Header:
    return Header(CRS.from_epsg(4326), Affine(width, 0, left, 0, -height, top), (10, 10), None, 1, 0, None)


@given(
    corner=st.tuples(st.floats(-1e7, 1e7), st.floats(-1e7, 1e7)),
    pixel=st.tuples(st.floats(1e-4, 1e5), st.floats(1e-4, 1e5)),
    start=st.tuples(st.floats(-1000, 1000), st.floats(-1000, 1000)),
    size=st.tuples(st.floats(0.1, 500), st.floats(0.1, 500)),
    margin=st.integers(0, 5),
)
def test_snapped_bounds_hold_the_bounds_and_are_whole_pixels(
    corner: tuple[float, float],
    pixel: tuple[float, float],
    start: tuple[float, float],
    size: tuple[float, float],
    margin: int,
) -> None:
    found = lattice(*corner, *pixel)
    (left, top), (width, height) = corner, pixel
    bounds = (left + start[0] * width, top + start[1] * height)
    bounds = (*bounds, bounds[0] + size[0] * width, bounds[1] + size[1] * height)
    snapped = snap(found, bounds, margin)
    for side, (edge, origin, step) in enumerate(zip(snapped, (left, top) * 2, pixel * 2, strict=True)):
        away = (bounds[side] - edge) / step * (1 if side < 2 else -1)
        assert margin - 1e-3 <= away <= margin + 1 + 1e-3
        assert (edge - origin) / step == pytest.approx(round((edge - origin) / step), abs=1e-3)


def test_overlap_is_the_common_part() -> None:
    assert overlap((0, 0, 4, 4), (3, -1, 9, 2)) == (3, 0, 4, 2)
    assert overlap((0, 0, 4, 4), (4, 0, 5, 4)) is None
    assert overlap((0, 0, 4, 4), (0, 5, 4, 6)) is None


# --- failures -----------------------------------------------------------------------------------------------------


def cog(folder: Path) -> bytes:
    """Content of a cloud-optimised GeoTIFF of which the header comes first."""
    large = box("EPSG:4326", 5.0, 48.0, 0.001, (700, 700))
    values = np.random.default_rng(0).random(large.shape).astype("float32")
    rasterio.shutil.copy(write(folder / "plain.tif", values, large), folder / "cog.tif", driver="COG", blocksize=256)
    return (folder / "cog.tif").read_bytes()


def failure(href: str, kind: type[Exception]) -> str:
    with pytest.raises(kind) as caught:
        whole(href)
    assert type(caught.value) is kind
    return str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    href = str(tmp_path / "gone.tif")
    message = failure(href, DataError)
    assert message.startswith(f"{href} cannot be read: ")
    assert "No such file" in message
    assert message.endswith("replace the file, then run the same command again")


@pytest.mark.parametrize(
    ("head", "what", "remedy"),
    [
        (b"\x0e\x03\x13\x01", "cannot be read as HDF4", "it may be damaged or truncated: replace the file"),
        (b"PK\x03\x04", "it is a ZIP archive", "unpack it"),
        (b"\x1f\x8b\x08", "it is compressed with gzip", "unpack it"),
        (b"\n<!DOCTYPE html><html>Earthdata Login", "it is a web page", "check its credentials"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS", "git lfs pull"),
        (b"", "it is empty", "replace the file"),
        (b"nobody knows", "not recognized as being in a supported file format", "replace the file"),
    ],
    ids=["HDF4", "ZIP", "gzip", "web page", "Git LFS", "empty", "unknown"],
)
def test_a_file_of_no_format_of_gdal_is_told_what_it_is_and_what_to_do(
    tmp_path: Path, head: bytes, what: str, remedy: str
) -> None:
    path = tmp_path / "scene.hdf"
    path.write_bytes(head + bytes(1000) * bool(head))
    message = failure(str(path), DataError)
    assert message.startswith(f"{path} cannot be read")
    assert what in message
    assert remedy in message.partition(what)[2]


def test_what_a_served_file_is_is_told_too() -> None:
    with serve() as files:
        files.contents["a.tif"] = b"\x0e\x03\x13\x01" + bytes(1000)
        assert "it is HDF4; convert it" in failure(files.href("a.tif"), DataError), "a name that promises one raster"


@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_data_that_are_cut_off_are_no_silent_gap(tmp_path: Path, kept: float) -> None:
    content = cog(tmp_path)
    path = tmp_path / "cut.tif"
    path.write_bytes(content[: int(len(content) * kept)])
    assert header(str(path)).shape == (700, 700)
    message = failure(str(path), DataError)
    assert "cut.tif cannot be read" in message
    assert "Read error" in message
    assert "See previous exception" not in message


@pytest.mark.parametrize("kept", [0, 5, 200])
def test_a_header_that_is_cut_off_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cut.tif"
    path.write_bytes(cog(tmp_path)[:kept])
    assert "cut.tif cannot be read" in failure(str(path), DataError)


def test_what_is_no_raster_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "curl timed out.tif"
    path.write_text("<html>Please log in</html>")
    assert "not recognized as being in a supported file format" in failure(str(path), DataError)


@pytest.fixture
def files() -> Any:
    with serve() as found:
        yield found


@pytest.mark.server
def test_ranges_are_read_over_http(files: Files, tmp_path: Path) -> None:
    files.contents["a.tif"] = cog(tmp_path)
    href = files.href("a.tif", "?token=secret")
    lattice = header(href)
    part = lattice.bounds[0], lattice.bounds[3] - 0.01, lattice.bounds[0] + 0.02, lattice.bounds[3]
    assert windows([(href, lattice)], lattice, part)[0].shape == (10, 20)
    assert all(wanted for _, wanted in files.ranges[1:]), "the first only asks how large the file is"


@pytest.mark.server
@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (404, DataError, "cannot be read: HTTP response code: 404; replace the file"),
        (410, DataError, "cannot be read: HTTP response code: 410; replace the file"),
        (401, RefusedError, "was refused: HTTP response code: 401; renew the credentials"),
        (403, RefusedError, "was refused: HTTP response code: 403; renew the credentials"),
        (429, ServiceError, "cannot be reached: HTTP response code: 429; run the same command again"),
        (500, ServiceError, "cannot be reached: HTTP response code: 500; run the same command again"),
        (503, ServiceError, "cannot be reached: HTTP response code: 503; run the same command again"),
    ],
)
def test_an_answer_tells_whether_a_rerun_may_mend_it(
    files: Files, tmp_path: Path, status: int, kind: type[Exception], text: str
) -> None:
    href = files.href("a.tif", "?sig=secret")
    files.faults["a.tif"] = status
    message = failure(href, kind)
    assert text in message
    assert files.href("a.tif") in message
    assert "secret" not in message
    files.contents["a.tif"] = cog(tmp_path)
    del files.faults["a.tif"]
    assert np.isfinite(whole(href)).all(), "a failure is not remembered"


@pytest.mark.server
def test_a_file_that_is_broken_on_the_server_is_no_matter_of_the_service(files: Files, tmp_path: Path) -> None:
    content = cog(tmp_path)
    for name, kept in (("data.tif", len(content) // 2), ("header.tif", 200), ("empty.tif", 0)):
        files.contents[name] = content[:kept]
        assert f"{files.href(name)} cannot be read" in failure(files.href(name), DataError)
        files.contents[name] = content
        assert np.isfinite(whole(files.href(name))).all(), "a mended file is read"


def test_a_server_that_is_down_is_a_matter_of_the_service() -> None:
    with serve() as files:
        href = files.href("a.tif")
    assert f"{href} cannot be reached" in failure(href, ServiceError)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("AccessDenied: Access Denied", RefusedError),
        ("InvalidAccessKeyId: no such key", RefusedError),
        ("SlowDown: reduce your request rate", ServiceError),
        ("CURL error: Could not resolve host: lab", ServiceError),
        ("Operation timed out after 30000 ms", ServiceError),
        ("The specified key does not exist.", DataError),
        ("TIFFReadDirectory:Failed to read directory at offset 192", DataError),
    ],
)
def test_failures_are_told_apart_by_their_text(text: str, kind: type[Exception]) -> None:
    assert type(explain(OSError(text), "s3://bucket/timeout/SlowDown.tif")) is kind


def test_a_path_is_no_reason() -> None:
    href = "https://example.org/403/timed out/CURL error.tif?sig=secret"
    found = explain(OSError(f"'{storage.gdal_path(href)}' not recognized"), href)
    assert type(found) is DataError
    assert "secret" not in str(found)


def test_the_reason_is_the_first_cause() -> None:
    cause = OSError("HTTP response code: 503")
    error = OSError("Read failed. See previous exception for details.")
    error.__cause__ = cause
    found = explain(error, "https://example.org/a.tif")
    assert type(found) is ServiceError
    assert str(found) == (
        "https://example.org/a.tif cannot be reached: HTTP response code: 503; run the same command again"
    )


def test_options_are_those_of_the_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "gdal_options", lambda _href: {"GTIFF_REPORT_COMPD_CS": "YES"})
    seen: list[Any] = []
    monkeypatch.setattr(assets, "_check_band", lambda *_: seen.append(rasterio.env.getenv()["GTIFF_REPORT_COMPD_CS"]))
    header(written(tmp_path))
    assert seen == ["YES"]
