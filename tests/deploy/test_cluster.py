"""The chart on a cluster: helm installs it, its pods are processes, the Dask operator's own code runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands import edit, markers, sparse_world, wait_until
from servers.cluster import Cluster, kubernetes_cluster
from servers.kubernetes_api import RefusedError

pytestmark = [
    pytest.mark.deploy,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces of processes, mounts and networks need root"),
]

DATA = "/data"
"""Where pods have the volume."""
WORKER = {"app.kubernetes.io/component": "worker"}
SCHEDULER = {"dask.org/component": "scheduler"}
RUNNER = {"app.kubernetes.io/component": "runner"}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Cluster]:
    with kubernetes_cluster(tmp_path) as made:
        yield made


@pytest.fixture
def values(node: Cluster) -> dict[str, Any]:
    """Values of a small run whose world and products lie on a volume."""
    folder = node.folder / "claim"
    config = sparse_world(folder)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 10001, 10001)
    node.kubelet.claims["world"] = folder
    edit(
        config,
        output=f"{DATA}/run",
        catalogs__world__url=f"{DATA}/catalog/catalog.json",
        validation__truth=None,
        validation__stations=None,
        models__ablation=False,
    )
    return {
        "config": yaml.safe_load(config.read_text(encoding="utf-8")),
        "data": {"existingClaim": "world", "mountPath": DATA, "readOnly": False},
        "image": {"repository": "soilscale", "tag": "tested"},
    }


def units(node: Cluster) -> int:
    """Units of the run that are complete."""
    return len(markers(node.kubelet.claims["world"] / "run" / "state"))


def test_a_run_on_the_real_operator_outlives_evictions_an_upgrade_and_losses_of_api_and_scheduler(
    node: Cluster, values: dict[str, Any]
) -> None:
    node.install_operator()
    values |= {"mode": "operator", "workers": {"minimum": 2, "maximum": 2}}
    node.install("maps", values)
    job = node.job()
    wait_until(lambda: units(node) > 3 or node.failed(), "the first units", 300)

    # From here on the operator goes on only if it lists anew what it watched.
    node.store.expirations += 1
    (worker, *_) = node.runs(**WORKER)
    node.store.evict(node.document(worker))
    wait_until(lambda: not worker.thread.is_alive() or node.failed(), "the end of the evicted worker", 120)
    assert "Traceback" not in (worker.folder / "prestop.log").read_text()

    (runner,) = node.runs(**RUNNER)
    with pytest.raises(RefusedError, match="disruption budget"):
        node.store.evict(node.document(runner))
    node.install("maps", values | {"runner": {"logLevel": "debug"}, "podDisruptionBudget": {"enabled": False}})
    assert node.job()["metadata"]["uid"] == job["metadata"]["uid"], "a changed log level is no other run"
    assert runner.thread.is_alive()

    node.store.evict(node.document(runner))
    wait_until(lambda: not runner.thread.is_alive() or node.failed(), "the end of the drained runner", 120)
    assert runner.codes() == [75], runner.log()
    node.api.stop()
    wait_until(lambda: len(node.started("maps-soilscale-")) > 1 and node.runs(**RUNNER), "the next runner", 120)
    node.serve()

    before = units(node)
    wait_until(lambda: units(node) > before or node.failed(), "units of the next runner", 200)
    (runner,), (scheduler,) = node.runs(**RUNNER), node.runs(**SCHEDULER)
    scheduler.killed.set()
    wait_until(lambda: not runner.thread.is_alive() or node.failed(), "the end of the runner without scheduler", 200)
    assert runner.codes() == [75], runner.log()

    job = node.ended(400)
    assert (job["status"]["succeeded"], job["status"]["failed"]) == (1, 1), node.logs()

    wait_until(lambda: not node.left("clusters") or node.failed(), "the end of the Dask cluster", 120)
    node.helm("uninstall", "maps")
    wait_until(lambda: not node.left() or node.failed(), "the end of all that the release had", 120)


@pytest.mark.parametrize(
    ("url", "status", "pods"),
    [(f"{DATA}/nothing/catalog.json", 78, 1), ("http://127.0.0.1:9/catalog.json", 69, 3)],
)
def test_only_a_failure_that_may_pass_is_tried_again(
    node: Cluster, values: dict[str, Any], url: str, status: int, pods: int
) -> None:
    values["config"]["catalogs"]["world"]["url"] = url
    node.install("maps", values | {"mode": "local", "job": {"backoffLimit": 2}})
    node.ended()
    tried = node.started("maps-")
    assert [pod.codes() for pod in tried] == [[status]] * pods, node.logs()
    reason = "PodFailurePolicy" if status == 78 else "BackoffLimitExceeded"
    assert node.job()["status"]["conditions"][0]["reason"] == reason
