"""Stores on a real S3 server: whole objects, listings, credentials, and what is told of what cannot be done."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from commands import free_port_of_nobody
from conftest import forget_stores
from servers.faults import Faults
from servers.seaweed import BUCKET, Seaweed
from soilscale import storage
from soilscale.cube import assets
from soilscale.cube.windows import windows
from soilscale.engine import lease
from soilscale.engine.output import Workspace
from soilscale.errors import ConfigurationError, DataError, IncompleteError, ServiceError
from soilscale.stages import inventory, releases
from soilscale.storage import clouds, s3

pytestmark = pytest.mark.server

HOME = f"s3://{BUCKET}/home"
RUN = f"{HOME}/run"
CUBE = f"{RUN}/cube.zarr"
TILE = (slice(0, 4), slice(0, 4))
VALUES = np.arange(16, dtype="float32").reshape(4, 4)


@pytest.fixture(autouse=True)
def healed(store: Faults) -> Iterator[None]:
    store.heal()
    yield
    store.heal()


@pytest.fixture
def anew() -> Iterator[None]:
    """Have what a test sets in the environment taken up, and forgotten again."""
    yield
    forget_stores()


@pytest.fixture(scope="module")
def raster(store: Faults) -> str:  # noqa: ARG001 - by the environment
    """A COG in the bucket."""
    with MemoryFile() as memory:
        profile = {"driver": "COG", "width": 600, "height": 600, "count": 1, "dtype": "float32", "crs": "EPSG:4326"}
        with memory.open(**profile, transform=from_origin(10, 50, 0.01, 0.01)) as file:
            file.write(np.arange(360_000, dtype="float32").reshape(600, 600), 1)
        storage.write_bytes(f"{HOME}/rain.tif", bytes(memory.getbuffer()))
    return f"{HOME}/rain.tif"


@pytest.fixture
def unseen(raster: str, weed: Seaweed, request: pytest.FixtureRequest) -> str:
    """A copy of it that GDAL has not seen yet, and so has nothing remembered of."""
    name = f"{abs(hash(request.node.name))}.tif"
    source = {"Bucket": BUCKET, "Key": "home/rain.tif"}
    weed.client().copy_object(Bucket=BUCKET, Key=f"home/{name}", CopySource=source)
    return raster.replace("rain.tif", name)


@pytest.fixture(scope="module")
def cube(store: Faults) -> str:  # noqa: ARG001 - by the environment
    """A cube of one variable, of which the first month is written."""
    values = da.full((3, 4, 4), np.nan, dtype="float32", chunks=(1, 4, 4))
    encoding = {"chunks": (1, 4, 4), "_FillValue": np.float32("nan")}
    template = xr.Dataset(
        {"ndvi": xr.Variable(("time", "y", "x"), values, {}, encoding)},
        {"time": np.arange(3), "y": np.arange(4.0)[::-1], "x": np.arange(4.0)},
    )
    storage.create(CUBE, "fine", template)
    storage.write_region(CUBE, "fine", "ndvi", VALUES, (0, *TILE))
    return CUBE


# What is written and read


def test_objects_come_back_as_they_were_written_and_are_gone_when_removed() -> None:
    storage.write_bytes(f"{RUN}/a", b"\x00\xff")
    storage.write_json(f"{RUN}/b.json", {"a": [1, None]})
    assert storage.read_bytes(f"{RUN}/a") == b"\x00\xff"
    assert storage.read_json(f"{RUN}/b.json") == {"a": [1, None]}
    assert storage.exists(f"{RUN}/a")
    assert storage.exists(RUN)
    storage.remove(f"{RUN}/a")
    assert not storage.exists(f"{RUN}/a")
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(f"{RUN}/a")
    storage.remove(f"{RUN}/a")
    storage.remove(f"{RUN}/b.json")


def test_the_stamp_of_an_object_is_told_without_reading_it(store: Faults) -> None:
    storage.write_bytes(f"{RUN}/a", b"first")
    first = storage.stamp(f"{RUN}/a")
    assert first
    assert "GET" not in store.requests
    storage.write_bytes(f"{RUN}/a", b"again")
    assert storage.stamp(f"{RUN}/a") != first


def test_an_object_takes_one_request(store: Faults) -> None:
    storage.write_bytes(f"{RUN}/a", b"a")
    storage.read_bytes(f"{RUN}/a")
    assert store.requests == {"PUT": 1, "GET": 1}
    assert storage.names_below(f"{HOME}/nothing") == []
    assert store.requests == {"PUT": 1, "GET": 1, "LIST": 1}
    storage.remove(f"{RUN}/a")


def test_an_object_is_read_in_parts_from_a_copy_that_goes_again(store: Faults) -> None:
    storage.write_bytes(f"{HOME}/table.parquet", b"rows")
    store.heal()
    with storage.local_copy(f"{HOME}/table.parquet") as path:
        assert path.read_bytes() == b"rows"
    assert not path.exists()
    assert store.requests["GET"] == 1
    assert sum(store.requests.values()) <= 2
    with pytest.raises(FileNotFoundError), storage.local_copy(f"{HOME}/none.parquet"):
        pass
    with (
        pytest.raises(ServiceError, match="there is no bucket 'no-such'"),
        storage.local_copy("s3://no-such/a.parquet"),
    ):
        pass


@pytest.mark.usefixtures("store")
def test_one_writer_of_many_writes_a_new_object_and_the_store_is_known_to_see_to_it() -> None:
    url = f"{HOME}/term.json"
    with ThreadPoolExecutor(16) as pool:
        wrote = list(pool.map(lambda number: storage.write_new(url, str(number).encode()), range(64)))
    assert sum(wrote) == 1
    assert storage.refuses_again(url, b"other")
    assert storage.read_bytes(url) == str(wrote.index(True)).encode()


@pytest.mark.usefixtures("store")
def test_a_run_looks_again_only_where_a_store_does_not_honour_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    monkeypatch.setattr(lease.time, "sleep", looks.append)
    workspace = Workspace(f"{HOME}/held")
    with lease.held(workspace):
        assert looks == []
    heeding = s3.S3.send

    async def heedless(self: s3.S3, fs: object, path: str, content: bytes, _condition: str, *rest: str) -> str:
        return await heeding(self, fs, path, content, clouds.NO_CONDITION, *rest)

    monkeypatch.setattr(s3.S3, "send", heedless)
    with lease.held(workspace):
        assert looks == [lease.LOOK]
    assert lease.holder(workspace) is None


@pytest.mark.usefixtures("store")
def test_of_runs_that_begin_at_once_one_alone_holds_the_output_and_the_others_end_with_75() -> None:
    workspace, refused = Workspace(f"{HOME}/wanted"), threading.Semaphore(0)

    def attempt(_: int) -> int:
        try:
            with lease.held(workspace):
                assert all(refused.acquire(timeout=30) for _ in range(7)), "the others are refused meanwhile"
        except IncompleteError as error:
            refused.release()
            return error.status
        return 0

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(attempt, range(8))) == [0] + 7 * [75]


def test_many_markers_are_few_requests_and_no_other_run_is_looked_at(
    store: Faults, weed: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = weed.client()
    names = [f"ndvi/{number:04d}.json" for number in range(1203)]

    def put(name: str) -> None:
        client.put_object(Bucket=BUCKET, Key=f"home/run/state/{name}", Body=b"{}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, names))
    storage.write_bytes(f"{RUN}/state-of-another/x.json", b"")
    store.heal()
    # By which botocore reads the time of each object, for four fifths of what a listing costs.
    with monkeypatch.context() as patch:
        patch.delattr("dateutil.parser.parse")
        assert storage.names_below(f"{RUN}/state") == names
    assert store.requests == {"LIST": 2}
    assert store.listed == {f"/{BUCKET}/home/run/state/"}
    put("ndvi/new.json")
    assert storage.names_below(f"{RUN}/state")[-1] == "ndvi/new.json"
    store.heal()
    storage.remove(f"{RUN}/state", [*names[:1100], "ndvi/nothing"])
    assert store.requests == {"POST": 2}
    storage.remove(f"{RUN}/state", storage.names_below(f"{RUN}/state"))
    assert weed.keys(BUCKET, "home/run/state").keys() == {"home/run/state-of-another/x.json"}
    storage.remove(f"{RUN}/state-of-another")
    assert storage.exists(f"{RUN}/state-of-another/x.json"), "a folder is not removed whole"
    storage.remove(f"{RUN}/state-of-another/x.json")


def test_of_an_output_in_a_bucket_only_what_runs_wrote_is_removed(store: Faults, weed: Seaweed) -> None:
    store.heal()
    workspace = Workspace(f"{HOME}/owned")
    ours = ("cube.zarr/zarr.json", "cube.zarr/fine/rain/c/0/0/0", "maps/catalog.json", "state/cube/a.failed.json")
    mine = ("cube.zarr/README", "maps/catalog.json.bak", "maps/styles/catalog.json", "notes.txt", "report/extra.csv")
    for name in (*ours, *mine):
        storage.write_bytes(storage.join(workspace.output, name), name.encode())
    inventory.remove(workspace)
    assert weed.keys(BUCKET, "home/owned").keys() == {f"home/owned/{name}" for name in mine}
    storage.remove(workspace.output, mine)


def test_no_two_runs_take_one_number_of_a_release_in_a_bucket(store: Faults) -> None:
    store.heal()
    workspace, runs = Workspace(f"{HOME}/released"), 6
    described = [releases._described(str(run), "config", {}) for run in range(runs)]  # noqa: SLF001 - the claim alone
    meet = threading.Barrier(runs)

    def claim(own: releases.Release) -> int:
        meet.wait()
        return releases._claimed(workspace, own).number  # noqa: SLF001 - likewise

    with ThreadPoolExecutor(runs) as pool:
        numbers = list(pool.map(claim, described))
    assert sorted(numbers) == releases.numbers(workspace) == list(range(1, runs + 1))
    storage.remove(workspace.state(releases.RELEASES), [f"{number}.json" for number in numbers])


def test_a_large_object_goes_in_parts(store: Faults, weed: Seaweed) -> None:
    content = os.urandom(37 * 2**20)
    store.share, store.kinds, store.matches = 0.5, ("SlowDown", "drop"), lambda request: "partNumber=2" in request
    storage.write_bytes(f"{RUN}/map.tif", content)
    assert store.requests["PUT"] >= 3
    assert weed.client().head_object(Bucket=BUCKET, Key="home/run/map.tif")["ETag"].endswith('-3"')
    assert storage.read_bytes(f"{RUN}/map.tif") == content
    storage.remove(f"{RUN}/map.tif")


def test_a_large_file_goes_in_parts(store: Faults, weed: Seaweed, tmp_path: Path) -> None:
    content = os.urandom(37 * 2**20)
    (tmp_path / "map.tif").write_bytes(content)
    store.share, store.kinds, store.matches = 0.5, ("SlowDown", "drop"), lambda request: "partNumber=2" in request
    storage.write_file(f"{RUN}/map.tif", tmp_path / "map.tif")
    assert weed.client().head_object(Bucket=BUCKET, Key="home/run/map.tif")["ETag"].endswith('-3"')
    assert storage.read_bytes(f"{RUN}/map.tif") == content
    storage.remove(f"{RUN}/map.tif")


def test_a_region_is_one_object_and_two_requests(store: Faults, cube: str, weed: Seaweed) -> None:
    storage.write_region(cube, "fine", "ndvi", VALUES, (1, *TILE))
    assert store.requests == {"GET": 1, "PUT": 1}
    np.testing.assert_array_equal(storage.read_region(cube, "fine", "ndvi", (1, *TILE)), VALUES)
    assert store.requests == {"GET": 3, "PUT": 1}
    storage.write_region(cube, "fine", "ndvi", np.full((4, 4), np.nan, "float32"), (1, *TILE))
    assert "home/run/cube.zarr/fine/ndvi/c/1/0/0" in weed.keys(BUCKET), "chunks without values are written too"
    assert np.isnan(storage.open_group(cube, "fine", gaps=True)["ndvi"][1:]).all()


def test_a_chunk_that_is_not_there_is_named(cube: str) -> None:
    storage.write_region(cube, "fine", "ndvi", VALUES, (1, *TILE))
    storage.remove(f"{cube}/fine/ndvi/c/1/0/0")
    with pytest.raises(storage.DamagedError, match=f"{cube}/fine/ndvi/c/1/0/0 is lost: "):
        storage.read_region(cube, "fine", "ndvi", (1, *TILE))


def test_a_damaged_chunk_is_named(cube: str) -> None:
    chunk = f"{cube}/fine/ndvi/c/2/0/0"
    storage.write_region(cube, "fine", "ndvi", VALUES, (2, *TILE))
    content = storage.read_bytes(chunk)
    storage.write_bytes(chunk, content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(storage.DamagedError, match=f"{chunk} is damaged: ") as caught:
        storage.read_region(cube, "fine", "ndvi", (2, *TILE))
    assert (caught.value.store, caught.value.key) == (CUBE, "fine/ndvi/c/2/0/0")
    storage.remove(chunk)


def test_gdal_reads_ranges_where_the_object_lies(store: Faults, raster: str) -> None:
    assert assets.header(raster).shape == (600, 600)
    window = windows([(raster, assets.header(raster))], assets.header(raster), (10, 49.5, 10.5, 50))
    np.testing.assert_array_equal(window[0][0, :3], [0, 1, 2])
    assert not store.listed


# Faults that pass


def test_what_passes_is_tried_again(store: Faults, cube: str, raster: str) -> None:
    store.share = 0.3
    for number in range(12):
        storage.write_bytes(f"{RUN}/many/{number}", bytes([number]) * 1000)
    assert [storage.read_bytes(f"{RUN}/many/{number}")[0] for number in range(12)] == list(range(12))
    assert len(storage.names_below(f"{RUN}/many")) == 12
    storage.remove(f"{RUN}/many", storage.names_below(f"{RUN}/many"))
    storage.write_region(cube, "fine", "ndvi", VALUES, (1, *TILE))
    np.testing.assert_array_equal(storage.read_region(cube, "fine", "ndvi", (1, *TILE)), VALUES)
    for _ in range(4):
        window = windows([(raster, assets.header(raster))], assets.header(raster), (12, 46, 14, 48))
        assert window[0].shape[-1] >= 200
    store.heal()
    assert storage.names_below(f"{RUN}/many") == []
    np.testing.assert_array_equal(
        window[0], windows([(raster, assets.header(raster))], assets.header(raster), (12, 46, 14, 48))[0]
    )


# Faults that do not


ASK: dict[str, Callable[[str], object]] = {
    "read": storage.read_bytes,
    "exists": storage.exists,
    "list": storage.names_below,
    "remove": storage.remove,
    "write": lambda url: storage.write_bytes(url, b""),
    "zarr read": lambda url: storage.read_region(url, "fine", "ndvi", (0, *TILE)),
    "zarr write": lambda url: storage.write_region(url, "fine", "ndvi", VALUES, (0, *TILE)),
    "zarr open": lambda url: storage.open_group(url, "fine"),
    "gdal": assets.header,
}


@pytest.mark.parametrize(("asked", "fault"), list(product(ASK, ["ExpiredToken", "AccessDenied"])))
def test_who_is_refused_is_told_to_renew_the_credentials(
    store: Faults, cube: str, unseen: str, asked: str, fault: str
) -> None:
    store.share, store.kinds = 1.0, (fault,)
    url = unseen if asked == "gdal" else cube
    with pytest.raises(ServiceError, match=rf"{HOME}.*(renew the credentials).*run the same command again") as caught:
        ASK[asked](url)
    assert fault in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("asked", sorted(set(ASK) - {"write"}))
@pytest.mark.usefixtures("store")
def test_a_bucket_that_is_not_there_is_named(asked: str) -> None:
    with pytest.raises(ServiceError, match=r"there is no bucket 'vanished' at http://127.0.0.1:\d+: create it"):
        ASK[asked]("s3://vanished/run/x.tif")


@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize("asked", ASK)
def test_an_endpoint_that_does_not_answer_is_a_matter_of_the_service(
    cube: str, unseen: str, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port_of_nobody()}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    options = storage.gdal_options(unseen) | {"GDAL_HTTP_RETRY_DELAY": "0.01"}
    monkeypatch.setattr(storage, "gdal_options", lambda _href=None: options)
    forget_stores()
    url = unseen if asked == "gdal" else cube
    with pytest.raises(ServiceError, match=rf"{HOME}.*run the same command again"):
        ASK[asked](url)


@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize(
    ("name", "code"), [("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId"), ("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch")]
)
def test_wrong_credentials_are_told_as_such(unseen: str, name: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "wrong-secret")
    forget_stores()
    with pytest.raises(ServiceError, match=rf"\({code}\); access is denied: renew the credentials \(AWS_\*"):
        storage.read_bytes(unseen)
    with pytest.raises(ServiceError, match="renew the credentials"):
        assets.header(unseen)


@pytest.mark.usefixtures("store")
def test_an_asset_that_its_store_does_not_have_is_a_matter_of_the_data() -> None:
    with pytest.raises(DataError, match=r"nothing\.tif cannot be read: .*replace the file"):
        assets.header(f"{HOME}/nothing.tif")


def test_an_asset_that_is_there_but_empty_is_a_matter_of_the_data() -> None:
    storage.write_bytes(f"{HOME}/empty.tif", b"")
    with pytest.raises(DataError, match=r"empty\.tif cannot be read: .*replace the file"):
        assets.header(f"{HOME}/empty.tif")


# Profiles


@pytest.fixture
def profile(
    store: Faults,
    weed: Seaweed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    anew: None,  # noqa: ARG001
) -> None:
    """Credentials and endpoint in the files of a profile, and none in the environment."""
    known = weed.environment(store.url)
    for name in known:
        monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text(
        f"[station]\naws_access_key_id = {known['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {known['AWS_SECRET_ACCESS_KEY']}\n"
    )
    (tmp_path / "config").write_text(f"[profile station]\nregion = us-east-1\nendpoint_url = {store.url}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "station")
    forget_stores()


@pytest.mark.usefixtures("profile")
def test_a_profile_gives_credentials_and_endpoint_to_all_that_read(unseen: str, cube: str) -> None:
    assert storage.read_bytes(unseen)[:2] == b"II"
    np.testing.assert_array_equal(storage.read_region(cube, "fine", "ndvi", (0, *TILE)), VALUES)
    assert assets.header(unseen).shape == (600, 600)


@pytest.mark.usefixtures("profile")
def test_a_profile_that_is_not_there_is_a_wrong_configuration(raster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    forget_stores()
    with pytest.raises(ConfigurationError, match=r"nobody.*correct AWS_PROFILE, or add the profile"):
        storage.read_bytes(raster)


@pytest.mark.usefixtures("store")
def test_maps_of_a_bucket_open_in_gdal_s_own_way(unseen: str) -> None:
    """Rasterio on its own, with what the package gives it."""
    with (
        rasterio.Env(storage.gdal_session(unseen), **storage.gdal_options(unseen)),
        rasterio.open(storage.gdal_path(unseen)) as file,
    ):
        assert file.read(1, window=((0, 1), (0, 3))).tolist() == [[0, 1, 2]]
