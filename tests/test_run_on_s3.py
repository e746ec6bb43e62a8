"""The whole way on object storage: a world in a bucket, products in a bucket, and faults between us and the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import dask_cluster, edit, files, invoke, sparse_world
from servers.faults import Faults, faulty
from servers.seaweed import Seaweed, seaweed

pytestmark = [pytest.mark.slow, pytest.mark.server]

OWN = ("state", "run.yaml", "items", "maps/", "report/index.html")
"""What tells of a run itself, or of where its inputs lie."""

BUCKET = "national"


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as context:
        yield context


@pytest.fixture(scope="module")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    with seaweed(tmp_path_factory.mktemp("weed")) as server:
        server.client().create_bucket(Bucket=BUCKET)
        yield server


@pytest.fixture(scope="module")
def proxy(weed: Seaweed, patch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """The only way to the store, for this process and the workers."""
    with faulty(weed.endpoint) as faults:
        for name, value in (weed.environment | {"AWS_ENDPOINT_URL": faults.url}).items():
            patch.setenv(name, value)
        yield faults


@pytest.fixture(autouse=True)
def sound(proxy: Faults) -> Iterator[None]:
    yield
    proxy.heal()


@pytest.fixture(scope="module")
def cluster(proxy: Faults, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with dask_cluster(tmp_path_factory.mktemp("cluster")) as address:
        yield address


@pytest.fixture(scope="module")
def local(cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """World and products on a local folder."""
    path = edit(sparse_world(tmp_path_factory.mktemp("local") / "world"), models__ablation=False)
    done = invoke("run", path, "--scheduler", cluster)
    assert done.status == 0, done.err
    return path


@pytest.fixture(scope="module")
def config(local: Path, weed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same world, whose inputs lie in the bucket."""
    weed.upload(local.parent / "catalog", BUCKET, "world/catalog")
    weed.upload(local.parent / "truth.zarr", BUCKET, "world/truth.zarr")
    path = tmp_path_factory.mktemp("remote") / local.name
    path.write_text(local.read_text())
    (path.parent / "stations.csv").write_bytes((local.parent / "stations.csv").read_bytes())
    return edit(
        path,
        output=f"s3://{BUCKET}/run",
        catalogs__world__url=f"s3://{BUCKET}/world/catalog/catalog.json",
        validation__truth=f"s3://{BUCKET}/world/truth.zarr",
    )


@pytest.fixture(scope="module")
def output(config: Path, cluster: str) -> str:
    """Products of a run on the bucket that nothing disturbed."""
    done = invoke("run", config, "--scheduler", cluster)
    assert done.status == 0, done.err
    return f"s3://{BUCKET}/run"


def test_products_in_a_bucket_are_those_on_a_folder(local: Path, output: str, weed: Seaweed, tmp_path: Path) -> None:
    there = weed.download(BUCKET, "run", tmp_path / "run")
    assert files(there, without=OWN) == files(local.parent / "run", without=OWN)
