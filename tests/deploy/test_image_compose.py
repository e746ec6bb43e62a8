"""The compose file for real: store, scheduler, workers and runner on a network of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from checkout import ROOT
from commands import Ended, counts, edit, free_port_of_nobody, sparse_world
from containers import IMAGE, build, build_store, docker_api
from servers.stac_api import UnavailableError
from tools import compose

pytestmark = [pytest.mark.container, pytest.mark.timeout(2400)]

FILE = ROOT / "deploy" / "compose.yaml"

Compose = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a configuration with its inputs beside it, which the containers' user may read."""
    folder = tmp_path_factory.mktemp("compose") / "world"
    config = edit(sparse_world(folder), models__ablation=False, output="s3://soilscale/run")
    config.rename(folder / "config.yaml")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def docker(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """Docker Compose on the file, by the variables that an operator sets."""
    try:
        build()
    except UnavailableError as error:
        pytest.skip(str(error))
    variables = {
        "SOILSCALE_IMAGE": IMAGE,
        "SEAWEEDFS_IMAGE": build_store(),
        "SOILSCALE_CONFIG": str(world),
        "SOILSCALE_STORE_PORT": str(free_port_of_nobody()),
        "SOILSCALE_DASHBOARD_PORT": str(free_port_of_nobody()),
        "AWS_ACCESS_KEY_ID": "workstation",
        "AWS_SECRET_ACCESS_KEY": "hunter2-secret",
    }
    with docker_api(tmp_path_factory.mktemp("docker")) as url:
        environment = {"PATH": os.environ["PATH"], "HOME": str(world.parent), "DOCKER_HOST": url} | variables
        base = [compose(), "--project-name", f"soilscale-test-{os.getpid()}", "--file", FILE]

        def run(*words: str, **further: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*base, *words], env=environment | further, capture_output=True, text=True, check=False, timeout=1800
            )

        try:
            yield run
        finally:
            run("down", "--volumes", "--timeout", "10")


def test_a_run_ends_with_its_status_and_its_products_are_there_for_the_next(docker: Compose) -> None:
    first = docker("run", "runner")
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
    assert "report: s3://soilscale/run/report/index.html" in first.stdout
    again = docker("run", "--rm", "runner", "run", "/etc/soilscale/config/config.yaml")
    assert "report: s3://soilscale/run/report/index.html" in again.stdout, again.stderr[-3000:]
    assert "cube: " not in again.stderr
    told = docker("run", "--rm", "runner", "status", "/etc/soilscale/config/config.yaml")
    stages = counts(Ended(0, told.stdout, ""))
    assert stages, told.stderr[-3000:]
    assert stages["publish"][0] == "13"
    for complete, of, failed in stages.values():
        assert (complete, failed) == (of, "0")


def test_a_configuration_that_is_wrong_ends_with_its_status(docker: Compose, world: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "config.yaml"
    shutil.copy(world / "config.yaml", wrong)
    edit(wrong, perod=["2004-01", "2004-12"])
    for path in (tmp_path, wrong):
        path.chmod(0o755)
    told = docker("run", "--no-deps", "runner", SOILSCALE_CONFIG=str(tmp_path))
    assert told.returncode == 78, told.stdout + told.stderr
    assert "perod: unknown key; did you mean 'period'?" in told.stdout + told.stderr
