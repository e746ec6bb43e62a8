"""Whether a Dask cluster could be made here: definitions, rights, room in the quota, and an operator that is alive."""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from soilscale import dask_operator
from soilscale.dask_operator import DaskCluster
from soilscale.errors import ConfigurationError, ServiceError, SoilscaleError
from soilscale.kube_errors import asking
from soilscale.manifests import VERSION, Document

logger = logging.getLogger(__name__)

RIGHTS = (
    *(
        (VERSION.partition("/")[0], kind, verb)
        for kind in ("daskclusters", "daskautoscalers")
        for verb in ("create", "get", "patch", "delete")
    ),
    *(("", kind, "list") for kind in ("pods", "events")),
)
"""Group, resource and verb of all that a runner does."""

NOTICE = 60.0
"""Seconds in which an operator that is alive takes notice of a cluster."""

SUFFIXES = {"m": "0.001", "": "1", "k": "1e3", "M": "1e6", "G": "1e9", "T": "1e12"} | {
    f"{letter}i": str(1024**power) for power, letter in enumerate("KMGT", 1)
}
"""Suffix of a quantity -> its factor."""


def check(file: Path) -> list[str]:
    """See whether a runner could have the Dask cluster of a file; leaves nothing behind.

    An empty cluster is made and removed, for only its notice of one shows that the operator is alive and watches here.

    Returns
    -------
    list of str
        What is as it should be.

    Raises
    ------
    ConfigurationError
        If a right is missing, or Kubernetes refuses the cluster.
    ServiceError
        If the definitions or the operator are missing, there is no room in the quota, or Kubernetes does not answer.
    """
    cluster = dask_operator.asked(file, None)
    missing = _missing_rights(cluster)
    if missing:
        raise ConfigurationError(
            f"this service account may not {', '.join(missing)} in namespace {cluster.job.namespace}: give it the "
            "chart's Role (rbac.create), or one with these rules"
        )
    lacks = _lacks(cluster)
    if lacks:
        raise ServiceError(
            f"the quota of namespace {cluster.job.namespace} has no room for a Dask cluster with {_workers(cluster)} "
            f"workers: {'; '.join(lacks)}; raise it, or lower worker.resources or workers.minimum"
        )
    workers, waited = _workers(cluster), math.ceil(_noticed(cluster))
    good = f"definitions and rights are there, the quota has room for {workers} workers"
    return [f"Kubernetes: {good}, and the Dask operator took notice of a cluster within {waited} s"]


def _missing_rights(cluster: DaskCluster) -> list[str]:
    """Rights that the runner's account lacks, by the server's own word."""
    from kr8s.objects import new_class

    review = new_class("SelfSubjectAccessReview", "authorization.k8s.io/v1", namespaced=False, asyncio=False)
    missing = []
    with asking("ask for the rights of this service account"):
        for group, resource, verb in RIGHTS:
            wish = {"group": group, "resource": resource, "verb": verb, "namespace": cluster.job.namespace}
            request = review({"metadata": {}, "spec": {"resourceAttributes": wish}}, api=cluster.api)
            request.create()
            if not request.raw["status"]["allowed"]:
                missing.append(f"{verb} {resource}")
    return missing


def _workers(cluster: DaskCluster) -> int:
    return int(cluster.cluster["spec"]["worker"]["replicas"])


def _lacks(cluster: DaskCluster) -> list[str]:
    """What of the namespace's quotas does not suffice for the scheduler and the fewest workers."""
    from kr8s.objects import ResourceQuota

    need = demand(cluster.cluster)
    try:
        with asking("read the quotas"):
            found: Iterator[Any] = cluster.api.get(ResourceQuota, namespace=cluster.job.namespace, raw=True)
            return [line for quota in found for line in short(quota, need)]
    except ConfigurationError as error:
        # A Role of one's own may lack this right, which a run does not need.
        logger.warning("%s; whether there is room is not known", error)
        return []


def demand(cluster: Document) -> dict[str, Decimal]:
    """Pods and resources that a Dask cluster takes with its fewest workers, by the names of quotas."""
    need: dict[str, Decimal] = defaultdict(Decimal)
    for part, count in (("scheduler", 1), ("worker", int(cluster["spec"]["worker"]["replicas"]))):
        need["pods"] += count
        for container in cluster["spec"][part]["spec"]["containers"]:
            for kind in ("requests", "limits"):
                for name, amount in container["resources"].get(kind, {}).items():
                    total = count * quantity(str(amount))
                    need[f"{kind}.{name}"] += total
                    # A quota may name what is requested by the resource alone.
                    need[name] += total if kind == "requests" else 0
    return need


def short(quota: Document, need: Mapping[str, Decimal]) -> Iterator[str]:
    """What a quota has too little of; one of a scope is passed over, for it may not hold for these pods."""
    if quota["spec"].get("scopes") or quota["spec"].get("scopeSelector"):
        return
    status = quota.get("status", {})
    for name, hard in status.get("hard", {}).items():
        used = status.get("used", {}).get(name, "0")
        if name in need and quantity(used) + need[name] > quantity(hard):
            yield f"quota {quota['metadata']['name']}: {name}: {used} of {hard} used, {need[name]:f} more needed"


def quantity(text: str) -> Decimal:
    """Number of a quantity of Kubernetes, such as ``500m`` or ``4Gi``.

    Examples
    --------
    >>> quantity("500m"), quantity("2Ki")
    (Decimal('0.500'), Decimal('2048'))
    """
    number = text.rstrip("mkKMGTi")
    return Decimal(number) * Decimal(SUFFIXES[text[len(number) :]])


def _noticed(cluster: DaskCluster) -> float:
    """Make an empty cluster, wait until the operator takes notice of it, and remove it; seconds that it took."""
    cluster.cluster["spec"]["worker"]["replicas"] = 0
    begin = time.monotonic()
    try:
        cluster.start(scaled=False)
        while not cluster.phase():
            if time.monotonic() - begin > NOTICE:
                raise ServiceError(
                    f"no Dask operator took notice of a cluster in namespace {cluster.job.namespace} within "
                    f"{NOTICE:.0f} s: see that it runs and watches this namespace"
                )
            time.sleep(dask_operator.LOOK_GOING)
        return time.monotonic() - begin
    finally:
        cluster.remove()


def outcome(file: Path) -> tuple[list[str], SoilscaleError | None]:
    """What `check` says of a file, or its error."""
    try:
        return check(file), None
    except SoilscaleError as error:
        return [], error
