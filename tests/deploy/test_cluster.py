"""The chart on a cluster: installed by helm, its pods run as processes, its Dask clusters made by the operator's own code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands import edit, files, sparse_world
from servers.cluster import Cluster, kubernetes_cluster

pytestmark = [
    pytest.mark.deploy,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces of processes, mounts and networks need root"),
]

DATA = "/data"
"""Where pods have the volume."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with kubernetes_cluster(tmp_path) as made:
        yield made


@pytest.fixture
def values(cluster: Cluster) -> dict[str, Any]:
    """Values of a small run whose world and products lie on a volume."""
    folder = cluster.folder / "claim"
    config = sparse_world(folder)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 10001, 10001)
    cluster.kubelet.claims["world"] = folder
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
        "workers": {"minimum": 1, "maximum": 1},
        "image": {"repository": "soilscale", "tag": "tested"},
    }


def test_a_run_in_one_pod(cluster: Cluster, values: dict[str, Any]) -> None:
    cluster.install("maps", values | {"mode": "local"})
    job = cluster.ended()
    assert job["status"]["succeeded"] == 1, cluster.logs()
    cluster.helm("uninstall", "maps")
