"""Check whether Kubernetes would create a Dask cluster: definitions, rights, room in the quota, a live operator."""

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
"""Group, resource and verb of all requests of a runner."""

NOTICE = 60.0
"""Seconds within which a live operator notices a cluster."""

SUFFIXES = {"m": "0.001", "": "1", "k": "1e3", "M": "1e6", "G": "1e9", "T": "1e12"} | {
    f"{letter}i": str(1024**power) for power, letter in enumerate("KMGT", 1)
}
"""Suffix of a quantity -> its factor."""


def check(file: Path) -> list[str]:
    """Check whether a runner could have the Dask cluster of a file; leave nothing behind.

    An empty cluster is created and removed: only if the operator notices it, it is alive and watches this namespace.

    Returns
    -------
    list of str
        Lines that report what is in order.

    Raises
    ------
    ConfigurationError
        If a right is missing, or Kubernetes refuses the cluster.
    ServiceError
        If the definitions or the operator are missing, there is no room in the quota, or Kubernetes does not respond.
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
    good = f"definitions and rights are in place, the quota has room for {workers} workers"
    return [f"Kubernetes: {good}, and the Dask operator noticed a cluster within {waited} s"]


def _missing_rights(cluster: DaskCluster) -> list[str]:
    """Rights that the runner's account lacks, according to the server."""
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
    """Quotas of the namespace without room for the scheduler and the minimum of workers."""
    from kr8s.objects import ResourceQuota

    need = demand(cluster.cluster)
    try:
        with asking("read the quotas"):
            quotas: Iterator[Any] = cluster.api.get(ResourceQuota, namespace=cluster.job.namespace, raw=True)
            return [line for quota in quotas for line in short(quota, need)]
    except ConfigurationError as error:
        # Your own Role may lack this right, which a run does not need.
        logger.warning("%s; cannot check whether there is room", error)
        return []


def demand(cluster: Document) -> dict[str, Decimal]:
    """Pods and resources that a Dask cluster needs with its minimum of workers, by the names of quotas."""
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
    """Resources of which a quota has too little; one with a scope is skipped, as it may not apply to these pods."""
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
    """Create an empty cluster, wait until the operator notices it, and remove it; return the seconds that it took."""
    cluster.cluster["spec"]["worker"]["replicas"] = 0
    begin = time.monotonic()
    try:
        cluster.start(scaled=False)
        while not cluster.phase():
            if time.monotonic() - begin > NOTICE:
                raise ServiceError(
                    f"no Dask operator noticed a cluster in namespace {cluster.job.namespace} within {NOTICE:.0f} s: "
                    "check that the operator runs and watches this namespace"
                )
            time.sleep(dask_operator.LOOK_GOING)
        return time.monotonic() - begin
    finally:
        cluster.remove()


def outcome(file: Path) -> tuple[list[str], SoilscaleError | None]:
    """Lines that `check` returns for a file, or its error."""
    try:
        return check(file), None
    except SoilscaleError as error:
        return [], error
