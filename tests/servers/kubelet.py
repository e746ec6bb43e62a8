"""A kubelet: starts the pods of a store as processes of this machine, says how they are, and ends them.

Needs root: namespaces of processes, mounts and networks hold a pod.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from charts import Document
from servers.cluster_store import Store, now
from servers.networks import Network
from servers.pod_containers import Image, Running

LOOK_EVERY = 0.1
READY = ("Ready", "ContainersReady")
"""Conditions of a pod that is; the Dask operator wants both."""
MOST = 60
"""Pods that a test may start: more are a storm."""


@dataclass
class Kubelet:
    """Starts and ends the pods of a store."""

    store: Store
    network: Network
    folder: Path
    """Of volumes and logs of pods, and of what every pod has: `hosts`, and the API's certificate in `api`."""
    images: Mapping[str, Image]
    """Repository -> image."""
    compiled: Path
    """Folder of what Numba compiled."""
    claims: dict[str, Path] = field(default_factory=dict)
    """PersistentVolumeClaim -> folder."""
    faults: list[BaseException] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)
    pods: dict[str, Pod] = field(default_factory=dict)
    """UID -> pod that was started."""

    def run(self) -> None:
        """Start what is there until stopped, then end all."""
        while not self.stopped.wait(LOOK_EVERY):
            for document in self.store.all("Pod"):
                uid = document["metadata"]["uid"]
                if uid not in self.pods and len(self.pods) == MOST:
                    self.faults.append(RuntimeError(f"more than {MOST} pods were started"))
                elif uid not in self.pods:
                    self.pods[uid] = Pod(self, document, len(self.pods) + 1)
                    self.pods[uid].thread.start()
        for pod in self.pods.values():
            pod.thread.join()


class Pod:
    """One pod, from its volumes to its end."""

    def __init__(self, kubelet: Kubelet, document: Document, number: int) -> None:
        self.kubelet, self.document, self.number = kubelet, document, number
        self.spec: Document = document["spec"]
        self.name = str(document["metadata"]["name"])
        self.folder = kubelet.folder / self.name
        self.ends: dict[str, list[Document]] = {"initContainerStatuses": [], "containerStatuses": []}
        self.thread = threading.Thread(target=self._live, name=self.name)
        self.killed = threading.Event()
        """Set by a test whose container dies: SIGKILL without a word."""

    def log(self) -> str:
        """What all containers of the pod have said."""
        return "".join(path.read_text(encoding="utf-8", errors="replace") for path in sorted(self.folder.glob("*.log")))

    def codes(self) -> list[int]:
        """Exit statuses of the containers that have ended."""
        listed = [*self.ends["initContainerStatuses"], *self.ends["containerStatuses"]]
        return [one["state"]["terminated"]["exitCode"] for one in listed if "terminated" in one["state"]]

    def _live(self) -> None:
        network = None
        try:
            self.folder.mkdir()
            network = self.kubelet.network.of_a_pod(self.number)
            network.enter()
            self._say({"podIP": network.address, "startTime": now()})
            phase = self._contain()
        except Exception as error:  # noqa: BLE001 - raised by whoever stops the cluster
            self.kubelet.faults.append(error)
            phase = "Failed"
        finally:
            if network is not None:
                network.close()
        held = [one for one in self._seen().get("status", {}).get("conditions", ()) if one["type"] not in READY]
        self._say({"phase": phase, "conditions": held, **self.ends})

    def _contain(self) -> str:
        """Run all containers; the phase in which the pod ends."""
        again = self.spec.get("restartPolicy", "Always") == "Always"
        for container in self.spec.get("initContainers", ()):
            if self._run(container, "initContainerStatuses"):
                return "Failed"
            if self._ending():
                return "Failed"
        (container,) = self.spec["containers"]
        while True:
            code = self._run(container, "containerStatuses")
            if self._ending() or not again:
                return "Failed" if code else "Succeeded"
            time.sleep(1)

    def _run(self, container: Document, of: str) -> int:
        """Run a container to its end; its exit status."""
        runs = Running(self, container)
        earlier = [one for one in self.ends[of] if one["name"] == container["name"]]
        restarts = earlier[0]["restartCount"] + 1 if earlier else 0
        others = [one for one in self.ends[of] if one["name"] != container["name"]]
        while runs.process.poll() is None:
            status = {"name": container["name"], "restartCount": restarts, "ready": runs.ready()}
            self.ends[of] = [*others, status | {"state": {"running": {}}}]
            self._say(
                {"phase": "Running" if of == "containerStatuses" else "Pending", **self.ends}, ready=status["ready"]
            )
            if self._ending():
                runs.end(float(self._seen()["metadata"].get("deletionGracePeriodSeconds", 0)))
            elif self.killed.is_set():
                runs.kill()
                self.killed.clear()
            else:
                time.sleep(LOOK_EVERY)
        code = 137 if runs.killed else runs.process.wait()
        ended = {"exitCode": code, "finishedAt": now()}
        status = {"name": container["name"], "restartCount": restarts, "ready": False, "state": {"terminated": ended}}
        self.ends[of] = [*others, status]
        self._say(self.ends)
        return code

    def _seen(self) -> Document:
        """The pod as the API has it; as going where it is there no more."""
        there = self.kubelet.store.get("Pod", self.name, self.document["metadata"]["namespace"])
        if there is None or there["metadata"]["uid"] != self.document["metadata"]["uid"]:
            return {"metadata": {"deletionTimestamp": now(), "deletionGracePeriodSeconds": 0}}
        return there

    def _ending(self) -> bool:
        return self.kubelet.stopped.is_set() or "deletionTimestamp" in self._seen()["metadata"]

    def _say(self, status: Document, *, ready: bool = False) -> None:
        """Write the status, where that says something new."""
        with self.kubelet.store.changed:
            there = self._seen()
            if "kind" not in there:
                return
            if ready and not any(one["type"] == "Ready" for one in there["status"].get("conditions", ())):
                signs = [{"type": sign, "status": "True"} for sign in READY]
                status = status | {"conditions": [*there["status"].get("conditions", ()), *signs]}
            self.kubelet.store.patch(there, {"status": status})
