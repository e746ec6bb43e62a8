"""The command: parse, read the configuration, hand it to the flow; logging and the Dask client are set up here."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Column, Table

from soilscale import __version__, config, flow, telling
from soilscale.errors import ConfigurationError, IncompleteError, ServiceError, SoilscaleError

USAGE = 64
"""Exit status of wrong usage; the parser's own is 2."""

ASKING = ("run", "search")
"""What asks the catalogs, and so says from which date on a relative period counts back; the other stages follow it."""

MISSING = {
    "failed": "their input could not be used",
    "killed": "they killed their workers; the same command tries them again",
}
"""Outcome of a unit -> why it is missing."""

WIDE = 1000
"""Characters of a line where no terminal limits it."""

NOISY = (
    "aiobotocore",
    "asyncio",
    "botocore",
    "distributed",
    "fsspec",
    "matplotlib",
    "rasterio",
    "tornado",
    "urllib3",
)
"""Libraries whose loggers tell with a traceback what the command tells in a sentence."""

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

LOCAL = {
    "distributed.scheduler.worker-ttl": "60s",
    "distributed.worker.memory.pause": False,
    "distributed.worker.profile.enabled": False,
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 32 * 2**20,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 16 * 2**20,
}
"""Dask's settings of a local cluster, where the user has set no others: a worker that is silent for a minute is started
anew; so is one whose memory is nearly full, rather than paused before; arrays of one unit are given to the next, not
back to the system."""

logger = logging.getLogger(__name__)

app = typer.Typer(
    name="soilscale",
    help="Downscale satellite soil moisture from 25 km to 1 km, per season, from STAC catalogs to maps.",
    epilog="Exit status: 0 complete; 64 wrong usage; 65 unusable input data; 69 a service is unreachable; "
    "75 stopped before complete, run again; 78 wrong configuration.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(width=None if sys.stdout.isatty() else WIDE)
err = Console(stderr=True)

LogLevel = Literal["debug", "info", "warning", "error"]
ConfigPath = Annotated[str, typer.Argument(metavar="CONFIG", help="Configuration, a YAML file.")]
Output = Annotated[
    str | None, typer.Option("--output", metavar="URL", help="Folder or s3://bucket/prefix; overrides `output`.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        help="An existing Dask scheduler, tcp://HOST:PORT; else DASK_SCHEDULER_ADDRESS; else a local cluster.",
    ),
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Worker processes of the local cluster; default: one per core.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("-o", metavar="KEY=VALUE", help="Sets any configuration key, such as -o models.seed=1; repeatable."),
]
Form = Annotated[
    telling.LogFormat, typer.Option("--log-format", help="How lines of the log look; json: one object a line.")
]
Metrics = Annotated[
    int | None,
    typer.Option(
        "--metrics-port", metavar="PORT", min=1, max=65535, help="Serve Prometheus metrics of this run on this port."
    ),
]
MetricsAddress = Annotated[
    str,
    typer.Option("--metrics-address", metavar="ADDRESS", help="Where they are served; 0.0.0.0 for other machines too."),
]
Level = Annotated[LogLevel, typer.Option("--log-level", help="How much is logged; debug also shows tracebacks.")]


def main() -> None:
    """Run the command."""
    try:
        app()
    except SystemExit as stop:
        sys.exit(USAGE if stop.code == 2 else stop.code)  # noqa: PLR2004 - the parser's status for wrong usage


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        out.print(__version__)
        raise typer.Exit


def today() -> date:
    """Date from which relative periods are counted back, UTC; each command asks for it once."""
    return datetime.now(UTC).date()


@contextmanager
def _statuses(level: LogLevel, form: telling.LogFormat = "text") -> Iterator[None]:
    """Turn a failure into a message on stderr and its exit status; tracebacks only when debugging."""
    handler = telling.handler(err, form, paths=level == "debug")
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    _quieten()
    signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    except typer.Exit:
        raise
    except SoilscaleError as error:
        _fail(str(error), error.status, level)
    except KeyboardInterrupt:
        _fail("stopped before complete; run the same command again to resume", IncompleteError.status, level)
    except (TimeoutError, ConnectionError) as error:
        _fail(f"the Dask cluster was lost ({error}); run the same command again", IncompleteError.status, level)
    except Exception as error:  # noqa: BLE001 - the last resort: a message, not a traceback
        _fail(f"unexpected {type(error).__name__}: {error}; see --log-level debug", SoilscaleError.status, level)


def _quieten() -> None:
    """Set the least level that the libraries log; Dask gives some of its loggers a level of their own when loaded."""
    level = logging.WARNING if logging.root.level == logging.DEBUG else logging.CRITICAL
    for name in {*NOISY, *logging.root.manager.loggerDict}:
        if name.partition(".")[0] in NOISY:
            logging.getLogger(name).setLevel(level)


def _fail(message: str, status: int, level: LogLevel) -> None:
    err.print(f"soilscale: {message}", style="bold red", markup=False, highlight=False, soft_wrap=True)
    if level == "debug":
        err.print_exception()
    raise typer.Exit(status)


def _stop(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _cluster(scheduler: str | None, workers: int | None) -> Iterator[Callable[[], Client]]:
    """Way to the Dask client, which starts or reaches the cluster at its first use, and leaves it at the end."""
    with ExitStack() as stack:

        @cache
        def connect() -> Client:
            from distributed import Client

            _quieten()
            address = scheduler or os.environ.get("DASK_SCHEDULER_ADDRESS")
            try:
                client = stack.enter_context(Client(address or _start(stack, workers), set_as_default=False))
            except ValueError as error:
                raise ConfigurationError(
                    f"{address!r} is no address of a Dask scheduler ({error}); expected tcp://HOST:PORT"
                ) from error
            except (OSError, TimeoutError) as error:
                raise ServiceError(f"no Dask scheduler answers at {address}: {error}; check --scheduler") from error
            with suppress(KeyError):  # raised where the scheduler has no dashboard
                logger.info("Dask dashboard: %s", client.dashboard_link)
            return client

        yield connect


def _start(stack: ExitStack, workers: int | None) -> LocalCluster:
    """Local cluster of single-threaded processes, on the loopback interface only."""
    import dask
    from distributed import LocalCluster

    shipped = dask.config.merge(*dask.config.defaults)
    unset = {
        key: value
        for key, value in LOCAL.items()
        if dask.config.get(key, None) == dask.config.get(key, None, config=shipped)
    }
    with _held(), dask.config.set(unset):
        return stack.enter_context(
            LocalCluster(
                n_workers=workers or os.cpu_count(),
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
            )
        )


@contextmanager
def _held() -> Iterator[None]:
    """Hold signals back while workers start: none stays half started, and all inherit that Ctrl-C is not theirs."""
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


def _execute(
    work: str,
    path: str,
    output: str | None,
    scheduler: str | None,
    workers: int | None,
    overrides: list[str] | None,
    level: LogLevel,
    form: telling.LogFormat,
    metrics: tuple[str, int | None],
) -> None:
    """Run stages of a configuration on a cluster, and leave with the status that their outcome asks for."""
    with _statuses(level, form), ExitStack() as stack:
        day, settings = today(), config.load(path, overrides or (), output)
        address, port = metrics
        if port is not None:
            stack.callback(_serve(address, port))
        with _cluster(scheduler, workers) as connect, telling.progress(err, form) as progress:
            outcome = _work(work, flow.Run(settings, connect, progress), day)
        _conclude(outcome)


def _serve(address: str, port: int) -> Callable[[], None]:
    """Serve metrics; returns what ends it."""
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(port, address)
    except OSError as error:
        raise ConfigurationError(f"--metrics-port {port} at {address}: {error}; choose a port that is free") from error

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return end


def _work(work: str, run: flow.Run, day: date) -> flow.Outcome:
    """Do what a function of the flow does, which is imported only now: help does not wait for it."""
    with flow.held(run.workspace):
        outcome: flow.Outcome = getattr(flow, work)(flow.period.settled(run, day, afresh=work in ASKING))
    return outcome


def _settled(
    path: str, output: str | None, overrides: list[str] | None, *, afresh: bool
) -> tuple[config.Config, list[str]]:
    """Configuration whose relative period is resolved, and a line that tells how."""
    settings, renewal = flow.period.resolve(config.load(path, overrides or (), output), today(), afresh=afresh)
    return settings, [] if renewal is None else [flow.period.told(settings, renewal)]


def _conclude(outcome: flow.Outcome) -> None:
    for line in outcome.lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    for failure in outcome.failures:
        message = f"{failure.stage} {failure.name}: {failure.message}"
        err.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    for kind, reason in MISSING.items():
        count = sum(failure.outcome == kind for failure in outcome.failures)
        if count:
            err.print(f"soilscale: {count} units are missing because {reason}", style="bold red")
    if outcome.status:
        raise typer.Exit(outcome.status)


def _command(name: str, work: str, text: str, example: str) -> None:
    def command(
        path: ConfigPath,
        output: Output = None,
        scheduler: Scheduler = None,
        workers: Workers = None,
        override: Overrides = None,
        log_level: Level = "info",
        log_format: Form = "text",
        metrics_port: Metrics = None,
        metrics_address: MetricsAddress = "127.0.0.1",
    ) -> None:
        metrics = metrics_address, metrics_port
        _execute(work, path, output, scheduler, workers, override, log_level, log_format, metrics)

    app.command(name, help=text, epilog=f"Example: soilscale {name} {example}")(command)


_command(
    "run", "run", "All stages, from catalog to report; skips what is already complete.", "moselle.yaml --workers 4"
)
_command(
    "search",
    "search",
    "Find the items of every source and freeze them into the output.",
    "moselle.yaml -o period=[1990-01,1990-12]",
)
_command(
    "cube",
    "cube",
    "Stream the frozen items into the Zarr cube.",
    "moselle.yaml --scheduler tcp://dask-scheduler:8786",
)
_command(
    "samples",
    "samples",
    "Build the training table from the cube's coarse cells.",
    "moselle.yaml -o samples.min_valid_fraction=0.7",
)
_command(
    "train",
    "train",
    "Fit a model per season and algorithm, and judge it by random and blocked splits.",
    "moselle.yaml -o models.seed=1",
)
_command("map", "make_maps", "Make the fine maps: Zarr, COGs and STAC items.", "moselle.yaml -o maps.algorithm=best")
_command(
    "report",
    "report",
    "Make the tables, the figures and the HTML page.",
    "moselle.yaml -o validation.stations=stations.csv",
)


def _table(*columns: str) -> Table:
    """Table whose texts are folded, never cut, where they are too long for the terminal."""
    return Table(*(Column(name, overflow="fold") for name in columns))


def _print(table: Table, lines: Sequence[str]) -> None:
    out.print(table)
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command(epilog="Example: soilscale status moselle.yaml --output s3://bucket/moselle")
def status(path: ConfigPath, output: Output = None, override: Overrides = None, log_level: Level = "info") -> None:
    """How much of each stage is complete, without computing."""
    with _statuses(log_level):
        settings, lines = _settled(path, output, override, afresh=False)
        told = flow.status(settings)
        table = _table("stage", "complete", "of", "failed")
        for stage in told.stages:
            table.add_row(
                stage.name, str(stage.done), "?" if stage.total is None else str(stage.total), str(stage.failed)
            )
        _print(table, [*lines, *told.lines])


@app.command(epilog="Example: soilscale check moselle.yaml")
def check(path: ConfigPath, output: Output = None, override: Overrides = None, log_level: Level = "info") -> None:
    """Validate the configuration and reach every catalog and the output; change nothing."""
    with _statuses(log_level):
        settings, lines = _settled(path, output, override, afresh=True)
        with telling.progress(err, "text") as progress:
            told = flow.check(settings, progress)
        table = _table("source", "items", "months covered", "months missing", "state")
        for row in told.sources:
            table.add_row(row.name, str(row.items), row.covered, row.missing, row.state)
        _print(table, [*lines, *told.lines])
        _tell_sizing(told.sizing)
        if told.error is not None:
            raise told.error


@app.command(epilog="Example: soilscale plan moselle.yaml --memory 4096")
def plan(
    path: ConfigPath,
    output: Output = None,
    override: Overrides = None,
    memory: Annotated[int, typer.Option("--memory", metavar="MIB", min=1, help="What a worker may take.")] = 2048,
    log_level: Level = "info",
) -> None:
    """Tell what a run will take, stage by stage, from the configuration and the frozen items; ask no catalog."""
    with _statuses(log_level):
        settings, lines = _settled(path, output, override, afresh=True)
        _tell_sizing(flow.foresee(settings, memory * 2**20), lines)


def _tell_sizing(told: flow.Sizing, lines: Sequence[str] = ()) -> None:
    """Print what a run will take, and what to change where a worker has too little memory for it."""
    table = _table("stage", "units", "to read", "to write", "objects", "core-hours", "memory per worker")
    for row in (*told.sizes, told.total):
        table.add_row(*telling.figures(row))
    _print(table, [*lines, *told.lines])


@app.command(epilog="Example: soilscale demo demo-run --seed 1")
def demo(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the world and the run go.")],
    scheduler: Scheduler = None,
    workers: Workers = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the world.")] = 0,
    log_level: Level = "warning",
) -> None:
    """Write an embedded world (STAC catalog, COGs, stations, the true fine maps, CONFIG) and run it."""
    from soilscale import synthetic

    with _statuses(log_level):
        with telling.progress(err, "text") as progress:
            path = synthetic.write(folder, seed=seed, progress=progress)
        settings = config.load(str(path))
        with _cluster(scheduler, workers) as connect, telling.progress(err, "text") as progress:
            outcome = _work("run", flow.Run(settings, connect, progress), today())
        _conclude(outcome)
