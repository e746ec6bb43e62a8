"""Finished runs in this process, on a cluster of threads, and what a report is made from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster

from commands import edit, shared, sparse_world
from soilscale import config
from soilscale.runs import up_to_date
from soilscale.stages.project import Project
from soilscale.stages.report_inputs import Material

LOCAL: Mapping[str, Any] = {"n_workers": 1, "protocol": "tcp", "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}


def material(path: Path, *overrides: str) -> Material:
    """Products of a configuration, which are brought up to date first."""
    with (
        LocalCluster(processes=False, threads_per_worker=1, **LOCAL) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        run = Project(config.load(str(path), overrides), lambda: client, lambda *_: None)
        assert not up_to_date.renew(run).failures
    return Material(run)


def opened(path: Path, *overrides: str) -> Material:
    """Products of a configuration as they stand."""
    return Material(Project(config.load(str(path), overrides), _no_cluster, lambda *_: None))


def _no_cluster() -> Any:
    raise AssertionError("nothing is computed")


def two_algorithms() -> Path:
    """Configuration of a sparse world whose maps a forest makes beside neighbours; world and products are only read."""
    with shared("two-algorithms") as folder:
        path = folder / "world.yaml"
        if not (folder / "whole").exists():
            models = {"algorithms": ["random_forest", "knn"], "parameters": {"random_forest": {"n_estimators": 5}}}
            edit(sparse_world(folder), models=models | {"folds": 2, "ablation": False}, maps__algorithm="random_forest")
            material(path)
            (folder / "whole").touch()
    return path
