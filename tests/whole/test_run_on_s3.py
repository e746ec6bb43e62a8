"""The whole way on object storage: a world in a bucket, products in a bucket, and faults between us and the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pystac
import pytest

from commands import dask_cluster, files, invoke, moved, run_of_a_season, started
from servers.faults import PASSING, Faults
from servers.seaweed import BUCKET, Seaweed
from soilscale import storage
from soilscale.cube import assets

pytestmark = [pytest.mark.slow, pytest.mark.server]

OWN = ("state", "run.yaml", "items", "maps/", "report/index.html")
"""What tells of a run itself, or of where its inputs lie."""


@pytest.fixture(autouse=True)
def healed(store: Faults) -> Iterator[None]:
    yield
    store.heal()


@pytest.fixture(scope="module")
def cluster(store: Faults, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:  # noqa: ARG001 - by the environment
    with dask_cluster(tmp_path_factory.mktemp("cluster")) as address:
        yield address


@pytest.fixture(scope="module")
def local(cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """World and products of six months, which are one season, on a local folder."""
    return run_of_a_season(tmp_path_factory.mktemp("local") / "world", cluster)


@pytest.fixture(scope="module")
def config(local: Path, weed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same world, whose inputs lie in the bucket."""
    weed.upload(local.parent / "catalog", BUCKET, "world/catalog")
    weed.upload(local.parent / "truth.zarr", BUCKET, "world/truth.zarr")
    return moved(local, tmp_path_factory.mktemp("remote"), f"s3://{BUCKET}")


@pytest.fixture(scope="module")
def output(config: Path, cluster: str) -> str:
    """Products of a run on the bucket that nothing disturbed."""
    done = invoke("run", config, "--scheduler", cluster)
    assert done.status == 0, done.err
    return f"s3://{BUCKET}/run"


@pytest.mark.usefixtures("output")
def test_products_in_a_bucket_are_those_on_a_folder(local: Path, weed: Seaweed, tmp_path: Path) -> None:
    there = weed.download(BUCKET, "run", tmp_path / "run")
    assert files(there, without=OWN) == files(local.parent / "run", without=OWN)


def test_the_catalog_of_a_bucket_leads_to_its_maps_and_the_report_is_there(output: str) -> None:
    stac = pystac.StacIO.default()
    stac.read_text = lambda source, *_, **__: storage.read_bytes(str(source)).decode()
    catalog = pystac.Catalog.from_file(f"{output}/maps/catalog.json", stac)
    items = list(catalog.get_items(recursive=True))
    assert {item.id for item in items} >= {"shaanxi-like-month-2004-05", "shaanxi-like-season-2004-04"}
    href = items[0].assets["soil_moisture"].get_absolute_href()
    assert href is not None
    assert href.startswith(f"{output}/maps/month/")
    assert assets.header(href).unit == "m3 m-3"
    assert b"</html>" in storage.read_bytes(f"{output}/report/index.html")


@pytest.mark.usefixtures("output")
def test_nothing_but_the_run_s_own_folders_is_listed_and_a_rerun_asks_little(config: Path, store: Faults) -> None:
    store.heal()
    done = invoke("run", config, "--scheduler", "tcp://127.0.0.1:9")
    assert done.status == 0, done.err
    assert store.requests["PUT"] <= 6
    own = (f"/{BUCKET}/run/", f"/{BUCKET}/world/truth.zarr")
    assert store.listed
    assert not [prefix for prefix in store.listed if not prefix.startswith(own)]


def test_a_run_through_faults_comes_to_the_same_products(
    local: Path, config: Path, cluster: str, store: Faults, weed: Seaweed, tmp_path: Path
) -> None:
    store.share = 0.03
    done = invoke("run", config, "--scheduler", cluster, "--output", f"s3://{BUCKET}/shaken")
    assert done.status == 0, done.err
    assert set(store.spoilt) == set(PASSING)
    store.heal()
    there = weed.download(BUCKET, "shaken", tmp_path / "run")
    assert files(there, without=OWN) == files(local.parent / "run", without=OWN)


def test_two_runs_at_once_below_prefixes_of_one_bucket_leave_each_other_alone(
    local: Path, config: Path, cluster: str, weed: Seaweed, tmp_path: Path
) -> None:
    names, log = ("pair", "pair-2"), tmp_path / "log"
    outputs = [f"s3://{BUCKET}/{name}" for name in names]
    for output in outputs:
        assert invoke("search", config, "--output", output).status == 0
    first, second = (("cube", config, "--scheduler", cluster, "--output", output) for output in outputs)
    with started(*first, log=log) as process:
        done = invoke(*second)
        assert process.wait(120) == 0, log.read_text()
    assert done.status == 0, done.err
    alone = files(local.parent / "run" / "cube.zarr")
    for name in names:
        assert files(weed.download(BUCKET, f"{name}/cube.zarr", tmp_path / name)) == alone


@pytest.mark.parametrize("fault", ["ExpiredToken", "AccessDenied"])
def test_credentials_that_expire_on_the_way_stop_the_run_which_goes_on_with_new_ones(
    config: Path, cluster: str, store: Faults, weed: Seaweed, fault: str
) -> None:
    run = ("-o", "period=[2004-04, 2004-06]", "--output", f"s3://{BUCKET}/{fault}", "--scheduler", cluster)
    markers = f"{fault}/state/cube/"

    def expire(request: str) -> bool:
        return len(seen) > 4 or (request.startswith("PUT") and markers in request and bool(seen.append(request)))

    seen: list[str] = []
    store.share, store.kinds, store.matches = 1.0, (fault,), expire
    done = invoke("run", config, *run)
    assert done.status == 69, done.err
    assert fault in done.err
    assert "renew the credentials" in done.err
    assert "Traceback" not in done.err
    store.heal()
    standing = weed.keys(BUCKET, markers).keys()
    assert 1 <= len(standing) < 12
    assert not [name for name in standing if "failed" in name]
    done = invoke("cube", config, *run)
    assert done.status == 0, done.err
    assert weed.keys(BUCKET, markers).keys() >= standing


def test_a_bucket_that_vanishes_on_the_way_stops_the_run(
    config: Path, cluster: str, store: Faults, weed: Seaweed
) -> None:
    weed.client().create_bucket(Bucket="short-lived")
    gone: list[str] = []

    def vanish(request: str) -> bool:
        if not gone and request.startswith("PUT") and "state/cube/ndvi" in request:
            gone.append(request)
            weed.remove("short-lived")
        return False

    store.share, store.matches = 1.0, vanish
    run = (config, "--output", "s3://short-lived/run")
    done = invoke("run", *run, "--scheduler", cluster)
    assert gone, done.err
    assert done.status == 69, done.err
    assert "s3://short-lived/run" in done.err
    assert "run the same command again" in done.err
    assert "Traceback" not in done.err
    done = invoke("status", *run)
    assert done.status == 69
    assert "there is no bucket 'short-lived'" in done.err
