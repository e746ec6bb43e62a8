"""What commands share: read the configuration, work, and leave with a message and a status."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer

from soilscale import clusters, config, console, storage
from soilscale.access import Access
from soilscale.cli.options import LogLevel, err, out
from soilscale.errors import ConfigurationError, IncompleteError, SoilscaleError

if TYPE_CHECKING:
    from soilscale.runs.owner import Claim
    from soilscale.stages.context import Outcome

logger = logging.getLogger(__name__)

ASKING = ("run", "search")
"""What asks the catalogs, and so says from which date on a relative period counts back; the other stages follow it."""

MISSING = {
    "failed": "their input could not be used",
    "killed": "they killed their workers; the same command retries them",
}
"""Outcome of a unit -> why it is missing."""


def today() -> date:
    """Date from which relative periods are counted back, UTC; each command asks for it once."""
    return datetime.now(UTC).date()


@contextmanager
def exit_statuses(level: LogLevel, form: console.LogFormat = "text") -> Iterator[None]:
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


def execute(
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
    with exit_statuses(level, form), ExitStack() as stack:
        from soilscale.runs.up_to_date import is_sealed

        proven: dict[str, Any] = {"proven": is_sealed} if work == "run" else {}
        day, settings = today(), config.load(path, overrides or (), output, **proven)
        address, port = metrics
        if port is not None:
            stack.callback(serve_metrics(address, port))
        outcome = do_work(work, settings, choice, day, form, access)
        conclude(outcome, tolerate=access.missing == "tolerate")


def serve_metrics(address: str, port: int) -> Callable[[], None]:
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


def do_work(
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
    if work in ("search", "cube"):
        choice = replace(choice, modules=clusters.CUBE_MODULES)
    if not access.destroy:
        owner.claim(settings, day, afresh=afresh).check()
    with (
        lease.held(
            Workspace(settings.output), access.patience, access.sequence, last=work in ("run", "report")
        ) as claim,
        clusters.chosen(choice) as dask,
        console.progress(err, form) as progress,
    ):
        if claim.term is not None:
            console.mark(claim.term)
            logger.debug("run %d of %s", claim.term, storage.shown(settings.output))
        # Whether another command has something to do is known only when it has planned.
        if work == "run" and not up_to_date.is_sealed(settings.output):
            dask.prepare()
        limit = settings.limits.missing if access.missing == "tolerate" else None
        run = Run(settings, dask.connect, dask.followed(progress), term=claim.term, limit=limit, remedy=_remedy)
        return up_to_date.do(work, owner.settled(run, day, afresh=afresh, destroy=access.destroy))


def _remedy(settings: config.Config, stage: str, limit: float) -> str:
    """Say how much memory a stage needs; the estimate is imported only if units kill their workers."""
    from soilscale.estimate.resources import remedy

    return remedy(settings, stage, limit)


def claimed(path: str, output: str | None, overrides: list[str] | None, *, afresh: bool) -> tuple[Claim, list[str]]:
    """Configuration beside what its output holds, and a line that tells how a relative period is resolved.

    Parameters of models are checked only `afresh`, which takes a second of imports: an output was made with them.
    """
    from soilscale.runs import owner, period

    settings = config.load(path, overrides or (), output, proven=lambda _output: not afresh)
    claim = owner.claim(settings, today(), afresh=afresh)
    return claim, [] if claim.renewal is None else [period.describe(claim.settings, claim.renewal)]


def conclude(outcome: Outcome, *, tolerate: bool = False) -> None:
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
