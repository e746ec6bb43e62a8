"""Whole runs on Google's and Azure's stores, killed on the way and run again: byte by byte what a folder holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import dask_cluster, files, invoke, moved, run_of_a_season, started, wait_until
from servers.clouds import Emulator
from soilscale import storage

pytestmark = [pytest.mark.slow, pytest.mark.server]

OWN = ("state", "run.yaml", "items", "maps/", "report/index.html")
"""What tells of a run itself, or of where its inputs lie."""


@pytest.fixture(scope="module")
def local(cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """World and products of six months, which are one season, on a folder."""
    return run_of_a_season(tmp_path_factory.mktemp("local") / "world", cluster)


@pytest.mark.parametrize("anywhere", ["gs", "az"], indirect=True)
def test_a_run_that_is_killed_in_a_bucket_and_resumed_makes_what_a_folder_holds(
    local: Path, anywhere: Emulator, tmp_path: Path
) -> None:
    for folder in ("catalog", "truth.zarr"):
        for path in sorted((local.parent / folder).rglob("*")):
            if path.is_file():
                storage.write_file(f"{anywhere.home}/world/{path.relative_to(local.parent)}", path)
    config, output = moved(local, tmp_path, anywhere.home), f"{anywhere.home}/run"
    with dask_cluster(tmp_path / "cluster", 1) as address:
        with started("run", config, "--scheduler", address, log=tmp_path / "run.log") as process:
            wait_until(lambda: len(storage.names_below(f"{output}/state/cube")) > 3, "units of the cube")
            process.kill()
            process.wait()
        standing = storage.stamps(f"{output}/state/cube")
        done = invoke("run", config, "--scheduler", address)
        assert done.status == 0, done.err
    assert "has died; resuming" in done.err
    after = storage.stamps(f"{output}/state/cube")
    assert {name: after.get(name) for name in standing} == standing, "what was complete is not done again"
    for name in storage.names_below(output):
        path = tmp_path / "there" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(storage.read_bytes(f"{output}/{name}"))
    assert files(tmp_path / "there", without=OWN) == files(local.parent / "run", without=OWN)
