"""A real Dask scheduler and real workers, started by the commands and environments that the chart renders."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, Security
from distributed.system import MEMORY_LIMIT

import charts
from charts import MOSELLE, Document
from servers.ports import free_ports
from soilscale import certificates

pytestmark = pytest.mark.server

BIN = Path(sys.executable).parent
IMAGE = "/opt/soilscale/bin"
"""Where the image has what stands in `BIN` here."""


@pytest.fixture(scope="module")
def cluster() -> Document:
    documents = charts.clusters(charts.render([MOSELLE], {"mode": "operator"}))["cluster.yaml"]
    spec: Document = documents[0]["spec"]
    return spec


def container(cluster: Document, part: str) -> Document:
    (only,) = cluster[part]["spec"]["containers"]
    found: Document = only
    return found


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the certificates of a cluster."""
    folder = tmp_path_factory.mktemp("tls")
    certificates.write(folder)
    return folder


def environment(of: Document, pair: Path, **more: str) -> dict[str, str]:
    """Variables of a container, with its certificates in a folder of this machine."""
    found = {entry["name"]: entry["value"].replace("/etc/soilscale/tls", str(pair)) for entry in of["env"]}
    return os.environ | found | more


def security(pair: Path) -> Security:
    key = (pair / "tls.key").read_text()
    return certificates.Pair((pair / "tls.crt").read_text(), key).security()


def command(of: Document, variables: dict[str, str], ports: dict[str, str], folder: Path) -> list[str]:
    """What the container runs, with its variables in their places, on ports and in a folder of this machine."""
    words = [re.sub(r"\$\((\w+)\)", lambda found: variables[found[1]], word) for word in (*of["command"], *of["args"])]
    places = {"/tmp": str(folder)}  # noqa: S108
    return [(ports | places).get(word, word.replace(IMAGE, str(BIN))) for word in words]


@contextmanager
def running(words: list[str], variables: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([*words, "--host", "127.0.0.1"], env=variables, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def asked(address: str, path: str) -> Any:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
        return json.load(answer)


@pytest.fixture
def scheduler(cluster: Document, pair: Path, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Address of a scheduler, and of its HTTP server."""
    own = container(cluster, "scheduler")
    port, dashboard = free_ports(2)
    variables = environment(own, pair)
    words = command(own, variables, {"8786": str(port), ":8787": f"127.0.0.1:{dashboard}"}, tmp_path)
    with running(words, variables):
        yield f"tls://127.0.0.1:{port}", f"127.0.0.1:{dashboard}"


@contextmanager
def worker(cluster: Document, address: str, name: str, pair: Path, folder: Path) -> Iterator[dict[str, str]]:
    """A worker as the operator starts it, with these certificates; gives its environment."""
    own = container(cluster, "worker")
    ports = dict(zip(("8789", "8790", "8788"), map(str, free_ports(3)), strict=True))
    ports[":8788"] = f"127.0.0.1:{ports.pop('8788')}"
    variables = environment(own, pair, DASK_WORKER_NAME=name, DASK_SCHEDULER_ADDRESS=address)
    with running(command(own, variables, ports, folder), variables):
        yield variables


def test_the_operator_finds_the_api_that_it_asks_and_workers_hand_over_before_they_stop(
    cluster: Document, scheduler: tuple[str, str], pair: Path, tmp_path: Path
) -> None:
    """Over TLS, which nobody else takes part in: neither a worker with another certificate nor one without."""
    address, dashboard = scheduler
    certificates.write(tmp_path / "strange")
    for strange in (None, security(tmp_path / "strange")):
        plain = address if strange else address.replace("tls", "tcp")
        with pytest.raises(OSError, match=r"certificate|reset|closed"):
            Client(plain, timeout=10, set_as_default=False, security=strange)
    with ExitStack() as stack:
        client = stack.enter_context(Client(address, timeout=60, set_as_default=False, security=security(pair)))
        own = container(cluster, "worker")
        variables = environment(own, tmp_path / "strange", DASK_WORKER_NAME="strange", DASK_SCHEDULER_ADDRESS=address)
        ports = {"120": "2", "8789": "0", "8790": "0", ":8788": "127.0.0.1:0"}
        with running(command(own, variables, ports, tmp_path), variables) as process:
            assert process.wait(timeout=90) != 0
        assert not client.scheduler_info()["workers"]

        names = ("one", "two")
        variables = [stack.enter_context(worker(cluster, address, name, pair, tmp_path)) for name in names]
        client.wait_for_workers(2, timeout=60)

        workers = asked(dashboard, "/api/v1/get_workers")["workers"]
        assert {entry["name"] for entry in workers} == {"one", "two"}
        assert asked(dashboard, "/api/v1/adaptive_target")["workers"] >= 0
        assert "idle_since" in asked(dashboard, "/api/v1/check_idle")
        known = client.scheduler_info(n_workers=-1)["workers"].values()
        assert [entry["nthreads"] for entry in known] == [1, 1]
        assert {entry["memory_limit"] for entry in known} == {int(0.9 * MEMORY_LIMIT)}

        kept = client.map(bytes, range(1000, 1008), workers=["one"], allow_other_workers=True)
        held = [future.result(timeout=60) for future in kept]
        stop = [
            word.replace(IMAGE, str(BIN))
            for word in container(cluster, "worker")["lifecycle"]["preStop"]["exec"]["command"]
        ]
        subprocess.run(stop, env=variables[0], check=True, timeout=60)

        remaining = client.scheduler_info(n_workers=-1)["workers"].values()
        assert [entry["name"] for entry in remaining] == ["two"]
        assert [future.result(timeout=60) for future in kept] == held
        assert {key: len(places) for key, places in client.who_has(kept).items()} == {future.key: 1 for future in kept}


def test_a_worker_whose_scheduler_is_gone_stops_without_a_failure(cluster: Document, pair: Path) -> None:
    (port,) = free_ports(1)
    own = container(cluster, "worker")
    variables = environment(own, pair, DASK_WORKER_NAME="one", DASK_SCHEDULER_ADDRESS=f"tls://127.0.0.1:{port}")
    words = own["lifecycle"]["preStop"]["exec"]["command"]
    stop = [word.replace(IMAGE, str(BIN)) for word in words]
    done = subprocess.run(stop, env=variables, check=False, capture_output=True, text=True, timeout=90)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_worker_without_a_scheduler_ends(cluster: Document, pair: Path, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    own = container(cluster, "worker")
    variables = environment(own, pair, DASK_WORKER_NAME="one", DASK_SCHEDULER_ADDRESS=f"tls://127.0.0.1:{port}")
    ports = {"120": "2", "8789": "0", "8790": "0", ":8788": "127.0.0.1:0"}
    with running(command(own, variables, ports, tmp_path), variables) as process:
        assert process.wait(timeout=90) != 0
