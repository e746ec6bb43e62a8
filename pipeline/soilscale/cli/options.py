"""Options that several commands take, and the consoles that they print to."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Column, Table

from soilscale import console

WIDE = 1000
"""Characters of a line where no terminal limits it."""

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


def folded_table(*columns: str) -> Table:
    """Table whose texts are folded, never cut, where they are too long for the terminal."""
    return Table(*(Column(name, overflow="fold") for name in columns))


def print_table(table: Table, lines: Sequence[str]) -> None:
    """Print a table, then lines as they are."""
    out.print(table)
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)
