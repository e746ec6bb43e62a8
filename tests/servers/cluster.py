"""A Kubernetes cluster of one node on this machine: API, controllers and kubelet, in a network of its own."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from charts import CHART, Document
from commands import shared, wait_until
from servers.cluster_api import ADMIN, Api
from servers.cluster_store import Key, Store, ready
from servers.controllers import Controllers, conditions
from servers.kubelet import Kubelet, Pod
from servers.networks import Network
from servers.pod_containers import COMPILED, Image
from tools import helm, operator

ADDRESS = "10.77.0.1"
OPERATOR_CHART = "dask_kubernetes/operator/deployment/helm/dask-kubernetes-operator"
PYTHON = {"PATH": "/opt/soilscale/bin:/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "PYTHONUNBUFFERED": "1"}  # noqa: S108


@dataclass
class Cluster:
    """What a test does with it."""

    store: Store
    api: Api
    kubelet: Kubelet
    controllers: Controllers
    folder: Path

    def helm(self, *words: str | Path, given: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the real helm as the administrator."""
        own = {"KUBECONFIG": str(self.folder / "kubeconfig"), "HOME": str(self.folder)}
        command = self.kubelet.network.inside(str(helm()), *map(str, words), "--namespace", "maps")
        done = subprocess.run(command, input=given, env=os.environ | own, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done

    def install(self, release: str, values: Mapping[str, Any], *more: str, chart: Path = CHART) -> None:
        """Install a release of a chart, or upgrade it."""
        words = ("upgrade", "--install", release, chart, "--values", "-", "--disable-openapi-validation", *more)
        self.helm(*words, given=json.dumps(values))

    def install_operator(self) -> None:
        """Install the Dask operator by its own chart, and wait until it looks after clusters."""
        self.install("dask-operator", {"image": {"tag": "2026.3.0"}}, chart=operator() / OPERATOR_CHART)
        watch = "/daskclusters?"
        wait_until(
            lambda: any(watch in path for _, _, path in self.api.requests) or self.failed(), "the Dask operator", 120
        )

    def job(self) -> Document:
        """The only Job."""
        (job,) = self.store.all("Job")
        return job

    def ended(self, patience: float = 180) -> Document:
        """The only Job, when it is over."""
        wait_until(
            lambda: {"Complete", "Failed"} & conditions(self.job()) or self.failed(), "the end of the Job", patience
        )
        return self.job()

    def runs(self, **labels: str) -> list[Pod]:
        """Pods that run and are ready, with these labels."""
        found = [
            one for one in self.store.all("Pod", **labels) if ready(one) and "deletionTimestamp" not in one["metadata"]
        ]
        return [self.kubelet.pods[one["metadata"]["uid"]] for one in found]

    def started(self, prefix: str) -> list[Pod]:
        """All pods of a name that were ever started, the oldest first."""
        return [pod for pod in self.kubelet.pods.values() if pod.name.startswith(prefix)]

    def document(self, pod: Pod) -> Document:
        """A pod as the API has it."""
        there = self.store.get("Pod", pod.name)
        assert there is not None
        return there

    def left(self, *without: str) -> list[Key]:
        """What belongs to Dask clusters, or to the chart's release without more."""
        operators = ("dask-operator", "sh.helm.release.v1.dask-operator")
        shared_by_all = {"Namespace", "CustomResourceDefinition", "Event"}
        kinds = {"DaskCluster", "DaskAutoscaler", "DaskWorkerGroup", "Deployment", "Service"} if without else set()
        return [
            key
            for key in self.store.resources
            if key[0] not in shared_by_all and not key[2].startswith(operators) and (not kinds or key[0] in kinds)
        ]

    def serve(self) -> None:
        """Let the API answer again."""
        in_network(self.kubelet.network, self.api.start)

    def logs(self) -> str:
        """What everyone said."""
        return "\n".join(f"=== {pod.name}\n{pod.log()}" for pod in self.kubelet.pods.values())

    def failed(self) -> bool:
        """Whether something of the cluster itself has; raises it."""
        for fault in (*self.kubelet.faults, *self.controllers.faults):
            raise fault
        return False


@contextmanager
def kubernetes_cluster(folder: Path) -> Iterator[Cluster]:
    """Run a cluster of one node without any pod."""
    folder.chmod(0o755)
    (folder / "hosts").touch()
    (folder / "pods").mkdir()
    dask = {"PYTHONPATH": str(operator())}
    soilscale = {"NUMBA_CACHE_DIR": COMPILED, "PYTHONDONTWRITEBYTECODE": "1"}
    images = {
        "soilscale": Image(("/opt/soilscale/bin/soilscale",), PYTHON | soilscale),
        "dask-kubernetes-operator": Image(
            ("/opt/soilscale/bin/kopf", "run", "-m", "dask_kubernetes.operator.controller"), PYTHON | dask
        ),
    }
    network, store = Network.of_a_node(ADDRESS), Store()
    api = Api(store, folder / "api")
    with shared("numba") as compiled:
        compiled.mkdir(exist_ok=True)
        compiled.chmod(0o777)
    kubelet = Kubelet(store, network, folder, images, compiled)
    controllers = Controllers(store, folder / "hosts", ADDRESS)
    cluster = Cluster(store, api, kubelet, controllers, folder)
    store.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "maps"}})
    threads = [threading.Thread(target=one.run) for one in (kubelet, controllers)]
    try:
        in_network(network, api.start)
        _kubeconfig(folder)
        for thread in threads:
            thread.start()
        yield cluster
        cluster.failed()
    finally:
        kubelet.stopped.set()
        threads[0].join()
        controllers.stopped.set()
        threads[1].join()
        api.stop()
        network.close()


def in_network(network: Network, do: Callable[[], None]) -> None:
    """Do something in a network, which only a thread of its own can without leaving this process's."""

    def enter() -> None:
        network.enter()
        do()

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()


def _kubeconfig(folder: Path) -> None:
    server = {"server": f"https://{ADDRESS}", "certificate-authority": str(folder / "api" / "ca.crt")}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": server}],
        "users": [{"name": "admin", "user": {"token": ADMIN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin", "namespace": "maps"}}],
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(content), encoding="utf-8")
