"""Resources of Kubernetes in a test: how they are made, changed, held, evicted and removed."""

from __future__ import annotations

import threading
import uuid
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime

from charts import Document
from servers.kubernetes_api import RefusedError, merge

GLOBAL = {"Namespace", "Node", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
"""Kinds that are in no namespace."""
FOREGROUND = "foregroundDeletion"
DISRUPTED = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}

Key = tuple[str, str, str]
"""Kind, namespace and name."""


def plural(kind: str) -> str:
    """Name of a kind in a path."""
    return kind.lower()[:-1] + "ies" if kind.endswith("y") else kind.lower() + "s"


def now() -> str:
    """This moment as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Store:
    """Resources, and all that has become of them."""

    resources: dict[Key, Document] = field(default_factory=dict)
    """Each is replaced, never changed."""
    changes: list[tuple[str, Document]] = field(default_factory=list)
    """What happened, and the resource then; the version of one is its place here, plus one."""
    expirations: int = 0
    """How often all versions became too old to watch from, at which every watch ends."""
    changed: threading.Condition = field(default_factory=lambda: threading.Condition(threading.RLock()))

    def get(self, kind: str, name: str, namespace: str = "maps") -> Document | None:
        """Resource of a name, if there is one."""
        with self.changed:
            return self.resources.get((kind, "" if kind in GLOBAL else namespace, name))

    def all(self, kind: str, namespace: str = "", **labels: str) -> list[Document]:
        """Resources of a kind with these labels."""
        with self.changed:
            return [
                one
                for (made, place, _), one in self.resources.items()
                if made == kind
                and namespace in {"", place}
                and labels.items() <= one["metadata"].get("labels", {}).items()
            ]

    def create(self, body: Document, namespace: str = "maps") -> Document:
        """Add a resource."""
        made = deepcopy(body)
        metadata = made.setdefault("metadata", {})
        if made["kind"] not in GLOBAL:
            metadata["namespace"] = namespace
        metadata.setdefault("name", metadata.get("generateName", "") + uuid.uuid4().hex[:5])
        with self.changed:
            if self.key(made) in self.resources:
                raise RefusedError(409, f'{plural(made["kind"])} "{metadata["name"]}" already exists')
            metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now(), "generation": 1}
            if made["kind"] == "Job":  # as the server does
                labels = made["spec"]["template"].setdefault("metadata", {}).setdefault("labels", {})
                labels["batch.kubernetes.io/job-name"] = metadata["name"]
                labels["batch.kubernetes.io/controller-uid"] = metadata["uid"]
            if made["kind"] == "CustomResourceDefinition":
                signs = [{"type": sign, "status": "True"} for sign in ("NamesAccepted", "Established")]
                made["status"] = {"conditions": signs, "acceptedNames": made["spec"]["names"]}
            return self._put("ADDED", made)

    def replace(self, old: Document, new: Document) -> Document:
        """Put a changed resource in the place of the one that it was made of; one that shall go, goes when it can."""
        with self.changed:
            there = self.resources.get(self.key(old))
            if there is None:
                raise RefusedError(404, f'{plural(old["kind"])} "{old["metadata"]["name"]}" not found')
            if (
                new["metadata"].get("resourceVersion", there["metadata"]["resourceVersion"])
                != there["metadata"]["resourceVersion"]
            ):
                raise RefusedError(409, "the object has been modified; please apply your changes to the latest version")
            if new["kind"] == "Job" and new["spec"]["template"] != there["spec"]["template"]:
                raise RefusedError(
                    422, f'Job "{new["metadata"]["name"]}" is invalid: spec.template: field is immutable'
                )
            if new == there:
                return there
            new = deepcopy(new)
            fixed = ("name", "namespace", "uid", "creationTimestamp")
            new["metadata"] |= {word: there["metadata"][word] for word in fixed if word in there["metadata"]}
            if (
                new["kind"] != "Pod"
                and "deletionTimestamp" in new["metadata"]
                and not new["metadata"].get("finalizers")
            ):
                return self.remove(new)
            return self._put("MODIFIED", new)

    def patch(self, resource: Document, patch: Document) -> Document:
        """Change a resource as it stands now by a JSON merge patch."""
        with self.changed:
            there = self.resources.get(self.key(resource), resource)
            return self.replace(there, merge(there, patch))

    def delete(self, resource: Document, policy: str = "Background", grace: float | None = None) -> Document:
        """Mark a resource as going, or let it go at once where nothing holds it."""
        with self.changed:
            metadata = self.resources[self.key(resource)]["metadata"]
            marked: Document = {} if "deletionTimestamp" in metadata else {"deletionTimestamp": now()}
            if resource["kind"] == "Pod":
                seconds = resource["spec"].get("terminationGracePeriodSeconds", 30) if grace is None else grace
                marked["deletionGracePeriodSeconds"] = seconds
            if policy == "Foreground":
                marked["finalizers"] = sorted({*metadata.get("finalizers", ()), FOREGROUND})
            return self.patch(resource, {"metadata": marked})

    def remove(self, resource: Document) -> Document:
        """Take a resource away, whatever holds it."""
        with self.changed:
            self.resources.pop(self.key(resource), None)
            gone = self._put("DELETED", deepcopy(resource))
            del self.resources[self.key(resource)]
            return gone

    def evict(self, pod: Document) -> Document:
        """Let a pod go as a drain does, if the budgets of disruption allow it."""
        with self.changed:
            for budget in self.all("PodDisruptionBudget", pod["metadata"]["namespace"]):
                self._afford(budget, pod)
            found = self.patch(
                pod, {"status": {"conditions": [*pod.get("status", {}).get("conditions", ()), DISRUPTED]}}
            )
            return self.delete(found)

    def _afford(self, budget: Document, pod: Document) -> None:
        """Raise RefusedError where a budget holds a pod."""
        chosen = budget["spec"]["selector"]["matchLabels"]
        if not chosen.items() <= pod["metadata"].get("labels", {}).items():
            return
        matching = [
            one
            for one in self.all("Pod", pod["metadata"]["namespace"])
            if chosen.items() <= one["metadata"].get("labels", {}).items()
        ]
        healthy = [one for one in matching if ready(one) and "deletionTimestamp" not in one["metadata"]]
        if not ready(pod) and budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
            return
        spec = budget["spec"]
        least = spec["minAvailable"] if "minAvailable" in spec else len(matching) - spec["maxUnavailable"]
        if len(healthy) - 1 < least:
            raise RefusedError(429, "Cannot evict pod as it would violate the pod's disruption budget.")

    @staticmethod
    def key(resource: Document) -> Key:
        return resource["kind"], resource["metadata"].get("namespace", ""), resource["metadata"]["name"]

    def _put(self, change: str, resource: Document) -> Document:
        resource["metadata"]["resourceVersion"] = str(len(self.changes) + 1)
        self.resources[self.key(resource)] = resource
        self.changes.append((change, resource))
        self.changed.notify_all()
        return resource


def ready(pod: Document) -> bool:
    """Whether a pod says that it is."""
    conditions = pod.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
