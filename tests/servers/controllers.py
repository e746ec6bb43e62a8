"""What Kubernetes' controllers do with Jobs, Deployments, Services and owners, in a thread beside the API of a test.

Waits are shorter than there, where a failed pod's successor comes after 10 s. Pods of a Deployment are its own, without
a ReplicaSet between.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from charts import Document
from servers.cluster_store import FOREGROUND, Store, now

ENDED = {"Succeeded", "Failed"}
"""Phases of pods that are over."""
BACKOFF = 0.3
"""Seconds until the successor of the first failed pod; the double after the next."""
LOOK_EVERY = 0.1


@dataclass
class Tally:
    """What became of a Job's pods."""

    judged: set[str] = field(default_factory=set)
    """UIDs of pods that are over and counted."""
    failed: int = 0
    succeeded: int = 0
    fatal: str = ""
    """Why the Job has failed for good."""
    due: float = 0.0
    """When the next pod may come."""


@dataclass
class Controllers:
    """The thread that looks at everything again and again."""

    store: Store
    hosts: Path
    """File of the names that every pod sees."""
    address: str
    """Of the API."""
    faults: list[BaseException] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)
    _tallies: dict[str, Tally] = field(default_factory=dict)
    """UID of a Job -> what became of its pods."""

    def run(self) -> None:
        """Look until stopped."""
        while not self.stopped.wait(LOOK_EVERY):
            try:
                with self.store.changed:
                    self._look()
            except Exception as error:  # noqa: BLE001 - raised by whoever stops it
                self.faults.append(error)
                return

    def _look(self) -> None:
        """Bring everything a step nearer to what it should be."""
        for job in self.store.all("Job"):
            self._job(job)
        for deployment in self.store.all("Deployment"):
            going = "deletionTimestamp" in deployment["metadata"]
            if not going and len(self._active(deployment)) < deployment["spec"].get("replicas", 1):
                self._start(deployment)
        for pod in self.store.all("Pod"):
            if over(pod) and "deletionTimestamp" in pod["metadata"]:
                self.store.remove(pod)
        self._collect()
        self._write_hosts()

    def _job(self, job: Document) -> None:
        spec = job["spec"]
        tally = self._tallies.setdefault(job["metadata"]["uid"], Tally())
        self._count(job, tally)
        active = self._active(job, replaceable=spec.get("podReplacementPolicy") != "Failed")
        if {"Complete", "Failed"} & conditions(job):
            age = datetime.now(UTC) - datetime.fromisoformat(job["status"]["completionTime"])
            if age.total_seconds() > spec.get("ttlSecondsAfterFinished", float("inf")):
                self.store.delete(job)
        elif "deletionTimestamp" not in job["metadata"]:
            verdict = _verdict(job, tally)
            status = {"active": len(active), "failed": tally.failed, "succeeded": tally.succeeded}
            if verdict:
                reason = {"type": verdict[0], "status": "True", "reason": verdict[1]}
                status |= {"conditions": [reason], "completionTime": now()}
            job = self.store.patch(job, {"status": status})
            if verdict or spec.get("suspend"):
                for pod in active:
                    self.store.delete(pod)
            elif not active and time.monotonic() >= tally.due:
                self._start(job)

    def _count(self, job: Document, tally: Tally) -> None:
        """Judge pods that have ended since the last look."""
        for pod in self._pods(job):
            uid = pod["metadata"]["uid"]
            if not over(pod) or uid in tally.judged:
                continue
            tally.judged.add(uid)
            action = "Succeed" if pod["status"]["phase"] == "Succeeded" else _action(job, pod)
            tally.succeeded += action == "Succeed"
            tally.failed += action in {"Count", "FailJob"}
            if action == "FailJob":
                tally.fatal = "PodFailurePolicy"
            tally.due = time.monotonic() + BACKOFF * 2 ** max(tally.failed - 1, 0)

    def _pods(self, owner: Document) -> list[Document]:
        return [pod for pod in self.store.all("Pod") if owner["metadata"]["uid"] in owners(pod)]

    def _active(self, owner: Document, *, replaceable: bool = True) -> list[Document]:
        """Pods that are not over; those that are going too, where they are not replaced before they have gone."""
        going = "deletionTimestamp" if replaceable else ""
        return [pod for pod in self._pods(owner) if not over(pod) and going not in pod["metadata"]]

    def _start(self, owner: Document) -> None:
        """Make a pod of a Job or a Deployment."""
        template, name = owner["spec"]["template"], owner["metadata"]["name"]
        reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": name}
        reference |= {"uid": owner["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True}
        metadata = {word: template.get("metadata", {}).get(word) or {} for word in ("labels", "annotations")}
        metadata |= {"generateName": f"{name[:57]}-", "ownerReferences": [reference]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        self.store.create(pod | {"status": {"phase": "Pending"}}, owner["metadata"]["namespace"])

    def _collect(self) -> None:
        """Let go what has lost all its owners, or whose owner waits for it."""
        there = {one["metadata"]["uid"]: one for one in self.store.resources.values()}
        waited_for = set()
        for one in list(self.store.resources.values()):
            mine = owners(one)
            alive = [there[uid] for uid in mine if uid in there]
            foreground = [owner for owner in alive if FOREGROUND in owner["metadata"].get("finalizers", ())]
            waited_for |= {owner["metadata"]["uid"] for owner in foreground}
            if mine and (not alive or foreground) and "deletionTimestamp" not in one["metadata"]:
                self.store.delete(one, "Foreground" if foreground else "Background")
        for one in there.values():
            held = one["metadata"].get("finalizers", [])
            if FOREGROUND in held and one["metadata"]["uid"] not in waited_for:
                self.store.patch(one, {"metadata": {"finalizers": [name for name in held if name != FOREGROUND]}})

    def _write_hosts(self) -> None:
        """Names of Services, each with the address of its first pod that runs."""
        lines = ["127.0.0.1 localhost", f"{self.address} kubernetes.default.svc"]
        for service in self.store.all("Service"):
            name, place = service["metadata"]["name"], service["metadata"]["namespace"]
            chosen = (service["spec"].get("selector") or {"": ""}).items()
            lines += [
                f"{pod['status']['podIP']} {name}.{place}.svc.cluster.local {name}.{place}.svc {name}.{place}"
                for pod in self.store.all("Pod", place)
                if chosen <= pod["metadata"].get("labels", {}).items() and not over(pod) and "podIP" in pod["status"]
            ]
        text = "\n".join(lines) + "\n"
        if self.hosts.read_text(encoding="utf-8") != text:
            self.hosts.write_text(text, encoding="utf-8")  # in its place, where pods have it mounted


def over(pod: Document) -> bool:
    """Whether a pod has ended."""
    return pod.get("status", {}).get("phase") in ENDED


def conditions(resource: Document) -> set[str]:
    """Types of the conditions that hold."""
    return {one["type"] for one in resource.get("status", {}).get("conditions", ()) if one["status"] == "True"}


def owners(resource: Document) -> list[str]:
    """UIDs of what a resource goes with."""
    return [one["uid"] for one in resource["metadata"].get("ownerReferences", ())]


def _verdict(job: Document, tally: Tally) -> tuple[str, str] | None:
    """Condition that ends a Job, and its reason."""
    age = datetime.now(UTC) - datetime.fromisoformat(job["metadata"]["creationTimestamp"])
    if tally.fatal:
        return "Failed", tally.fatal
    if tally.succeeded:
        return "Complete", "CompletionsReached"
    if tally.failed > job["spec"]["backoffLimit"]:
        return "Failed", "BackoffLimitExceeded"
    if age.total_seconds() > job["spec"].get("activeDeadlineSeconds", float("inf")):
        return "Failed", "DeadlineExceeded"
    return None


def _action(job: Document, pod: Document) -> str:
    """What the first fitting rule of a Job's podFailurePolicy says of a failed pod."""
    status = pod["status"]
    ends = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    codes = {one["state"]["terminated"]["exitCode"] for one in ends if "terminated" in one["state"]} - {0}
    for rule in job["spec"].get("podFailurePolicy", {}).get("rules", ()):
        wanted = {one["type"] for one in rule.get("onPodConditions", ())}
        if wanted & conditions(pod) or codes & set(rule.get("onExitCodes", {}).get("values", ())):
            return str(rule["action"])
    return "Count"
