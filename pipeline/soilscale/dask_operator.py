"""Dask clusters made by the Dask operator in Kubernetes, each for one Job and removed with it."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from soilscale import certificates, kube_events, manifests, retry
from soilscale.certificates import Pair
from soilscale.errors import ConfigurationError, IncompleteError, ServiceError
from soilscale.kube_errors import asking, denied
from soilscale.manifests import TEMPLATE, Document, Owner, documents

if TYPE_CHECKING:
    import kr8s
    from distributed import Client
    from kr8s.objects import APIObject

DEADLINE = 900.0
"""Seconds until the first worker must be there, where SOILSCALE_WORKERS_DEADLINE says nothing."""

LOOK_EVERY = 2.0
"""Seconds between two looks at a cluster that comes up or goes."""

SCALE_EVERY = 15.0
"""Seconds between two changes of how many workers are wanted; the operator itself waits as long."""

UNITS_FOR_A_WORKER = 4
"""Units that are left for every worker that is asked for."""

GOING = 60.0
"""Seconds after which a cluster that was removed is waited for no longer; a Job's end takes it along."""

GOES_FIRST = 20.0
"""Seconds to wait until the autoscaler is gone, before its cluster is removed."""

LOOK_GOING = 0.5
"""Seconds between two looks at what was removed."""

SHRINK_AFTER = 300.0
"""Seconds for which fewer workers must be enough before fewer are requested: after a stage another one follows."""

RETIREMENT = 15.0
"""Seconds that workers have for ending what they do."""

STARTING = ("ContainerCreating", "PodInitializing")
"""Reasons for which a container waits that pass by themselves."""

TOLD = 5
"""Things that Kubernetes said which a message repeats at most."""

logger = logging.getLogger(__name__)


@dataclass
class DaskCluster:
    """Dask cluster of a Job, from its making to its removal."""

    owner: Owner
    cluster: Document
    autoscaler: Document
    deadline: float = DEADLINE
    """Seconds until the first worker must be there."""
    address: str = ""
    """Where the scheduler is reached; empty: by the name of its Service."""
    pair: Pair | None = None
    """Certificate and key that scheduler, workers and this process share; None: they speak without encryption."""
    stands: bool = False
    left: int = 0
    """Units that are left in the stage."""
    minimum: int = 0
    """Workers that the autoscaler was last told to keep."""
    scaled: float = float("-inf")
    """When that was."""
    fewer: float | None = None
    """Since when fewer would be enough."""

    def __post_init__(self) -> None:
        self.minimum = self.autoscaler["spec"]["minimum"]
        scheme = "tcp" if self.pair is None else "tls"
        self.address = self.address or manifests.scheduler_address(self.name, self.owner.namespace, scheme)

    @property
    def name(self) -> str:
        """Name of the DaskCluster."""
        return str(self.cluster["metadata"]["name"])

    @cached_property
    def api(self) -> kr8s.Api:
        """Kubernetes, reached as a pod does or by a kubeconfig; its client forgets it where nobody holds it."""
        import kr8s

        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                api = kr8s.api(namespace=self.owner.namespace)
        except ValueError as error:
            raise ConfigurationError(
                "--cluster: found neither a service account token nor a kubeconfig; run in "
                "a pod whose token is mounted (automountServiceAccountToken), or set KUBECONFIG"
            ) from error
        for warning in caught:
            # Usually that Kubernetes is newer than the client; the few calls made here have not changed for years.
            logger.info("Kubernetes client: %s", warning.message)
        return api

    def _object(self, document: Document) -> APIObject:
        from kr8s.objects import new_class

        return new_class(document["kind"], document["apiVersion"], asyncio=False)(document, api=self.api)

    def _found(self, document: Document) -> Document | None:
        """Resource as it stands in Kubernetes; None if there is none."""
        import kr8s

        resource = self._object(document)
        try:
            resource.refresh()
        except kr8s.NotFoundError:
            return None
        return dict(resource.raw)

    def start(self, *, scaled: bool = True) -> None:
        """Make the cluster, or take over the one that an earlier pod of the same Job has left.

        Parameters
        ----------
        scaled
            Whether it gets its autoscaler.

        Raises
        ------
        ConfigurationError
            If Kubernetes refuses it: who asks may not, or its definition is wrong.
        ServiceError
            If Kubernetes does not answer, knows no such resource, or has no room for it.
        """
        with asking(f"make the Dask cluster {self.name}"):
            if self._standing():
                logger.info("reusing the Dask cluster %s of an earlier attempt of this %s", self.name, self.owner.kind)
            else:
                self._certify()
                self._object(self.cluster).create()
                logger.info("requested the cluster %s from the Dask operator", self.name)
            self.stands = True
            if not scaled:
                return
            autoscaler = self._object(self.autoscaler)
            # An earlier try may have left it scaled.
            if autoscaler.exists():
                autoscaler.patch({"spec": self.autoscaler["spec"]})
            else:
                autoscaler.create()

    def _certify(self) -> None:
        """Store the certificates where the pods of the cluster look for them."""
        name = manifests.certificates_of(self.cluster)
        if self.pair is not None and name is not None:
            labels = self.cluster["metadata"].get("labels", {})
            self._object(manifests.secret(name, labels, self.owner, self.pair)).create()

    def _standing(self) -> bool:
        """Whether the cluster stands; one that is going is waited for, and one of another template removed."""
        end = time.monotonic() + GOING
        while True:
            cluster = self._found(self.cluster)
            if cluster is None:
                return False
            metadata = cluster["metadata"]
            if metadata.get("deletionTimestamp") is None:
                if metadata.get("annotations", {}).get(TEMPLATE) == self.cluster["metadata"]["annotations"][TEMPLATE]:
                    return True
                # `Foreground` keeps the resource visible until its dependents are gone, so a new cluster of this name
                # meets no leftovers.
                self._object(self.cluster).delete(propagation_policy="Foreground")
            if time.monotonic() > end:
                raise IncompleteError(
                    f"the Dask cluster {self.name} of an earlier attempt is still being removed after {GOING:.0f} s; "
                    f"check that the Dask operator runs, and `kubectl describe daskcluster {self.name}`, then run the "
                    "same command again"
                )
            time.sleep(LOOK_EVERY)

    def phase(self) -> str:
        """Phase that the operator gives the cluster; empty if the operator has not noticed it."""
        with asking("inspect the Dask cluster"):
            return str(((self._found(self.cluster) or {}).get("status") or {}).get("phase") or "")

    def client(self) -> Client:
        """Client of the scheduler, once it has a worker.

        Raises
        ------
        ServiceError
            If it has none at the deadline; with what the operator, the pods and the events said.
        """
        from soilscale.engine.greeting import collect_failed

        end, last_said = time.monotonic() + self.deadline, ""
        client: Client | None = None
        while True:
            try:
                if client is None:
                    self._knock()
                    client = self._client()
                if client.scheduler_info()["workers"]:
                    return client
            except (OSError, TimeoutError):
                if client is None:
                    collect_failed()
            reason = "; ".join(self.said()) or "its pods are starting"
            if reason != last_said:
                logger.info("waiting for workers of the Dask cluster %s: %s", self.name, reason)
            last_said = reason
            if time.monotonic() > end:
                break
            time.sleep(LOOK_EVERY)
        if client is not None:
            client.close()
        raise ServiceError(
            f"the Dask cluster {self.name} has no worker after {self.deadline:.0f} s: {last_said}; fix this, or set "
            "SOILSCALE_WORKERS_DEADLINE, then run the same command again"
        )

    def _client(self) -> Client:
        from soilscale.engine.greeting import connected

        security = None if self.pair is None else self.pair.security()
        return connected(self.address, timeout=LOOK_EVERY, security=security)

    def _knock(self) -> None:
        """Raise OSError where no scheduler listens; a client that finds none leaves a thread behind."""
        with socket.create_connection(_place(self.address), timeout=LOOK_EVERY):
            pass

    def said(self) -> list[str]:
        """What the operator, the pods and the events of the cluster say is the matter; never an error."""
        try:
            with asking("inspect the Dask cluster"):
                cluster = self._found(self.cluster)
                if cluster is None:
                    return ["it no longer exists: someone or its idleTimeout has removed it"]
                if not cluster.get("status", {}).get("phase"):
                    return [
                        "the Dask operator has not noticed it: check that the operator runs and watches this namespace"
                    ]
                created = kube_events.instant(cluster["metadata"].get("creationTimestamp"))
                return [*self._pods(), *self._events(created)][:TOLD]
        except (ConfigurationError, ServiceError) as error:
            return [str(error)]

    def _pods(self) -> Iterator[str]:
        """What pods wait for."""
        from kr8s.objects import Pod

        chosen = {"dask.org/cluster-name": self.name}
        pods: Iterator[Any] = self.api.get(Pod, namespace=self.owner.namespace, label_selector=chosen, raw=True)
        for pod in pods:
            status, name = pod.get("status", {}), pod["metadata"]["name"]
            for entry in status.get("conditions", ()):
                if entry.get("type") == "PodScheduled" and entry.get("status") == "False":
                    yield f"pod {name}: {entry.get('reason')}: {entry.get('message')}"
            for entry in status.get("containerStatuses", ()):
                waiting = entry.get("state", {}).get("waiting", {})
                if waiting and waiting.get("reason") not in STARTING:
                    yield f"pod {name}: {waiting.get('reason')}: {waiting.get('message', '')}".rstrip(": ")

    def _events(self, since: datetime) -> list[str]:
        """Warnings since a moment about the cluster and what belongs to it, the newest first, one for each cause."""
        from kr8s.objects import Event

        chosen = {"type": "Warning"}
        events: Iterator[Any] = self.api.get(Event, namespace=self.owner.namespace, field_selector=chosen, raw=True)
        return kube_events.causes(events, self.name, since)

    def need(self, left: int) -> None:
        """Ask for as many workers as the units that are left can use; at most every `SCALE_EVERY` seconds."""
        self.left = left
        now, spec = time.monotonic(), self.autoscaler["spec"]
        workers = min(max(math.ceil(left / UNITS_FOR_A_WORKER), spec["minimum"]), spec["maximum"])
        if workers >= self.minimum:
            self.fewer = None
        elif self.fewer is None:
            self.fewer = now
        lasts = self.fewer is None or now - self.fewer >= SHRINK_AFTER
        if not self.stands or workers == self.minimum or not lasts or now - self.scaled < SCALE_EVERY:
            return
        self.scaled = now
        try:
            with asking("scale the Dask cluster"):
                # The autoscaler only sees the few tasks submitted at a time, so its minimum is raised instead.
                self._object(self.autoscaler).patch({"spec": {"minimum": workers}})
        except (ConfigurationError, ServiceError) as error:
            logger.warning("%s; the run continues with its current workers", error)
            return
        logger.info("%d units left: requesting at least %d workers instead of %d", left, workers, self.minimum)
        self.minimum = workers

    def retire(self, client: Client) -> None:
        """Let the workers end what they do, as far as they and their scheduler still answer."""
        try:
            scheduler: Any = client.scheduler
            workers = list(client.scheduler_info(n_workers=-1)["workers"])
            client.sync(scheduler.retire_workers, workers=workers, callback_timeout=RETIREMENT)
        except Exception as error:  # noqa: BLE001 - a lost scheduler has none to retire; the cluster is removed next
            logger.debug("workers of the Dask cluster were not retired: %s", error)

    def remove(self) -> None:
        """Remove the cluster and wait until it is gone; that it stays is told, and its Job's end takes it along."""

        def request() -> None:
            with asking(f"remove the Dask cluster {self.name}"):
                # The operator asks the cluster for its autoscaler, and holds that for a minute if it finds none.
                self._let_go(self.autoscaler, GOES_FIRST)
                self._let_go(self.cluster, GOING)

        try:
            retry.call(
                request,
                lambda error: isinstance(error, ServiceError) and self.stands and not denied(error),
                retry.ROUND,
                before=lambda error: logger.warning("%s", error),
            )
        except (ConfigurationError, ServiceError) as error:
            if self.stands and not denied(error):
                logger.warning("%s; it stays until the %s is removed", error, self.owner)
            else:
                logger.info("the Dask cluster %s, if there is one, will be removed with the %s", self.name, self.owner)
                logger.debug("%s", error)

    def _let_go(self, document: Document, patience: float) -> None:
        """Remove a resource, if it exists, and wait until it is gone."""
        if self._found(document) is None:
            return
        self._object(document).delete(propagation_policy="Foreground")
        end = time.monotonic() + patience
        while self._found(document) is not None:
            if time.monotonic() > end:
                logger.warning("the %s %s is still being removed after %.0f s", document["kind"], self.name, patience)
                return
            time.sleep(LOOK_GOING)


def asked(file: Path, most: int | None) -> DaskCluster:
    """Cluster of a file for the owner of this process.

    Raises
    ------
    ConfigurationError
        If the file or the environment is wrong, or the client of Kubernetes is not installed.
    """
    try:
        import kr8s  # noqa: F401 - an extra that may be missing
    except ImportError as error:
        raise ConfigurationError("--cluster needs the Kubernetes client: pip install soilscale[kubernetes]") from error
    owner = Owner.of(os.environ)
    seconds = os.environ.get("SOILSCALE_WORKERS_DEADLINE") or str(DEADLINE)
    try:
        deadline = float(seconds)
    except ValueError as error:
        raise ConfigurationError(f"SOILSCALE_WORKERS_DEADLINE: got {seconds!r}, expected seconds") from error
    address = os.environ.get("SOILSCALE_SCHEDULER_ADDRESS", "")
    if address:
        # Parsed now, so that a wrong address fails before a cluster is created.
        _place(address)
    cluster, autoscaler = documents(file, owner, most)
    pair = None if manifests.certificates_of(cluster) is None else certificates.issue()
    return DaskCluster(owner, cluster, autoscaler, deadline=deadline, address=address, pair=pair)


def _place(address: str) -> tuple[str, int]:
    """Host and port of a scheduler."""
    with suppress(ValueError):
        parts = urlsplit(address)
        if parts.hostname and parts.port:
            return parts.hostname, parts.port
    raise ConfigurationError(f"SOILSCALE_SCHEDULER_ADDRESS: got {address!r}, expected tcp://HOST:PORT")
