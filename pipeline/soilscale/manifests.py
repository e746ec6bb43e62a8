"""Resources of the Dask operator as a chart renders them, made to belong to the object that a run is started by."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from soilscale.certificates import Pair
from soilscale.errors import ConfigurationError

VERSION = "kubernetes.dask.org/v1"
"""API of the Dask operator."""

TEMPLATE = "soilscale/template"
"""Annotation that tells what a cluster was made from; no label: the operator makes selectors of those."""

APIS = {
    "Job": "batch/v1",
    "JobSet": "jobset.x-k8s.io/v1alpha2",
    "Pod": "v1",
    "Workflow": "argoproj.io/v1alpha1",
}
"""Kind of the owner of a Dask cluster -> its API; others name theirs."""

CERTIFICATES = "dask-tls"
"""Volume of a cluster's pods that holds its certificates, where it has them: a Secret that the runner makes."""

PREFIX = 42
"""Characters that a name keeps of the template's; the operator takes 53 at most."""

Document = dict[str, Any]


@dataclass(frozen=True)
class Owner:
    """Object of Kubernetes that a command runs for, and with which its Dask cluster is removed: usually a Job."""

    name: str
    uid: str
    namespace: str
    kind: str = "Job"
    api: str = APIS["Job"]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Owner:
        """Owner that the environment names.

        Raises
        ------
        ConfigurationError
            If a variable is missing.
        """
        names = {"name": "SOILSCALE_OWNER_NAME", "uid": "SOILSCALE_OWNER_UID", "namespace": "SOILSCALE_NAMESPACE"}
        missing = [name for name in names.values() if not environment.get(name)]
        if missing:
            raise ConfigurationError(
                f"--cluster: {', '.join(missing)} is not set; a Dask cluster belongs to the object that it is created "
                "for, such as a Job: set them from the downward API, as the chart does"
            )
        kind = environment.get("SOILSCALE_OWNER_KIND") or cls.kind
        api = environment.get("SOILSCALE_OWNER_API") or APIS.get(kind)
        if api is None:
            raise ConfigurationError(
                f"SOILSCALE_OWNER_KIND: got {kind!r}, whose API is not known; set SOILSCALE_OWNER_API to it, such as "
                "batch/v1"
            )
        return cls(**{key: environment[name] for key, name in names.items()}, kind=kind, api=api)

    def owns(self) -> Document:
        """Metadata of an object that Kubernetes removes with this one."""
        owner = {"apiVersion": self.api, "kind": self.kind, "name": self.name, "uid": self.uid}
        owned = owner | {"controller": True, "blockOwnerDeletion": False}
        return {"namespace": self.namespace, "ownerReferences": [owned]}


def documents(file: Path, owner: Owner, most: int | None = None) -> tuple[Document, Document]:
    """DaskCluster and DaskAutoscaler of a file, made an owner's.

    Parameters
    ----------
    file
        YAML of one of each; the name that it gives the cluster is the first part of the cluster's name.
    most
        Most workers; None: as many as the file says.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, or holds anything else.
    """
    try:
        resources = [document for document in yaml.safe_load_all(file.read_text(encoding="utf-8")) if document]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"--cluster {file}: {reason}; expected the YAML of a DaskCluster") from error
    kinds = [document.get("kind") if isinstance(document, dict) else type(document).__name__ for document in resources]
    if sorted(map(str, kinds)) != ["DaskAutoscaler", "DaskCluster"]:
        raise ConfigurationError(
            f"--cluster {file}: got {kinds or 'nothing'}, expected one DaskCluster and one DaskAutoscaler of {VERSION}"
        )
    autoscaler, cluster = sorted(resources, key=lambda document: str(document["kind"]))
    try:
        return _owned(cluster, autoscaler, owner, most)
    except (KeyError, TypeError) as error:
        raise ConfigurationError(f"--cluster {file}: {error} is missing in a DaskCluster or DaskAutoscaler") from error


def _owned(cluster: Document, autoscaler: Document, owner: Owner, most: int | None) -> tuple[Document, Document]:
    """Both with a name of their owner, which its retries have too."""
    first = cluster["metadata"]["name"]
    suffix = hashlib.sha256(f"{first} {owner.uid}".encode()).hexdigest()[:8]
    name = f"{first[:PREFIX].rstrip('-')}-{suffix}"
    _certified(cluster, name, owner.namespace)
    template = hashlib.sha256(json.dumps([cluster, most], sort_keys=True).encode()).hexdigest()[:16]
    for document in (cluster, autoscaler):
        metadata = document["metadata"]
        metadata |= {"name": name} | owner.owns()
        metadata["annotations"] = metadata.get("annotations", {}) | {TEMPLATE: template}
    # Pods are labelled with the new name; the template's selector would match none of them.
    cluster["spec"]["scheduler"]["service"]["selector"]["dask.org/cluster-name"] = name
    spec = autoscaler["spec"]
    spec |= {"cluster": name, "maximum": most or spec["maximum"]}
    # At least one: a run waits for its first worker before it starts.
    spec["minimum"] = min(max(spec["minimum"], 1), spec["maximum"])
    cluster["spec"]["worker"]["replicas"] = spec["minimum"]
    return cluster, autoscaler


def _certified(cluster: Document, name: str, namespace: str) -> None:
    """Let the pods of a cluster with certificates take those of this process, and reach the scheduler by TLS.

    A runner may create Secrets and read none. So one that follows a killed runner has certificates of its own, and what
    that one has left is a cluster of another template.
    """
    if certificates_of(cluster) is None:
        return
    secret = f"{name}-{secrets.token_hex(4)}"
    for part in ("scheduler", "worker"):
        _volume(cluster, part)["secret"]["secretName"] = secret
    for container in cluster["spec"]["worker"]["spec"]["containers"]:
        address = {"name": "DASK_SCHEDULER_ADDRESS", "value": scheduler_address(name, namespace, "tls")}
        container["env"] = [*container.get("env", ()), address]


def _volume(cluster: Document, part: str) -> Document:
    """Volume of the certificates; empty where there is none."""
    volumes: list[Document] = cluster["spec"][part].get("spec", {}).get("volumes", [])
    return next((volume for volume in volumes if volume["name"] == CERTIFICATES), {})


def certificates_of(cluster: Document) -> str | None:
    """Name of the Secret that holds a cluster's certificates; None where it has none."""
    volume = _volume(cluster, "scheduler")
    return str(volume["secret"]["secretName"]) if volume else None


def scheduler_address(name: str, namespace: str, scheme: str) -> str:
    """Address of the scheduler's Service."""
    return f"{scheme}://{name}-scheduler.{namespace}.svc:8786"


def secret(name: str, labels: Document, owner: Owner, pair: Pair) -> Document:
    """Secret of a cluster's certificates, removed with its owner."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "immutable": True,
        "metadata": {"name": name, "labels": labels} | owner.owns(),
        "stringData": {"ca.crt": pair.certificate, "tls.crt": pair.certificate, "tls.key": pair.key},
    }
