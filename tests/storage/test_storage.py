"""Stores on this machine: whole objects or none, regions of Zarr groups, and failures in a person's words."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from botocore.exceptions import EndpointConnectionError
from botocore.utils import parse_timestamp

from soilscale import storage
from soilscale.errors import ConfigurationError, RefusedError, ServiceError, SoilscaleError
from soilscale.storage import s3

FLOAT, FLAG = "soil_moisture", "quality"
SHAPE = (3, 5, 7)
CHUNKS = (1, 2, 4)


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Zarr group whose arrays hold metadata only."""
    url = str(tmp_path / "maps.zarr")
    blank: dict[str, Any] = {
        FLOAT: (np.float32("nan"), "float32", {"_FillValue": np.float32("nan")}),
        FLAG: (0, "uint8", {}),
    }
    template = xr.Dataset(
        {
            name: xr.Variable(
                ("time", "y", "x"),
                da.full(SHAPE, empty, dtype=dtype, chunks=CHUNKS),
                {"units": "1"},
                encoding | {"chunks": CHUNKS},
            )
            for name, (empty, dtype, encoding) in blank.items()
        },
        {"y": np.arange(5.0)[::-1], "x": np.arange(7.0)},
    )
    storage.create(url, "month", template)
    return url


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    """A file that stands where a folder is wanted."""
    path = tmp_path / "not-a-folder"
    path.write_bytes(b"")
    return path


def test_an_object_comes_back_as_it_was_written(tmp_path: Path) -> None:
    url = storage.join(str(tmp_path), "a", "b", "c.bin")
    storage.write_bytes(url, b"\x00\xff")
    assert storage.read_bytes(url) == b"\x00\xff"
    storage.write_bytes(url, b"again")
    assert storage.read_bytes(url) == b"again"


def test_json_comes_back_as_it_was_written(tmp_path: Path) -> None:
    url = storage.join(str(tmp_path), "x.json")
    content = {"b": [1, 2.5, None], "a": "ü"}
    storage.write_json(url, content)
    assert storage.read_json(url) == content


def test_a_written_object_may_be_read_by_all(tmp_path: Path) -> None:
    storage.write_bytes(str(tmp_path / "x"), b"")
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o644


def test_a_write_that_fails_leaves_the_old_object_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(tmp_path / "marker.json")
    storage.write_bytes(url, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ServiceError, match=r"cannot write .*marker.json.*No space left"):
        storage.write_bytes(url, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["marker.json"]
    assert storage.read_bytes(url) == b"old"


def test_a_file_takes_the_place_of_an_object_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, url = tmp_path / "source", str(tmp_path / "sub" / "map.tif")
    for content in (b"old", b"new" * 1_000_000):
        source.write_bytes(content)
        storage.write_file(url, source)
        assert storage.read_bytes(url) == content
        assert source.exists()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ServiceError, match=r"cannot write .*map\.tif"):
        storage.write_file(url, source)
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["map.tif"]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        storage.write_bytes(str(tmp_path / "marker.json"), b"new")
    assert list(tmp_path.iterdir()) == []


def test_readers_meet_whole_objects_while_many_write(tmp_path: Path) -> None:
    url, size = str(tmp_path / "object"), 200_000
    contents = [bytes([letter]) * size for letter in b"abcd"]
    storage.write_bytes(url, contents[0])

    def write(content: bytes) -> None:
        for _ in range(10):
            storage.write_bytes(url, content)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert storage.read_bytes(url) in contents
    for thread in threads:
        thread.join()
    assert storage.names_below(str(tmp_path)) == ["object"]


def test_what_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(str(tmp_path / "nothing"))
    assert not storage.exists(str(tmp_path / "nothing"))
    assert storage.exists(str(tmp_path))


def test_the_stamp_of_an_object_changes_with_its_size_and_its_date(tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(b"one")
    os.utime(path, ns=(0, 10**9))
    first = storage.stamp(str(path))
    assert storage.stamp(str(path)) == first
    os.utime(path, ns=(0, 2 * 10**9))
    assert storage.stamp(str(path)) != first
    path.write_bytes(b"three")
    os.utime(path, ns=(0, 10**9))
    assert storage.stamp(str(path)) not in {first, ""}
    with pytest.raises(FileNotFoundError):
        storage.stamp(str(tmp_path / "nothing"))


def test_names_below_a_folder_are_relative_and_sorted(tmp_path: Path) -> None:
    for name in ("b/2.json", "b/1.json", "a.json", "b/c/d.json"):
        storage.write_bytes(storage.join(str(tmp_path), name), b"")
    assert storage.names_below(str(tmp_path)) == ["a.json", "b/1.json", "b/2.json", "b/c/d.json"]
    assert storage.names_below(str(tmp_path / "b")) == ["1.json", "2.json", "c/d.json"]
    assert storage.names_below(f"{tmp_path}/b/") == ["1.json", "2.json", "c/d.json"]


def test_a_link_back_to_its_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.nc").touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "itself.nc").symlink_to(tmp_path / "itself.nc")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert storage.names_below(str(tmp_path)) == ["a/x.nc", "b/x.nc"]


def test_a_volumes_lost_and_found_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "lost+found" / "#12").touch()
    (tmp_path / "a.nc").touch()
    assert set(storage.stamps(str(tmp_path))) == {"a.nc"}


def test_a_folder_that_may_not_be_read_is_not_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    user = os.geteuid()
    if not user:
        os.seteuid(65534)  # root may read everything
    try:
        with pytest.raises(ConfigurationError, match=r"cannot list .*Permission denied.*you may list there"):
            storage.stamps(str(tmp_path / "closed"))
    finally:
        os.seteuid(user)


def test_there_is_no_name_below_what_is_not_there(tmp_path: Path) -> None:
    assert storage.names_below(str(tmp_path / "nothing")) == []


def test_names_tell_what_was_written_a_moment_ago(tmp_path: Path) -> None:
    assert storage.names_below(str(tmp_path)) == []
    (tmp_path / "new").write_bytes(b"")
    assert storage.names_below(str(tmp_path)) == ["new"]


def test_removing_takes_objects_and_never_a_folder_whole(tmp_path: Path) -> None:
    for name in ("folder/a", "folder/b/c", "folder/b/d/e", "object", "other"):
        storage.write_bytes(storage.join(str(tmp_path), name), b"")
    for name in ("folder", "object", "nothing"):
        storage.remove(storage.join(str(tmp_path), name))
    assert storage.names_below(str(tmp_path)) == ["folder/a", "folder/b/c", "folder/b/d/e", "other"]
    storage.remove(str(tmp_path / "folder"), ["b/c", "b/d/e", "nothing"])
    assert storage.names_below(str(tmp_path)) == ["folder/a", "other"]
    assert not (tmp_path / "folder" / "b").exists(), "what is left empty goes"


@pytest.mark.parametrize("url", ["", "/", "file:///"])
def test_paths_of_this_machine_are_local(url: str) -> None:
    assert storage.is_local(url + "tmp/x")


@pytest.mark.parametrize("url", ["s3://bucket/x", "https://example.org/x", "http://localhost/x"])
def test_addresses_of_stores_are_not_local(url: str) -> None:
    assert not storage.is_local(url)


@pytest.mark.parametrize(
    ("url", "base", "expected"),
    [
        ("catalog.json", "/data/world", "/data/world/catalog.json"),
        ("../catalog.json", "/data/world", "/data/catalog.json"),
        ("/elsewhere/catalog.json", "/data/world", "/elsewhere/catalog.json"),
        ("file:///elsewhere/catalog.json", "/data/world", "/elsewhere/catalog.json"),
        ("s3://bucket/catalog.json", "/data/world", "s3://bucket/catalog.json"),
        ("https://example.org/stac", "s3://bucket/world", "https://example.org/stac"),
        ("catalog.json", "s3://bucket/world", "s3://bucket/world/catalog.json"),
    ],
)
def test_urls_are_resolved_against_a_base(url: str, base: str, expected: str) -> None:
    assert storage.resolve(url, base) == expected


def test_the_tilde_is_the_home_folder() -> None:
    assert storage.resolve("~/runs", "/data") == str(Path("~/runs").expanduser().resolve())


def test_joining_keeps_the_scheme() -> None:
    assert storage.join("s3://bucket/prefix", "cube.zarr", "fine") == "s3://bucket/prefix/cube.zarr/fine"
    assert storage.join("/data", "cube.zarr") == "/data/cube.zarr"


def test_writing_below_a_file_is_a_wrong_configuration(blocked: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot write .*check that the path is right and that you may write"):
        storage.write_bytes(str(blocked / "x.json"), b"")


def test_creating_a_group_below_a_file_is_a_wrong_configuration(blocked: Path) -> None:
    template = xr.Dataset({"a": ("x", da.zeros(3))})
    with pytest.raises(ConfigurationError, match=r"cannot write .*check that the path is right"):
        storage.create(str(blocked / "cube.zarr"), "fine", template)


def test_reading_a_folder_says_that_reading_failed(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read .*that you may read there"):
        storage.read_bytes(str(tmp_path))


@pytest.mark.parametrize("below", [(), ("sub",), ("sub", "folder")])
def test_a_file_is_no_output_folder(blocked: Path, below: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot write .*not-a-folder.*check that the path is right"):
        storage.check_writable(str(blocked.joinpath(*below)))


@pytest.mark.parametrize("below", [(), ("new",), ("new", "deeper")])
def test_checking_an_output_folder_changes_nothing(tmp_path: Path, below: tuple[str, ...]) -> None:
    storage.check_writable(str(tmp_path.joinpath(*below)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "kind", "advice"),
    [
        (PermissionError(13, "Permission denied"), ConfigurationError, "that you may write there"),
        (OSError(30, "Read-only file system"), ConfigurationError, "that you may write there"),
        (OSError(28, "No space left on device"), RefusedError, "free space there, then run the same command again"),
        (OSError(27, "File too large"), RefusedError, "free space there, then run the same command again"),
        (TimeoutError("timed out"), ServiceError, "check the store and your credentials"),
        (EndpointConnectionError(endpoint_url="http://localhost:1"), ServiceError, "check the store"),
    ],
)
def test_failures_say_what_failed_where_and_what_to_do(
    error: Exception, kind: type[SoilscaleError], advice: str
) -> None:
    told = storage.explain(error, "s3://bucket/x", "write")
    assert type(told) is kind
    assert str(told).startswith("cannot write s3://bucket/x: ")
    assert str(error) in str(told)
    assert advice in str(told)


def test_a_new_group_is_missing_throughout(store: str) -> None:
    found = storage.open_group(store, "month", gaps=True)
    assert np.isnan(found[FLOAT]).all()
    assert not found[FLAG].any()
    assert not list(Path(store, "month", FLOAT).glob("c/**/*"))


@pytest.mark.parametrize("value", [np.nan, 1.0])
def test_a_chunk_that_is_not_there_is_named_whatever_it_held(store: str, value: float) -> None:
    region = (1, slice(2, 4), slice(0, 4))
    storage.write_region(store, "month", FLOAT, np.full((2, 4), value, "float32"), region)
    Path(store, "month", FLOAT, "c", "1", "1", "0").unlink()
    for read in (
        lambda: storage.read_region(store, "month", FLOAT, region),
        storage.open_group(store, "month")[FLOAT][region].load,
    ):
        with pytest.raises(storage.DamagedError, match=rf"maps\.zarr/month/{FLOAT}/c/1/1/0 is lost: ") as caught:
            read()
        assert (caught.value.store, caught.value.key) == (store, f"month/{FLOAT}/c/1/1/0")
    assert np.isnan(storage.open_group(store, "month", gaps=True)[FLOAT][region]).all()


def test_a_region_comes_back_and_its_neighbours_stay_missing(store: str) -> None:
    values = np.arange(8, dtype="float32").reshape(2, 4)
    region = (1, slice(2, 4), slice(0, 4))
    storage.write_region(store, "month", FLOAT, values, region)
    np.testing.assert_array_equal(storage.read_region(store, "month", FLOAT, region), values)
    whole = storage.open_group(store, "month", gaps=True)[FLOAT].to_numpy()
    assert whole.shape == SHAPE
    assert np.isfinite(whole).sum() == 8


def test_regions_may_be_written_in_any_order_any_number_of_times(store: str) -> None:
    expected = np.random.default_rng(0).random(SHAPE, dtype="float32")
    expected[0, 0, 0] = np.nan
    places = [
        (time, slice(row, min(row + 2, 5)), slice(column, min(column + 4, 7)))
        for time in range(3)
        for row in range(0, 5, 2)
        for column in range(0, 7, 4)
    ]
    for place in [*reversed(places), *places[::2], *places]:
        storage.write_region(store, "month", FLOAT, expected[place], place)
    np.testing.assert_array_equal(storage.read_region(store, "month", FLOAT, (slice(None),)), expected)


def test_a_region_may_be_blanked_again(store: str) -> None:
    region = (0, slice(0, 2), slice(0, 4))
    storage.write_region(store, "month", FLOAT, np.ones((2, 4), "float32"), region)
    storage.write_region(store, "month", FLOAT, np.full((2, 4), np.nan, "float32"), region)
    assert np.isnan(storage.read_region(store, "month", FLOAT, region)).all()


def test_a_region_of_another_shape_is_refused(store: str) -> None:
    with pytest.raises(ValueError, match="shape"):
        storage.write_region(store, "month", FLOAT, np.ones((3, 3), "float32"), (0, slice(0, 2), slice(0, 4)))


def test_a_region_that_cuts_chunks_is_refused(store: str) -> None:
    with pytest.raises(ValueError, match=r"month/soil_moisture: the region .* splits chunks of \(1, 2, 4\)"):
        storage.write_region(store, "month", FLOAT, np.ones((1, 4), "float32"), (0, slice(1, 2), slice(0, 4)))
    assert np.isnan(storage.open_group(store, "month", gaps=True)[FLOAT]).all()


def flip(content: bytes) -> bytes:
    return content[:-6] + bytes([content[-6] ^ 1]) + content[-5:]


SPOILS: dict[str, Callable[[bytes], bytes]] = {
    "a bit": flip,
    "its end": lambda content: content[:-3],
    "all of it": lambda _: b"",
    "its kind": lambda content: b"\0" * len(content),
}


@pytest.mark.parametrize("lost", SPOILS)
@pytest.mark.parametrize("name", [FLOAT, FLAG])
def test_a_chunk_that_is_not_what_was_written_is_named(store: str, name: str, lost: str) -> None:
    region = (1, slice(2, 4), slice(0, 4))
    storage.write_region(store, "month", name, np.arange(1, 9).reshape(2, 4).astype("uint8"), region)
    chunk = Path(store, "month", name, "c", "1", "1", "0")
    chunk.write_bytes(SPOILS[lost](chunk.read_bytes()))
    for read in (
        lambda: storage.read_region(store, "month", name, region),
        storage.open_group(store, "month")[name][region].load,
    ):
        with pytest.raises(storage.DamagedError, match=rf"maps\.zarr/month/{name}/c/1/1/0 is damaged: ") as caught:
            read()
        assert (caught.value.store, caught.value.key) == (store, f"month/{name}/c/1/1/0")
        assert caught.value.status == 75
    storage.write_region(store, "month", name, np.ones((2, 4)), region)
    assert (storage.read_region(store, "month", name, region) == 1).all()


@pytest.mark.parametrize("key", [f"month/{FLOAT}/zarr.json", "month/zarr.json", "month/y/c/0"])
def test_damaged_metadata_and_coordinates_are_named(store: str, key: str) -> None:
    path = Path(store, key)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(storage.DamagedError, match=rf"{key} is damaged: "):
        storage.open_group(store, "month")


def test_an_error_of_a_worker_reaches_the_command_as_it_is(store: str) -> None:
    error = storage.DamagedError("it is damaged", store, "month/y/c/0")
    told = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (str(told), told.store, told.key) == ("it is damaged", store, "month/y/c/0")


def test_every_chunk_is_zstandard_with_a_checksum(store: str) -> None:
    for name in (FLOAT, FLAG, "y", "x"):
        (codec,) = zarr.open_array(store, path=f"month/{name}", mode="r").compressors
        assert codec.to_dict() == {"name": "zstd", "configuration": {"level": 0, "checksum": True}}


def test_a_group_that_others_wrote_is_read_whatever_its_codec(tmp_path: Path) -> None:
    values = xr.Dataset({"a": (("y", "x"), np.arange(6.0).reshape(2, 3))})
    values.to_zarr(str(tmp_path / "truth.zarr"), group="month", zarr_format=3, consolidated=False)
    np.testing.assert_array_equal(storage.open_foreign(str(tmp_path / "truth.zarr"), "month")["a"], values["a"])


def test_an_array_that_is_not_there_is_not_created(store: str) -> None:
    with pytest.raises((FileNotFoundError, SoilscaleError)):
        storage.write_region(store, "month", "absent", np.ones((2, 4)), (0, slice(0, 2), slice(0, 4)))
    assert not Path(store, "month", "absent").exists()


def test_a_group_opens_lazily_in_its_chunks(store: str) -> None:
    found = storage.open_group(store, "month")
    assert found[FLOAT].chunks == ((1, 1, 1), (2, 2, 1), (4, 3))
    assert found[FLOAT].attrs == {"units": "1"}
    assert zarr.open_array(store, path=f"month/{FLOAT}", mode="r").metadata.zarr_format == 3


def test_creating_a_group_anew_forgets_its_values_and_leaves_other_groups(store: str) -> None:
    region = (0, slice(0, 2), slice(0, 4))
    storage.write_region(store, "month", FLAG, np.ones((2, 4), "uint8"), region)
    template = xr.Dataset({FLAG: (("time", "y", "x"), da.zeros(SHAPE, dtype="uint8", chunks=CHUNKS))})
    storage.create(store, "season", template)
    assert storage.read_region(store, "month", FLAG, region).all()
    storage.create(store, "month", template)
    assert not storage.open_group(store, "month", gaps=True)[FLAG].any()


def test_a_group_that_is_not_there_is_told_as_such(store: str) -> None:
    with pytest.raises(FileNotFoundError):
        storage.open_group(store, "nothing")


@pytest.mark.parametrize(
    ("href", "path"),
    [
        ("s3://bucket/a/b.tif", "/vsis3/bucket/a/b.tif"),
        ("https://host/a.tif?sig=x&se=y", "/vsicurl/https://host/a.tif?sig=x&se=y"),
        ("http://127.0.0.1:8000/a.tif", "/vsicurl/http://127.0.0.1:8000/a.tif"),
        ("/data/a b.tif", "/data/a b.tif"),
        ("file:///data/a.tif", "/data/a.tif"),
    ],
)
def test_gdal_finds_an_asset_where_it_lies(href: str, path: str) -> None:
    assert storage.gdal_path(href) == path


AUTHORITIES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


@pytest.mark.parametrize("first", range(len(AUTHORITIES)))
def test_gdal_trusts_whom_stores_and_catalogs_are_trusted_by(monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    """rasterio sets GDAL's own variable to certifi's file, and of the others GDAL knows none."""
    for i, name in enumerate(AUTHORITIES):
        monkeypatch.setenv(name, "" if i < first else f"/etc/{name}.pem")
    assert storage.gdal_options()["GDAL_CURL_CA_BUNDLE"] == f"/etc/{AUTHORITIES[first]}.pem"


def test_gdal_retries_and_does_not_list_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", *AUTHORITIES):
        monkeypatch.delenv(name, raising=False)
    options = storage.gdal_options()
    assert int(options["GDAL_HTTP_MAX_RETRY"]) >= 3
    assert options["GDAL_DISABLE_READDIR_ON_OPEN"] == "EMPTY_DIR"
    assert not any(name.startswith("AWS_") for name in options)
    assert all(isinstance(value, str) for value in options.values())


@pytest.mark.parametrize(
    ("endpoint", "host", "https"),
    [("http://127.0.0.1:8333", "127.0.0.1:8333", "NO"), ("https://s3.example.org", "s3.example.org", "YES")],
)
def test_gdal_asks_the_store_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, host: str, https: str
) -> None:
    monkeypatch.setitem(os.environ, "AWS_ENDPOINT_URL", "http://another")
    monkeypatch.setitem(os.environ, "AWS_ENDPOINT_URL_S3", endpoint)
    options = storage.gdal_options("s3://bucket/a.tif")
    assert options["AWS_S3_ENDPOINT"] == host
    assert options["AWS_HTTPS"] == https
    assert options["AWS_VIRTUAL_HOSTING"] == "FALSE"


@pytest.mark.parametrize(
    "answer",
    [
        "2026-01-31T23:59:59.123Z",
        "2026-01-31T23:59:59Z",
        "Sat, 31 Jan 2026 23:59:59 GMT",
        "2026-01-31T23:59:59+02:00",
        "1769903999",
        1769903999.5,
    ],
)
def test_a_time_of_s3_is_read_as_botocore_reads_it(answer: object) -> None:
    assert s3.instant(answer) == parse_timestamp(answer)
