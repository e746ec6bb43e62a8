"""Output for operators: progress with rate and time left, and logs as text or JSON."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.filesize import decimal
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

if TYPE_CHECKING:
    from soilscale.engine.units import Progress
    from soilscale.estimate.resources import Size

LogFormat = Literal["text", "json"]

LOG_EVERY = 10.0
"""Seconds between lines of progress in a log."""

PLACE = re.compile(r"^(?:(?P<source>[^/]+)/)?(?:[a-z]+-)?(?P<month>\d{4}-\d{2}|static)?_?(?P<tile>r\d+c\d+)?$")
"""Name of a unit of the cube or of the maps."""

FIELDS = ("run", "stage", "unit", "outcome", "seconds", "done", "total")
"""Fields of a log record that are told beside the message, where they are known."""

NOISY = (
    "adlfs",
    "aiobotocore",
    "asyncio",
    "azure",
    "botocore",
    "distributed",
    "fsspec",
    "gcsfs",
    "google",
    "httpcore",
    "httpx",
    "kr8s",
    "matplotlib",
    "rasterio",
    "tornado",
    "urllib3",
)
"""Libraries whose loggers tell with a traceback what the command tells in a sentence."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and what is known of the unit."""

    def format(self, record: logging.LogRecord) -> str:
        """Text of a record."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        place = PLACE.match(fields.get("unit", ""))
        if place is not None:
            fields |= {name: value for name, value in place.groupdict().items() if value is not None}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


def handler(console: Console, form: LogFormat, *, paths: bool) -> logging.Handler:
    """Handler of the command's log: colours on a terminal, lines elsewhere, JSON where asked for."""
    if form == "json":
        log_handler = logging.StreamHandler()
        log_handler.setFormatter(JsonFormatter())
        return log_handler
    if _is_watched(console):
        rich = RichHandler(console=console, show_path=paths, markup=False)
        rich.setFormatter(logging.Formatter("%(message)s", "%H:%M:%S"))
        return rich
    log_handler = logging.StreamHandler()
    log_handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    return log_handler


def _is_watched(console: Console) -> bool:
    """Whether a console is a terminal; rich takes it for one wherever ``FORCE_COLOR`` is set, as notebooks do."""
    return console.is_terminal and console.file.isatty()


def mark(run: int) -> None:
    """Give each further line of the log the number of its run, by which markers and published items name it too."""

    def marked(record: logging.LogRecord) -> bool:
        record.run = run
        return True

    for log_handler in logging.root.handlers:
        log_handler.addFilter(marked)


def quieten() -> None:
    """Set the least level that the libraries log; Dask gives some of its loggers a level of their own when loaded."""
    level = logging.WARNING if logging.root.level == logging.DEBUG else logging.CRITICAL
    for name in {*NOISY, *logging.root.manager.loggerDict}:
        if name.partition(".")[0] in NOISY:
            logging.getLogger(name).setLevel(level)


class Pace:
    """Rate of what is being done, and the time that the rest will take."""

    def __init__(self) -> None:
        self.begun: dict[str, tuple[float, int]] = {}

    def tell(self, doing: str, count: int, total: int | None) -> str:
        """One line, such as ``cube: 120 of 800, 3.1/s, 3 min left``."""
        now = time.monotonic()
        # Whatever was already complete at the first call must not inflate the rate.
        start, before = self.begun.setdefault(doing, (now, count))
        line = f"{doing}: {count} of {total if total is not None else '?'}"
        if count == before or now == start:
            return line
        rate = (count - before) / (now - start)
        line += f", {rate:.3g}/s"
        return line if total is None or count >= total else f"{line}, {span((total - count) / rate)} left"


def span(seconds: float) -> str:
    """Duration in words: the greatest unit that it fills twice."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


@contextmanager
def progress(console: Console, form: LogFormat) -> Iterator[Progress]:
    """Bars on a terminal; elsewhere a line of the log when something is done, and every few seconds until then."""
    if form == "json" or not _is_watched(console):
        yield _lines()
        return
    columns = (
        TextColumn("{task.description:28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}
        pace = Pace()

        def show(doing: str, count: int, total: int | None) -> None:
            if doing not in tasks:
                tasks[doing] = bars.add_task(doing, total=total, pace="")
            # Only the rate: counts and the time left have columns of their own.
            rate = pace.tell(doing, count, total).partition(", ")[2].partition(",")[0]
            bars.update(tasks[doing], completed=count, total=total, pace=rate)

        yield show


def _lines() -> Progress:
    logger = logging.getLogger("soilscale")
    logged_at = time.monotonic()
    pace = Pace()

    def tell(doing: str, count: int, total: int | None) -> None:
        nonlocal logged_at
        line = pace.tell(doing, count, total)
        if count == total or time.monotonic() - logged_at > LOG_EVERY:
            logged_at = time.monotonic()
            logger.info("%s", line, extra={"done": count, "total": total})

    return tell


def figures(size: Size) -> tuple[str, ...]:
    """What a stage will take, as a row of a table: stage, units, bytes, objects, core-hours, memory of a worker."""
    return (
        size.stage,
        f"{size.units:,}",
        decimal(round(size.read)),
        decimal(round(size.written)),
        f"{size.objects:,}",
        f"{size.seconds / 3600:,.2f}",
        f"{size.memory / 2**20:,.0f} MiB",
    )
