"""Stores on S3, and on emulators of Google's and Azure's: the same objects, listings, claims, arrays and rasters."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask.array as da
import fsspec
import numpy as np
import pytest
import xarray as xr
from google.oauth2.credentials import Credentials
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from servers.clouds import Emulator
from soilscale import storage
from soilscale.catalog import documents
from soilscale.config.urls import is_home
from soilscale.cube import assets
from soilscale.cube.windows import windows
from soilscale.engine import lease
from soilscale.engine.output import Workspace
from soilscale.errors import ConfigurationError, DataError, IncompleteError, RefusedError
from soilscale.storage import google
from soilscale.storage.clouds import OnItsLoop

pytestmark = pytest.mark.server

VALUES = np.arange(16, dtype="float32").reshape(4, 4)
TILE = (slice(0, 4), slice(0, 4))


@pytest.fixture
def home(anywhere: Emulator) -> str:
    anywhere.faults.heal()
    return f"{anywhere.home}/home"


def test_objects_come_back_as_they_were_written_and_are_gone_when_removed(home: str) -> None:
    storage.write_bytes(f"{home}/a b", b"\x00\xff")
    storage.write_bytes(f"{home}/ä%20#?.json", b"{}")
    storage.write_bytes(f"{home}/empty", b"")
    assert storage.read_many(home, ["a b", "ä%20#?.json", "empty", "none"]) == {
        "a b": b"\x00\xff",
        "ä%20#?.json": b"{}",
        "empty": b"",
    }
    assert storage.exists(f"{home}/empty")
    assert storage.exists(home)
    assert not storage.exists(f"{home}/a")
    assert storage.read_head(f"{home}/a b", 1) == b"\x00"
    assert storage.sizes(home) == {"a b": 2, "ä%20#?.json": 2, "empty": 0}
    storage.remove(f"{home}/a b")
    storage.remove(f"{home}/a b")
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(f"{home}/a b")
    storage.remove(home, ["ä%20#?.json", "empty", "none"])
    assert storage.names_below(home) == []


def test_a_stamp_is_the_same_by_a_listing_and_another_after_a_write(home: str) -> None:
    storage.write_bytes(f"{home}/a", b"first")
    first = storage.stamp(f"{home}/a")
    assert storage.stamps(home) == {"a": first}
    storage.write_bytes(f"{home}/a", b"again")
    assert storage.stamp(f"{home}/a") != first
    storage.remove(f"{home}/a")


@pytest.mark.parametrize("whole", [2**18, 64 * 2**20])
def test_a_large_file_comes_back(home: str, whole: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(google, "WHOLE", whole)
    content = os.urandom(2**20 + 17)
    (tmp_path / "map.tif").write_bytes(content)
    storage.write_file(f"{home}/map.tif", tmp_path / "map.tif")
    assert storage.read_bytes(f"{home}/map.tif") == content
    assert storage.read_ranges(f"{home}/map.tif", [(3, 9), (2**20, 2**20 + 17)]) == [content[3:9], content[2**20 :]]
    storage.remove(f"{home}/map.tif")


def test_many_markers_are_few_requests_and_no_other_run_is_looked_at(home: str, anywhere: Emulator) -> None:
    names = [f"ndvi/{number:04d}.json" for number in range(1103)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: storage.write_bytes(f"{home}/run/state/{name}", b"{}"), names))
    storage.write_bytes(f"{home}/run/state-of-another/x.json", b"")
    anywhere.faults.heal()
    assert storage.names_below(f"{home}/run/state") == names
    assert anywhere.faults.requests == {"LIST": 2}
    # Two to see that there are more than one lists, one for the folders, three for theirs, of which one has two pages.
    storage.write_bytes(f"{home}/run/state/layout.json", b"")
    storage.write_bytes(f"{home}/run/state/cube/lst/1.json", b"")
    anywhere.faults.heal()
    assert storage.names_below(f"{home}/run/state", by_folder=True) == ["cube/lst/1.json", "layout.json", *names]
    assert anywhere.faults.requests == {"LIST": 7}
    storage.remove(f"{home}/run/state", ["layout.json", "cube/lst/1.json"])
    storage.remove(f"{home}/run/state", [*names, "ndvi/nothing"])
    assert storage.names_below(home) == ["run/state-of-another/x.json"]
    storage.remove(f"{home}/run/state-of-another/x.json")


def test_one_writer_of_many_writes_a_new_object_and_the_store_is_known_to_see_to_it(home: str) -> None:
    url = f"{home}/term.json"
    with ThreadPoolExecutor(16) as pool:
        wrote = list(pool.map(lambda number: storage.write_new(url, str(number).encode()), range(64)))
    assert sum(wrote) == 1
    assert storage.refuses_again(url, b"other")
    assert storage.read_bytes(url) == str(wrote.index(True)).encode()


def test_of_runs_that_begin_at_once_one_alone_holds_the_output_and_the_others_end_with_75(home: str) -> None:
    workspace, refused = Workspace(f"{home}/wanted"), threading.Semaphore(0)

    def attempt(_: int) -> int:
        try:
            with lease.held(workspace):
                assert all(refused.acquire(timeout=60) for _ in range(3)), "the others are refused meanwhile"
        except IncompleteError as error:
            refused.release()
            return error.status
        return 0

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(attempt, range(4))) == [0] + 3 * [75]


def test_arrays_are_written_by_regions_and_a_lost_chunk_is_named(home: str) -> None:
    values = da.full((2, 4, 4), np.nan, dtype="float32", chunks=(1, 4, 4))
    encoding = {"chunks": (1, 4, 4), "_FillValue": np.float32("nan")}
    cube = f"{home}/cube.zarr"
    template = xr.Dataset(
        {"ndvi": xr.Variable(("time", "y", "x"), values, {}, encoding)},
        {"time": np.arange(2), "y": np.arange(4.0)[::-1], "x": np.arange(4.0)},
    )
    storage.create(cube, "fine", template)
    storage.write_region(cube, "fine", "ndvi", VALUES, (1, *TILE))
    np.testing.assert_array_equal(storage.read_region(cube, "fine", "ndvi", (1, *TILE)), VALUES)
    with storage.open_group(cube, "fine", gaps=True) as group:
        assert list(group) == ["ndvi"]
        assert np.isnan(group["ndvi"][0]).all()
    with storage.open_foreign(cube, "fine") as group:
        np.testing.assert_array_equal(group["ndvi"][1], VALUES)
    with pytest.raises(storage.DamagedError, match=f"{cube}/fine/ndvi/c/0/0/0 is lost: "):
        storage.read_region(cube, "fine", "ndvi", (0, *TILE))


def test_gdal_reads_ranges_where_the_object_lies(home: str, anywhere: Emulator) -> None:
    url = f"{home}/{anywhere.home[:2]} rain.tif"
    with MemoryFile() as memory:
        profile = {"driver": "COG", "width": 600, "height": 600, "count": 1, "dtype": "float32", "crs": "EPSG:4326"}
        with memory.open(**profile, transform=from_origin(10, 50, 0.01, 0.01)) as file:
            file.write(np.arange(360_000, dtype="float32").reshape(600, 600), 1)
        storage.write_bytes(url, bytes(memory.getbuffer()))
    assert assets.header(url).shape == (600, 600)
    window = windows([(url, assets.header(url))], assets.header(url), (10, 49.5, 10.5, 50))
    np.testing.assert_array_equal(window[0][0, :3], [0, 1, 2])
    with pytest.raises(DataError, match=r"nothing\.tif cannot be read: "):
        assets.header(f"{home}/nothing.tif")


def test_a_document_of_a_catalog_is_read_and_a_missing_one_is_a_matter_of_the_data(home: str) -> None:
    storage.write_json(f"{home}/stac/catalog.json", {"type": "Catalog"})
    assert documents.read(documents.resolve(f"{home}/stac/a/item.json", "../catalog.json"), "x")["type"] == "Catalog"
    with pytest.raises(DataError, match="does not exist"):
        documents.read(f"{home}/stac/none.json", "x")


def test_a_bucket_that_is_not_there_is_named(anywhere: Emulator) -> None:
    with pytest.raises(RefusedError, match=r"there is no bucket 'vanished' at .*: create it"):
        storage.names_below(f"{anywhere.home.partition('://')[0]}://vanished/run/x")


def test_who_is_refused_is_told_to_renew_the_credentials(home: str, anywhere: Emulator) -> None:
    anywhere.faults.share, anywhere.faults.kinds = 1.0, ("AccessDenied",)
    for what in (storage.read_bytes, storage.names_below, lambda url: storage.write_bytes(url, b"")):
        with pytest.raises(RefusedError, match="access is denied: renew the credentials"):
            what(f"{home}/a")
    anywhere.faults.heal()


# What needs no server


@pytest.mark.parametrize("url", ["gs://bucket/a", "gcs://bucket/a", "az://container/a", "abfs://container/a"])
def test_products_may_go_to_any_store(url: str) -> None:
    assert is_home(url)


def test_an_account_belongs_into_the_environment() -> None:
    assert not is_home("abfs://container@account.dfs.core.windows.net/a")
    with pytest.raises(ConfigurationError, match="set the account in the environment"):
        storage.read_bytes("abfs://container@account.dfs.core.windows.net/a")


def test_azure_needs_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="set AZURE_STORAGE_ACCOUNT, or AZURE_STORAGE_CONNECTION_STRING"):
        storage.read_bytes("az://container/a")


@pytest.mark.parametrize(("package", "scheme"), [("gcsfs", "gs"), ("adlfs", "az")])
def test_a_missing_extra_is_named_and_ends_with_78(package: str, scheme: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None\nfrom soilscale import storage\nstorage.exists('{scheme}://b/a')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"ConfigurationError: {scheme}:// needs {package}" in done.stderr
    assert f"pip install 'soilscale[{scheme}]'" in done.stderr
    assert ConfigurationError.status == 78


def test_application_default_credentials_reach_gdal_as_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(google.EMULATOR, raising=False)
    known = Credentials("t0")
    monkeypatch.setattr(google, "credentials", lambda: known)
    assert google.Google().gdal_credentials() == {"GDAL_HTTP_HEADERS": "Authorization: Bearer t0"}
    assert not google.Google().is_anonymous()


def test_a_file_system_on_its_loop_travels_to_workers() -> None:
    fs = OnItsLoop(fsspec.filesystem("memory"))
    assert pickle.loads(pickle.dumps(fs)).there is fs.there  # noqa: S301 - just written here
