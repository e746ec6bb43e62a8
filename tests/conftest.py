"""What holds for every test."""

from __future__ import annotations

import gc
import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import pystac.validation
import pytest
from fsspec.implementations.http import HTTPFileSystem
from hypothesis import settings
from s3fs import S3FileSystem

from commands import SHARED, dask_cluster, invoke, shared, sparse_world
from drawings import Drawings
from schemas import offline
from servers.clouds import Emulator, azurite, fake_gcs
from servers.faults import Faults, faulty
from servers.seaweed import BUCKET, Seaweed, seaweed
from soilscale import storage
from soilscale.storage import azure, google, s3

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

pystac.validation.set_validator(offline())

# A shell starts what it runs in the background with Ctrl-C ignored, and every process of a test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Set the files of slow tests first: each goes to one worker, and one that came last would run alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def forget_stores() -> None:
    """Forget what this process knows of stores, as a new one would."""
    for kind in (HTTPFileSystem, S3FileSystem):
        kind.clear_instance_cache()
    for known in (s3.session, s3.credentials, google.credentials, azure.credential):
        known.cache_clear()
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()  # connections of stores that nobody can close any more


@pytest.fixture(scope="session", autouse=True)
def _shared(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Name the folder that the processes of a session share: the one in which xdist puts those of its workers."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    os.environ[SHARED] = str(folder)


@pytest.fixture(scope="session", autouse=True)
def drawings(_shared: None) -> Iterator[None]:
    """Draw no figure of a run again of the same data: drawing takes more than half of a small run's time."""
    folder = Path(os.environ[SHARED]) / "drawings"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("soilscale.stages.report_figures.figures", Drawings(folder))
        yield


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Dask cluster of two workers, which have imported and compiled what they need after the first file.

    A test that harms its cluster, or needs another environment, starts its own.
    """
    with dask_cluster(tmp_path_factory.mktemp("cluster")) as address:
        if "PYTEST_XDIST_WORKER" in os.environ:
            _undisturbed(address)  # what it compiles is kept on disk, and compiled by no other process
        yield address


@pytest.fixture(scope="session")
def undisturbed(cluster: str) -> Path:
    """Configuration of a sparse world with the products of a run that nothing disturbed; both are only read."""
    return _undisturbed(cluster)


def _undisturbed(cluster: str) -> Path:
    with shared("undisturbed") as folder:
        path = folder / "world.yaml"
        if not (folder / "whole").exists():
            done = invoke("run", sparse_world(folder), "--scheduler", cluster)
            assert done.status == 0, done.err
            (folder / "whole").touch()
    return path


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A real S3 server."""
    with seaweed(tmp_path_factory.mktemp("weed")) as server:
        yield server


@pytest.fixture(scope="module")
def store(weed: Seaweed) -> Iterator[Faults]:
    """The way to an empty bucket, for this process and those that it starts; it counts requests, and fails as told."""
    weed.client().create_bucket(Bucket=BUCKET)
    with faulty(weed.endpoint) as faults, pytest.MonkeyPatch.context() as patch:
        for name, value in weed.environment(faults.url).items():
            patch.setenv(name, value)
        forget_stores()
        yield faults
    forget_stores()
    weed.remove(BUCKET)


@pytest.fixture(scope="session")
def _google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with fake_gcs(tmp_path_factory.mktemp("google")) as server:
        yield server


@pytest.fixture(scope="session")
def _azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with azurite(tmp_path_factory.mktemp("azure")) as server:
        yield server


@pytest.fixture(scope="module", params=["s3", "gs", "az"])
def anywhere(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """An empty bucket on each kind of object store, for this process and those that it starts."""
    if request.param == "s3":
        yield Emulator(f"s3://{BUCKET}", request.getfixturevalue("store"), {})
        return
    server: Emulator = request.getfixturevalue({"gs": "_google", "az": "_azure"}[request.param])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        forget_stores()
        yield server
        storage.remove(server.home, storage.names_below(server.home))
    forget_stores()
