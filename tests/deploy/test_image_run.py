"""The image, built and run for real: the demo's configuration on a scheduler and two workers, products in a bucket."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

import charts
import soilscale
from commands import Ended, counts, edit, free_port_of_nobody, wait_until
from commands import files as contents
from containers import Container, build, container
from servers.kubernetes_api import Kubernetes, serving_pods
from servers.seaweed import BUCKET, Seaweed
from servers.stac_api import UnavailableError
from soilscale import synthetic

pytestmark = [pytest.mark.container, pytest.mark.timeout(2400)]

GIB = 2**30
CONFIG = "/etc/soilscale/config/config.yaml"

OWN = ("state", "run.yaml", "items", "maps/", "report/index.html")
"""What tells of a run itself."""

LOOK = """
import asyncio, json, os, sys
from distributed import rpc

async def look():
    async with rpc(sys.argv[1]) as scheduler:
        return await scheduler.identity()

workers = asyncio.run(look())["workers"].values()
print(json.dumps({one["name"]: one["memory_limit"] for one in workers}))
"""
"""Name of each worker of a scheduler and the memory that it takes for itself, bytes."""

HELD = """
import json, os, pathlib
def refused(path):
    try:
        pathlib.Path(path).touch()
    except OSError as error:
        return type(error).__name__
told = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "user": [os.getuid(), os.getgid()],
    "refused": {path: refused(path + "/file") for path in ("/", "/opt/soilscale", "/etc/soilscale/config", "/tmp")},
    "capabilities": int(told["CapEff"], 16),
    "no_new_privileges": int(told["NoNewPrivs"]),
}))
"""
"""What a process in a container may do."""


@pytest.fixture(scope="module")
def image() -> dict[str, Any]:
    try:
        return build()
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def bucket(weed: Seaweed) -> Iterator[Seaweed]:
    weed.client().create_bucket(Bucket=BUCKET)
    yield weed
    weed.remove(BUCKET)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configuration of the demo's world."""
    return synthetic.write(tmp_path_factory.mktemp("demo") / "world")


@pytest.fixture(scope="module")
def files(world: Path, bucket: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the chart puts beside the configuration, whose inputs and products lie in the bucket."""
    for part in ("catalog", "truth.zarr"):
        bucket.upload(world.parent / part, BUCKET, f"world/{part}")
    folder = tmp_path_factory.mktemp("config")
    config = folder / "config.yaml"
    config.write_text(world.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "stations.csv").write_bytes((world.parent / "stations.csv").read_bytes())
    edit(
        config,
        output=f"s3://{BUCKET}/run",
        catalogs__world__url=f"s3://{BUCKET}/world/catalog/catalog.json",
        validation__truth=f"s3://{BUCKET}/world/truth.zarr",
    )
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def pods() -> dict[str, dict[str, Any]]:
    """Containers of the chart's Dask cluster: scheduler, worker."""
    # Without encryption: the certificates are made by a runner in Kubernetes.
    rendered = charts.render(charts.files("province"), {"mode": "operator", "operator": {"tls": False}})
    return {one["name"]: one for _, pod in charts.pods(rendered) for one in charts.containers(pod)}


def environment(pod: Mapping[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in pod["env"] if "value" in one}


class Cluster:
    """A scheduler and two workers, each in a container, by the commands of the chart's pods."""

    def __init__(self, stack: ExitStack, pods: Mapping[str, Any], files: Path, store: Mapping[str, str]) -> None:
        self.address = f"tcp://127.0.0.1:{free_port_of_nobody()}"
        scheduler, worker = pods["scheduler"], pods["worker"]
        loopback = ("--host", "127.0.0.1", "--no-dashboard")
        self.scheduler = stack.enter_context(
            container(
                [*loopback, "--port", self.address.rpartition(":")[2]],
                command=scheduler["command"],
                environment=environment(scheduler),
            )
        )
        fraction = worker["args"][worker["args"].index("--memory-limit") + 1]
        arguments = [*loopback, "--nworkers", "1", "--nthreads", "1", "--memory-limit", fraction]
        self.workers: dict[str, Container] = {}
        for name in ("worker-0", "worker-1"):
            own = {"DASK_SCHEDULER_ADDRESS": self.address, "DASK_WORKER_NAME": name}
            self.workers[name] = stack.enter_context(
                container(
                    ["--name", name, "--local-directory", "/tmp", *arguments],  # noqa: S108 - the container's own
                    command=worker["command"],
                    environment={**environment(worker), **store, **own},
                    files=files,
                )
            )
        wait_until(lambda: len(self.look()) == len(self.workers), "two workers", patience=300)

    def look(self) -> dict[str, int]:
        """Workers that the scheduler has, with the memory that each takes for itself."""
        python = "/opt/soilscale/bin/python"
        told = self.scheduler.execute(python, "-c", LOOK, self.address, check=False)
        return json.loads(told) if told else {}

    def logs(self) -> str:
        return "\n".join(one.logs()[-2000:] for one in (self.scheduler, *self.workers.values()))


@pytest.fixture(scope="module")
def cluster(
    image: dict[str, Any],  # noqa: ARG001 - it must be there
    pods: dict[str, dict[str, Any]],
    files: Path,
    bucket: Seaweed,
) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(stack, pods, files, bucket.environment())


def runner(cluster: Cluster, files: Path, bucket: Seaweed, *words: str) -> Any:
    store = bucket.environment() | {"DASK_SCHEDULER_ADDRESS": cluster.address}
    return container([*words, CONFIG], environment=store, files=files)


def test_the_image_says_what_it_is(image: dict[str, Any]) -> None:
    labels = image["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "soilscale"
    assert labels["org.opencontainers.image.version"] == soilscale.__version__
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert image["Config"]["User"] == "10001:10001"
    assert "Healthcheck" not in image["Config"]
    assert image["Size"] < 1.5 * GIB


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize(("words", "status"), [(["--version"], 0), (["run", "/etc/soilscale/config/none.yaml"], 78)])
def test_the_entry_point_is_the_command(words: list[str], status: int) -> None:
    with container(words) as one:
        assert one.wait(60) == status
        assert (soilscale.__version__ if status == 0 else "none.yaml") in one.logs()


@pytest.mark.usefixtures("image")
def test_a_runner_reaches_kubernetes_by_its_pod_s_account_whose_token_changes(
    files: Path, bucket: Seaweed, tmp_path: Path
) -> None:
    rendered = charts.render([charts.MOSELLE], {"mode": "operator", "operator": {"deadline": 5}})
    served = Kubernetes(charts.one(rendered, "Role")["rules"])
    account, config = tmp_path / "account", tmp_path / "config"
    shutil.copytree(files, config)
    edit(config / "config.yaml", output="/tmp/run")  # noqa: S108 - the container's own
    (config / "cluster.yaml").write_text(yaml.safe_dump_all(charts.clusters(rendered)["cluster.yaml"]))
    for path in (tmp_path, config, *config.iterdir()):
        path.chmod(0o755)
    (pod,) = charts.one(rendered, "Job")["spec"]["template"]["spec"]["containers"]
    job = {"SOILSCALE_OWNER_NAME": "moselle-1", "SOILSCALE_OWNER_UID": "4f1d", "SOILSCALE_NAMESPACE": "maps"}
    words = ["run", CONFIG, "--cluster", "/etc/soilscale/config/cluster.yaml", "--workers", "2"]
    with (
        serving_pods(served, account) as variables,
        container(
            words, environment=environment(pod) | job | bucket.environment() | variables, files=config, account=account
        ) as one,
    ):
        wait_until(lambda: served.resources or not one.running, "the cluster", 300)
        assert served.resources, one.logs()
        served.token = "another-token"  # noqa: S105 - of a server that lives for a test
        (account / "token").write_text(served.token)
        assert one.wait(300) == 69, one.logs()
        assert "the Dask operator has not noticed it" in one.logs().splitlines()[-1]
    assert not served.resources, "it was removed by the new token"


def test_what_runs_may_write_below_tmp_and_nothing_else(cluster: Cluster) -> None:
    for one in cluster.workers.values():
        held = json.loads(one.execute("/opt/soilscale/bin/python", "-c", HELD))
        assert held["user"] == [10001, 10001]
        assert held["refused"].pop("/tmp") is None  # noqa: S108 - the container's own
        assert set(held["refused"].values()) == {"OSError"}
        assert held["capabilities"] == 0
        assert held["no_new_privileges"] == 1


def test_a_worker_takes_a_share_of_its_container_s_memory(cluster: Cluster) -> None:
    assert cluster.look() == dict.fromkeys(cluster.workers, int(0.9 * 2 * GIB))


@pytest.fixture(scope="module")
def completed(cluster: Cluster, files: Path, bucket: Seaweed) -> str:
    """Prefix of the products of a run that was stopped on the way, and then completed."""
    with runner(cluster, files, bucket, "run") as first:
        wait_until(lambda: bucket.keys(BUCKET, "run/state/cube/") or not first.running, "the first unit", 300)
        assert first.stop(60) == 75, first.logs()
        assert "run the same command again" in first.logs()
    standing = bucket.keys(BUCKET, "run/state/cube/").keys()
    with runner(cluster, files, bucket, "run") as second:
        assert second.wait(1200) == 0, second.logs()[-3000:] + cluster.logs()
        assert f"s3://{BUCKET}/run/report/index.html" in second.logs()
    assert bucket.keys(BUCKET, "run/state/cube/").keys() >= standing
    return "run"


@pytest.mark.usefixtures("completed")
def test_a_run_that_was_stopped_is_completed_by_the_next(cluster: Cluster, files: Path, bucket: Seaweed) -> None:
    with runner(cluster, files, bucket, "status") as third:
        assert third.wait(120) == 0, third.logs()
        for complete, of, failed in counts(Ended(0, third.logs(), "")).values():
            assert (complete, failed) == (of, "0")


def test_workers_in_one_container_come_to_the_same_products_as_those_in_containers_of_their_own(
    completed: str, files: Path, bucket: Seaweed, tmp_path: Path
) -> None:
    """The chart's mode `local`."""
    words = ["run", CONFIG, "--workers", "2", "--output", f"s3://{BUCKET}/local"]
    with container(words, environment=bucket.environment(), files=files, memory="4g") as one:
        assert one.wait(1200) == 0, one.logs()[-3000:]
    ours, theirs = (bucket.download(BUCKET, name, tmp_path / name) for name in ("local", completed))
    assert contents(ours, without=OWN) == contents(theirs, without=OWN)
    assert (theirs / "maps.zarr" / "month" / "soil_moisture").is_dir()


def test_the_chart_s_command_retires_a_worker_before_it_is_stopped(
    cluster: Cluster, pods: dict[str, dict[str, Any]]
) -> None:
    name, going = next(iter(cluster.workers.items()))
    going.execute(*pods["worker"]["lifecycle"]["preStop"]["exec"]["command"])
    wait_until(lambda: set(cluster.look()) == set(cluster.workers) - {name}, "the worker to be gone")
