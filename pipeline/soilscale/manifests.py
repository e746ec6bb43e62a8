"""Resources of the Dask operator as a chart renders them, made to belong to a Kubernetes Job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from soilscale.errors import ConfigurationError

VERSION = "kubernetes.dask.org/v1"
"""API of the Dask operator."""

TEMPLATE = "soilscale/template"
"""Annotation that tells what a cluster was made from; no label: the operator makes selectors of those."""

PREFIX = 42
"""Characters that a name keeps of the template's; the operator takes 53 at most."""

Document = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """Kubernetes Job that a command runs in, as its pod was told."""

    name: str
    uid: str
    namespace: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Job:
        """Job that the environment names.

        Raises
        ------
        ConfigurationError
            If a variable is missing.
        """
        names = {"name": "SOILSCALE_JOB_NAME", "uid": "SOILSCALE_JOB_UID", "namespace": "SOILSCALE_NAMESPACE"}
        missing = [name for name in names.values() if not environment.get(name)]
        if missing:
            raise ConfigurationError(
                f"--cluster: {', '.join(missing)} is not set; a Dask cluster belongs to the Job that creates it: run "
                "in a Job, with these variables from the downward API, as set by the chart"
            )
        return cls(**{key: environment[name] for key, name in names.items()})


def documents(file: Path, job: Job, most: int | None = None) -> tuple[Document, Document]:
    """DaskCluster and DaskAutoscaler of a file, made a Job's own.

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
        return _owned(cluster, autoscaler, job, most)
    except (KeyError, TypeError) as error:
        raise ConfigurationError(f"--cluster {file}: {error} is missing in a DaskCluster or DaskAutoscaler") from error


def _owned(cluster: Document, autoscaler: Document, job: Job, most: int | None) -> tuple[Document, Document]:
    """Both with a name of the Job's own, which its retries have too, and the Job as their owner."""
    first = cluster["metadata"]["name"]
    suffix = hashlib.sha256(f"{first} {job.uid}".encode()).hexdigest()[:8]
    name = f"{first[:PREFIX].rstrip('-')}-{suffix}"
    template = hashlib.sha256(json.dumps([cluster, most], sort_keys=True).encode()).hexdigest()[:16]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job.name, "uid": job.uid}
    for document in (cluster, autoscaler):
        metadata = document["metadata"]
        metadata |= {"name": name, "namespace": job.namespace}
        metadata["ownerReferences"] = [owner | {"controller": True, "blockOwnerDeletion": False}]
        metadata["annotations"] = metadata.get("annotations", {}) | {TEMPLATE: template}
    # Pods are labelled with the new name; the template's selector would match none of them.
    cluster["spec"]["scheduler"]["service"]["selector"]["dask.org/cluster-name"] = name
    spec = autoscaler["spec"]
    spec |= {"cluster": name, "maximum": most or spec["maximum"]}
    # At least one: a run waits for its first worker before it starts.
    spec["minimum"] = min(max(spec["minimum"], 1), spec["maximum"])
    cluster["spec"]["worker"]["replicas"] = spec["minimum"]
    return cluster, autoscaler
