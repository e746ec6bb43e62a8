"""The Dask cluster of a command: an existing one, one from the Dask operator, or local processes."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import forkserver, get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soilscale import console
from soilscale.errors import ConfigurationError, ServiceError

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

    from soilscale.dask_operator import DaskCluster
    from soilscale.engine.units import Progress

LOCAL = {
    "distributed.deploy.lost-worker-timeout": "365 days",
    "distributed.scheduler.allowed-failures": 1,
    "distributed.scheduler.worker-ttl": "60s",
    "distributed.worker.memory.pause": False,
    "distributed.worker.multiprocessing-method": "forkserver",
    "distributed.worker.profile.enabled": False,
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 32 * 2**20,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 16 * 2**20,
}
"""Dask's settings of a local cluster, where the user has set no others.

A task that has lost two workers is handed back, for the runner to see which of its units it is. A worker that died is
started anew, however often it dies, where Dask closes the nanny of one that is away some seconds after its first
death; one that is silent for a minute is started anew; so is one whose memory is nearly full, rather than paused
before; arrays of one unit are given to the next, not back to the system.
Workers are forked from a process that has loaded what all of them need: where each loads it for itself, the first unit
of a small area takes twice as long to be done.
"""

CUBE_MODULES = ("distributed.worker", "soilscale.tasks.cube_regions", "stackstac")
"""Modules with which the workers of a command that fills the cube are born."""

MODULES = (*CUBE_MODULES, "soilscale.models.training", "soilscale.models.persistence", "matplotlib.colors")
"""Modules with which the workers of all other commands are born."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """Which cluster a user has chosen; without a choice, processes of this machine."""

    scheduler: str | None = None
    """Address of a scheduler that stands."""
    file: Path | None = None
    """YAML of a DaskCluster and a DaskAutoscaler, which the Dask operator is asked for."""
    workers: int | None = None
    """Worker processes of a local cluster, or most workers of one that is asked for."""
    modules: tuple[str, ...] = MODULES
    """Modules with which local workers are born."""

    @property
    def address(self) -> str | None:
        """Address of the scheduler that the user or the environment names."""
        return self.scheduler or os.environ.get("DASK_SCHEDULER_ADDRESS")


@dataclass(frozen=True)
class Cluster:
    """Way to a Dask client, which starts or reaches the cluster at its first use."""

    choice: Choice
    stack: ExitStack
    """What is left and removed at the end."""

    def prepare(self) -> None:
        """Start the process from which local workers are forked: it loads their modules beside the planning."""
        if self.choice.file is None and self.choice.address is None:
            import dask

            with dask.config.set(_unset()):
                _preload(self.choice.modules)

    @cached_property
    def _dask_cluster(self) -> DaskCluster | None:
        if self.choice.file is None:
            return None
        from soilscale import dask_operator

        return dask_operator.asked(self.choice.file, self.choice.workers)

    @cached_property
    def _client(self) -> Client:
        import distributed  # noqa: F401 - sets levels of its loggers

        console.quieten()
        client = (
            _reached(self.choice, self.stack)
            if self._dask_cluster is None
            else _operator_client(self._dask_cluster, self.stack)
        )
        with suppress(KeyError):  # raised where the scheduler has no dashboard
            logger.info("Dask dashboard: %s", client.dashboard_link)
        return client

    def connect(self) -> Client:
        """Client of the cluster.

        Raises
        ------
        ConfigurationError
            If the address is none, or Kubernetes refuses what is asked for.
        ServiceError
            If the scheduler or Kubernetes does not answer, or no worker comes.
        """
        return self._client

    def followed(self, progress: Progress) -> Progress:
        """Progress that also has the cluster scaled by the units that are left, where it can be."""
        dask_cluster = self._dask_cluster
        if dask_cluster is None:
            return progress

        def tell(doing: str, count: int, total: int | None) -> None:
            progress(doing, count, total)
            if total is not None:
                dask_cluster.need(total - count)

        return tell


@contextmanager
def chosen(choice: Choice) -> Iterator[Cluster]:
    """Cluster of a choice, which is left at the end; what was started for it ends.

    Raises
    ------
    ConfigurationError
        If a scheduler that stands and a cluster to be made are both chosen.
    """
    if choice.scheduler is not None and choice.file is not None:
        raise ConfigurationError(
            f"got --scheduler {choice.scheduler} and --cluster {choice.file}, expected one of them"
        )
    with ExitStack() as stack:
        yield Cluster(choice, stack)


def _operator_client(dask_cluster: DaskCluster, stack: ExitStack) -> Client:
    """Client of a cluster of the Dask operator, which is removed at the end whatever happens."""

    def end() -> None:
        with _signals_held():
            dask_cluster.remove()

    stack.callback(end)
    dask_cluster.start()
    client = stack.enter_context(dask_cluster.client())
    stack.callback(dask_cluster.retire, client)
    dask_cluster.need(dask_cluster.left)
    return client


def _reached(choice: Choice, stack: ExitStack) -> Client:
    """Client of a scheduler that stands, or of a local cluster."""
    from soilscale.engine.greeting import connected

    address = choice.address
    try:
        return stack.enter_context(connected(address or _start(stack, choice.workers, choice.modules)))
    except ValueError as error:
        raise ConfigurationError(
            f"{address!r} is not a valid Dask scheduler address ({error}); expected tcp://HOST:PORT or tls://HOST:PORT"
        ) from error
    except TypeError as error:
        if not str(address).startswith("tls:"):
            raise
        raise ConfigurationError(
            f"{address} needs certificates: set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, "
            "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY to their files"
        ) from error
    except (OSError, TimeoutError) as error:
        raise ServiceError(f"no Dask scheduler answers at {address}: {error}; check --scheduler") from error


def _start(stack: ExitStack, workers: int | None, modules: tuple[str, ...]) -> LocalCluster:
    """Local cluster of single-threaded processes, on the loopback interface only."""
    import dask
    from distributed import LocalCluster

    stack.enter_context(dask.config.set(_unset()))
    _preload(modules)
    with _signals_held():
        return stack.enter_context(
            LocalCluster(
                n_workers=workers or os.cpu_count(),
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
            )
        )


def _unset() -> dict[str, Any]:
    """Those of `LOCAL` that the user has not set."""
    import dask
    import distributed  # noqa: F401 - defines the defaults of its settings

    shipped = dask.config.merge(*dask.config.defaults)
    return {
        key: value
        for key, value in LOCAL.items()
        if dask.config.get(key, None) == dask.config.get(key, None, config=shipped)
    }


def _preload(modules: tuple[str, ...]) -> None:
    """Start the process that workers are forked from, if it does not stand yet and they are forked.

    It is started with the workers' environment: the C library and the one of linear algebra read theirs when a process
    begins, and forked ones never do.
    """
    import dask

    if dask.config.get("distributed.worker.multiprocessing-method") != "forkserver":
        return
    get_context("forkserver").set_forkserver_preload(list(modules))
    before = dict(os.environ)
    os.environ.update({k: str(v) for k, v in dask.config.get("distributed.nanny.pre-spawn-environ").items()})
    try:
        with _signals_held():
            forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold signals back: workers that start are not left half started, and all inherit that Ctrl-C is not theirs."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    came: list[int] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt
