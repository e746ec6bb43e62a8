"""The command: parse, read the configuration, hand it to `soilscale.runs`; logging is set up here."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime
from inspect import signature
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Column, Table

from soilscale import __version__, clusters, config, console, storage
from soilscale.access import Access, MissingUnits, Replace, SequenceName, Wait
from soilscale.errors import ConfigurationError, IncompleteError, SoilscaleError

if TYPE_CHECKING:
    from soilscale.estimate.resources import Sizing
    from soilscale.runs.owner import Claim
    from soilscale.stages.context import Outcome

USAGE = 64
"""Exit status of wrong usage; the parser's own is 2."""

ASKING = ("run", "search")
"""What asks the catalogs, and so says from which date on a relative period counts back; the other stages follow it."""

MISSING = {
    "failed": "their input could not be used",
    "killed": "they killed their workers; the same command retries them",
}
"""Outcome of a unit -> why it is missing."""

DEMO = (70.0, 110.0)
"""Seconds that a demo takes on a quiet machine: for its world, start and end, and of the run's work, which workers
share."""

WIDE = 1000
"""Characters of a line where no terminal limits it."""

logger = logging.getLogger(__name__)

app = typer.Typer(
    name="soilscale",
    help="Downscale satellite soil moisture from 25 km to 1 km, per season, from STAC catalogs to maps.",
    epilog="Exit status: 0 complete; 64 wrong usage; 65 unusable input data; 69 a service is unreachable; "
    "75 stopped before complete, run again; 78 wrong configuration.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
out = Console(width=None if sys.stdout.isatty() else WIDE)
err = Console(stderr=True)

LogLevel = Literal["debug", "info", "warning", "error"]
ConfigPath = Annotated[str, typer.Argument(metavar="CONFIG", help="Configuration, a YAML file.")]
Output = Annotated[
    str | None, typer.Option("--output", metavar="URL", help="Folder or bucket (s3, gs, az); overrides `output`.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        help="An existing Dask scheduler, tcp://HOST:PORT; else DASK_SCHEDULER_ADDRESS; else a local cluster.",
    ),
]
ClusterFile = Annotated[
    Path | None,
    typer.Option(
        "--cluster",
        metavar="FILE",
        envvar="SOILSCALE_CLUSTER",
        help="In a Kubernetes Job: YAML defining the DaskCluster and DaskAutoscaler to create.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Worker processes of the local cluster (default: one per core); with --cluster: maximum number of "
        "workers.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("-o", metavar="KEY=VALUE", help="Sets any configuration key, such as -o models.seed=1; repeatable."),
]
Form = Annotated[
    console.LogFormat,
    typer.Option("--log-format", envvar="SOILSCALE_LOG_FORMAT", help="Log format; json: one object per line."),
]
Metrics = Annotated[
    int | None,
    typer.Option(
        "--metrics-port", metavar="PORT", min=1, max=65535, help="Serve Prometheus metrics of this run on this port."
    ),
]
MetricsAddress = Annotated[
    str,
    typer.Option(
        "--metrics-address",
        metavar="ADDRESS",
        help="Address to serve them on; 0.0.0.0 makes them reachable from other machines.",
    ),
]
Level = Annotated[
    LogLevel, typer.Option("--log-level", envvar="SOILSCALE_LOG_LEVEL", help="Log level; debug also shows tracebacks.")
]


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
def _statuses(level: LogLevel, form: console.LogFormat = "text") -> Iterator[None]:
    """Turn a failure into a message on stderr and its exit status; tracebacks only when debugging."""
    handler = console.handler(err, form, paths=level == "debug")
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    console.quieten()
    signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    except typer.Exit:
        raise
    except SoilscaleError as error:
        _fail(str(error), error.status, level)
    except KeyboardInterrupt:
        _fail("stopped before it was complete; run the same command again to resume", IncompleteError.status, level)
    except (TimeoutError, ConnectionError) as error:
        _fail(f"lost the Dask cluster ({error}); run the same command again", IncompleteError.status, level)
    except Exception as error:  # noqa: BLE001 - the last resort: a message, not a traceback
        _fail(f"unexpected {type(error).__name__}: {error}; see --log-level debug", SoilscaleError.status, level)


def _fail(message: str, status: int, level: LogLevel) -> None:
    err.print(f"soilscale: {message}", style="bold red", markup=False, highlight=False, soft_wrap=True)
    if level == "debug":
        err.print_exception()
    raise typer.Exit(status)


def _stop(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _execute(
    work: str,
    path: str,
    output: str | None,
    choice: clusters.Choice,
    overrides: list[str] | None,
    level: LogLevel,
    form: console.LogFormat,
    metrics: tuple[str, int | None],
    access: Access,
) -> None:
    """Run stages of a configuration on a cluster, and leave with the status that their outcome asks for."""
    with _statuses(level, form), ExitStack() as stack:
        from soilscale.runs.up_to_date import is_sealed

        proven: dict[str, Any] = {"proven": is_sealed} if work == "run" else {}
        day, settings = today(), config.load(path, overrides or (), output, **proven)
        address, port = metrics
        if port is not None:
            stack.callback(_serve(address, port))
        outcome = _work(work, settings, choice, day, form, access)
        _conclude(outcome, tolerate=access.missing == "tolerate")


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


def _work(
    work: str,
    settings: config.Config,
    choice: clusters.Choice,
    day: date,
    form: console.LogFormat,
    access: Access,
) -> Outcome:
    """Do the work of a command, whose modules are imported only now: help does not wait for them.

    The output is held until what was started to write to it has ended. Whose it is, is looked at before that, so that
    a run that is refused leaves nothing behind, and then again, for another run may have begun it meanwhile.
    """
    from soilscale.engine import lease
    from soilscale.engine.output import Workspace
    from soilscale.runs import owner, up_to_date
    from soilscale.stages.context import Run

    afresh = work in ASKING
    if not access.destroy:
        owner.claim(settings, day, afresh=afresh).check()
    with (
        lease.held(
            Workspace(settings.output), access.patience, access.sequence, last=work in ("run", "report")
        ) as held,
        clusters.chosen(choice) as dask,
        console.progress(err, form) as progress,
    ):
        limit = settings.limits.missing if access.missing == "tolerate" else None
        run = Run(settings, dask.connect, dask.followed(progress), term=held.term, limit=limit, remedy=_remedy)
        return up_to_date.do(work, owner.settled(run, day, afresh=afresh, destroy=access.destroy))


def _remedy(settings: config.Config, stage: str, limit: float) -> str:
    """Say how much memory a stage needs; the estimate is imported only if units kill their workers."""
    from soilscale.estimate.resources import remedy

    return remedy(settings, stage, limit)


def _settled(path: str, output: str | None, overrides: list[str] | None, *, afresh: bool) -> tuple[Claim, list[str]]:
    """Configuration beside what its output holds, and a line that tells how a relative period is resolved."""
    from soilscale.runs import owner, period

    held = owner.claim(config.load(path, overrides or (), output), today(), afresh=afresh)
    return held, [] if held.renewal is None else [period.describe(held.settings, held.renewal)]


def _conclude(outcome: Outcome, *, tolerate: bool = False) -> None:
    """Print how a command ended, and exit with its status; tolerated missing units do not count."""
    for line in outcome.lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    for cause in outcome.causes:
        err.print(cause, style="red", markup=False, highlight=False, soft_wrap=True)
    for kind, reason in MISSING.items():
        count = sum(failure.outcome == kind for failure in outcome.failures)
        if count:
            err.print(f"soilscale: {count} units are missing because {reason}", style="bold red")
    if outcome.status and tolerate:
        err.print("soilscale: tolerated; the next stage follows, and `report` ends with the status of missing units")
    elif outcome.status:
        raise typer.Exit(outcome.status)


def _command(name: str, work: str, text: str, example: str) -> None:
    def command(
        path: ConfigPath,
        output: Output = None,
        scheduler: Scheduler = None,
        workers: Workers = None,
        cluster_file: ClusterFile = None,
        override: Overrides = None,
        log_level: Level = "info",
        log_format: Form = "text",
        metrics_port: Metrics = None,
        metrics_address: MetricsAddress = "127.0.0.1",
        wait: Wait = 0.0,
        destroy: Replace = False,
        missing: MissingUnits = "fail",
        sequence: SequenceName = "",
    ) -> None:
        metrics = metrics_address, metrics_port
        choice = clusters.Choice(scheduler, cluster_file, workers)
        access = Access(wait, destroy, sequence, missing)
        _execute(work, path, output, choice, override, log_level, log_format, metrics, access)

    # Later stages cannot continue from what is left of another configuration's product. All stages together continue
    # past missing units anyway, and end with their status.
    takes = {"destroy": work in ASKING, "missing": work != "run", "sequence": work != "run"}
    absent = {name for name, stands in takes.items() if not stands}
    options = signature(command, eval_str=True)
    kept = [option for name, option in options.parameters.items() if name not in absent]
    vars(command)["__signature__"] = options.replace(parameters=kept)
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
    "Fit a model per season and algorithm, and evaluate it by random and blocked splits.",
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
    """Show how much of each stage is complete; compute nothing."""
    from soilscale.runs.status import status as status_of

    with _statuses(log_level):
        held, lines = _settled(path, output, override, afresh=False)
        told = status_of(held.settings)
        table = _table("stage", "complete", "of", "failed")
        for stage in told.stages:
            table.add_row(
                stage.name, str(stage.done), "?" if stage.total is None else str(stage.total), str(stage.failed)
            )
        _print(table, [*lines, *told.lines, *held.notes])


@app.command(epilog="Example: soilscale check moselle.yaml")
def check(
    path: ConfigPath,
    output: Output = None,
    override: Overrides = None,
    cluster_file: ClusterFile = None,
    log_level: Level = "info",
) -> None:
    """Validate the configuration, contact every catalog and the output, open assets of every source; change nothing.

    With --cluster, also check whether Kubernetes would create the Dask cluster: definitions, rights, quota, operator.
    """
    from soilscale.runs.status import check as check_of

    with _statuses(log_level):
        held, lines = _settled(path, output, override, afresh=True)
        with console.progress(err, "text") as progress:
            told = check_of(held.settings, progress)
        table = _table("source", "items", "months covered", "months missing", "state")
        for row in told.sources:
            table.add_row(row.name, str(row.items), row.covered, row.missing, row.state)
        out.print(table)
        inputs = _table("source", "file", "stored values", "unit", "values: minimum .. median .. maximum")
        for entry in told.inputs:
            inputs.add_row(*entry)
        notes, kubernetes_error = _preflight(cluster_file)
        _print(inputs, [*lines, *told.lines, *notes])
        _tell_sizing(told.sizing)
        if kubernetes_error is not None:
            err.print(f"soilscale: {kubernetes_error}", style="bold red", markup=False, highlight=False, soft_wrap=True)
        if told.error is not None and held.differences:
            err.print(f"soilscale: {told.error}", style="bold red", markup=False, highlight=False, soft_wrap=True)
        held.check()
        if told.error is not None:
            raise told.error
        if kubernetes_error is not None:
            raise typer.Exit(kubernetes_error.status)


def _preflight(file: Path | None) -> tuple[list[str], SoilscaleError | None]:
    """Lines of a check whether Kubernetes would create the Dask cluster of a file, or its error."""
    if file is None:
        return [], None
    from soilscale import preflight

    return preflight.outcome(file)


@app.command(epilog="Example: soilscale plan moselle.yaml --memory 4096")
def plan(
    path: ConfigPath,
    output: Output = None,
    override: Overrides = None,
    memory: Annotated[
        int, typer.Option("--memory", metavar="MIB", min=1, help="Memory limit per worker (MiB).")
    ] = 2048,
    log_level: Level = "info",
) -> None:
    """Estimate the resources of a run, stage by stage, without querying any catalog."""
    from soilscale.estimate.resources import foresee

    with _statuses(log_level):
        held, lines = _settled(path, output, override, afresh=True)
        _tell_sizing(foresee(held.settings, memory * 2**20), lines)
        held.check()


def _tell_sizing(told: Sizing, lines: Sequence[str] = ()) -> None:
    """Print what a run will take, and what to change where a worker has too little memory for it."""
    table = _table("stage", "units", "to read", "to write", "objects", "core-hours", "memory per worker")
    for row in (*told.sizes, told.total):
        table.add_row(*console.figures(row))
    _print(table, [*lines, *told.lines])


@app.command(epilog='Example: soilscale init --place "Shaanxi" --period 2019-01 2021-12 shaanxi.yaml')
def init(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="Configuration to write; an existing file is never overwritten.")
    ],
    bbox: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option("--bbox", metavar="WEST SOUTH EAST NORTH", help="Area as a box, in degrees."),
    ] = None,
    geometry: Annotated[Path | None, typer.Option("--geometry", help="Area as polygons of a GeoJSON file.")] = None,
    place: Annotated[str | None, typer.Option("--place", metavar="NAME", help="Area: a country or province.")] = None,
    period: Annotated[
        tuple[str, str] | None, typer.Option("--period", metavar="FIRST LAST", help="Months, such as 2019-01 2021-12.")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target", metavar="PROFILE", help="Soil moisture; repeatable, the last sensor is the reference."
        ),
    ] = None,
    preset: Annotated[
        list[str] | None, typer.Option("--preset", metavar="NAME", help="Catalog to prefer; repeatable.")
    ] = None,
    output: Output = None,
    log_level: Level = "info",
) -> None:
    """Write a commented configuration: sources that cover area and period, a matching grid, and the accounts needed."""
    from soilscale import proposal

    with _statuses(log_level):
        wishes = proposal.Wishes(bbox, geometry, place, period, tuple(target or ()), tuple(preset or ()), output)
        if sys.stdin.isatty():
            wishes = proposal.ask(wishes, lambda text, answer: str(typer.prompt(text, answer)), today())
        lines = proposal.make(path, wishes, today())
        out.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


@app.command(epilog="Example: soilscale profiles MOD11A2")
def profiles(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Show this profile in full.")] = None,
    log_level: Level = "info",
) -> None:
    """List the product profiles, the catalogs that hold each, and the account each needs."""
    from soilscale import listing

    with _statuses(log_level):
        if name is not None:
            lines = listing.details(name)
            out.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
            return
        table = _table(*listing.COLUMNS)
        for row in listing.rows():
            table.add_row(*row)
        _print(table, [])


@app.command("catalog", epilog="Example: soilscale catalog data/AMSR2 --profile AMSR2_L3_SMC")
def write_catalog(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of files; the catalog is written into it.")],
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile", metavar="NAME", help="Product profile of the files; by default recognized by their names."
        ),
    ] = None,
    log_level: Level = "info",
) -> None:
    """Write a static STAC catalog for downloaded files, one collection per product."""
    from soilscale import catalog, listing

    with _statuses(log_level):
        if profile is not None:
            listing.details(profile)
        written = catalog.write(folder, profile)
        for name, count in written.collections.items():
            out.print(f"{name}: {count} items", markup=False, highlight=False, soft_wrap=True)
        if written.odd:
            logger.warning("%d files match no product and are left out, such as %s", len(written.odd), written.odd[0])
        out.print(f"written to {written.path}", markup=False, highlight=False, soft_wrap=True)


@app.command(epilog="Example: soilscale export runs/moselle --netcdf moselle.nc")
def export(
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder or URL of a run's output.")],
    netcdf: Annotated[Path, typer.Option("--netcdf", metavar="FILE", help="NetCDF-4 file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    log_level: Level = "info",
) -> None:
    """Write the maps into one NetCDF file by the CF conventions: months at its root, seasons in the group `seasons`."""
    from soilscale import exports

    with _statuses(log_level):
        lines = exports.write_netcdf(storage.resolve(output, str(Path.cwd())), netcdf, overwrite=overwrite)
        out.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


@app.command(epilog="Example: soilscale view s3://bucket/moselle --no-browser")
def view(
    output: Annotated[
        str, typer.Argument(metavar="OUTPUT", help="Output of a run: a folder or a bucket (s3, gs, az).")
    ],
    port: Annotated[
        int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="Port to serve on; 0 takes a free one.")
    ] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the viewer in a browser.")] = True,
    log_level: Level = "info",
) -> None:
    """Show the maps of an output in a browser, served on this machine alone until Ctrl-C."""
    from soilscale.viewer import server

    def ready(url: str) -> None:
        out.print(
            f"{url}\nserving {storage.shown(output)}; Ctrl-C ends it", markup=False, highlight=False, soft_wrap=True
        )

    with _statuses(log_level):
        server.serve(storage.resolve(output, str(Path.cwd())), port, browser=browser, ready=ready)


@app.command(epilog="Example: soilscale demo demo-run --seed 1")
def demo(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder for the data set and the run.")],
    scheduler: Scheduler = None,
    workers: Workers = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the data set.")] = 0,
    log_level: Level = "info",
) -> None:
    """Generate a synthetic example data set (STAC catalog, COGs, stations, true fine maps, CONFIG) and run it."""
    from soilscale import synthetic

    with _statuses(log_level):
        count = workers or os.cpu_count() or 1
        lasts = console.span(DEMO[0] + DEMO[1] / count)
        logger.info("this takes about %s with %d workers, or longer if the machine is busy", lasts, count)
        with console.progress(err, "text") as progress:
            path = synthetic.write(folder, seed=seed, progress=progress)
        _conclude(
            _work("run", config.load(str(path)), clusters.Choice(scheduler, workers=workers), today(), "text", Access())
        )


@app.command(epilog="Example: soilscale extract runs/moselle --polygons basins.geojson --csv basins.csv")
def extract(
    output: Annotated[
        str, typer.Argument(metavar="OUTPUT", help="Output of a run: a folder or a bucket (s3, gs, az).")
    ],
    points: Annotated[
        str | None, typer.Option("--points", metavar="CSV", help="Points: columns name, lon and lat, in degrees.")
    ] = None,
    polygons: Annotated[
        str | None, typer.Option("--polygons", metavar="GEOJSON", help="Polygons, averaged by area.")
    ] = None,
    csv: Annotated[
        str | None, typer.Option("--csv", metavar="FILE", help="Write CSV; without --csv and --parquet it is printed.")
    ] = None,
    parquet: Annotated[str | None, typer.Option("--parquet", metavar="FILE", help="Write Parquet.")] = None,
    min_years: Annotated[
        int, typer.Option("--min-years", min=2, help="Fewest years for an anomaly and a percentile.")
    ] = 3,
    log_level: Level = "info",
) -> None:
    """Extract series of points or polygons from the maps: values, intervals, shares, anomalies and percentiles."""
    if (points is None) == (polygons is None):
        raise typer.BadParameter("expected either --points or --polygons")
    with _statuses(log_level):
        from soilscale import extraction, outputs

        table = outputs.open(output).extract(points, polygons, min_years=min_years)
        extraction.write(table, csv, parquet)
        if csv is None and parquet is None:
            out.file.write(extraction.as_csv(table))
