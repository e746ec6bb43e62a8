"""Commands that compute nothing: `status`, `check` and `plan`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soilscale import console
from soilscale.cli.application import app
from soilscale.cli.execution import claimed, exit_statuses
from soilscale.cli.options import (
    ClusterFile,
    ConfigPath,
    Level,
    Output,
    Overrides,
    err,
    folded_table,
    out,
    print_table,
)
from soilscale.errors import SoilscaleError

if TYPE_CHECKING:
    from soilscale.estimate.resources import Sizing


@app.command(epilog="Example: soilscale status moselle.yaml --output s3://bucket/moselle")
def status(path: ConfigPath, output: Output = None, override: Overrides = None, log_level: Level = "info") -> None:
    """Show how much of each stage is complete; compute nothing."""
    from soilscale.runs.status import status as status_of

    with exit_statuses(log_level):
        claim, lines = claimed(path, output, override, afresh=False)
        overview = status_of(claim.settings)
        table = folded_table("stage", "complete", "of", "failed")
        for stage in overview.stages:
            table.add_row(
                stage.name, str(stage.done), "?" if stage.total is None else str(stage.total), str(stage.failed)
            )
        print_table(table, [*lines, *overview.lines, *claim.notes])


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

    with exit_statuses(log_level):
        claim, lines = claimed(path, output, override, afresh=True)
        with console.progress(err, "text") as progress:
            findings = check_of(claim.settings, progress)
        table = folded_table("source", "items", "months covered", "months missing", "state")
        for row in findings.sources:
            table.add_row(row.name, str(row.items), row.covered, row.missing, row.state)
        out.print(table)
        inputs = folded_table("source", "file", "stored values", "unit", "values: minimum .. median .. maximum")
        for entry in findings.inputs:
            inputs.add_row(*entry)
        notes, kubernetes_error = _preflight(cluster_file)
        print_table(inputs, [*lines, *findings.lines, *notes])
        _tell_sizing(findings.sizing)
        if kubernetes_error is not None:
            err.print(f"soilscale: {kubernetes_error}", style="bold red", markup=False, highlight=False, soft_wrap=True)
        if findings.error is not None and claim.differences:
            err.print(f"soilscale: {findings.error}", style="bold red", markup=False, highlight=False, soft_wrap=True)
        claim.check()
        if findings.error is not None:
            raise findings.error
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

    with exit_statuses(log_level):
        claim, lines = claimed(path, output, override, afresh=True)
        _tell_sizing(foresee(claim.settings, memory * 2**20), lines)
        claim.check()


def _tell_sizing(sizing: Sizing, lines: Sequence[str] = ()) -> None:
    """Print what a run will take, and what to change where a worker has too little memory for it."""
    table = folded_table("stage", "units", "to read", "to write", "objects", "core-hours", "memory per worker")
    for row in (*sizing.sizes, sizing.total):
        table.add_row(*console.figures(row))
    print_table(table, [*lines, *sizing.lines])
