"""Commands that make inputs: `init`, `profiles`, `catalog` and `demo`."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from soilscale import clusters, config, console
from soilscale.access import Access
from soilscale.cli import execution
from soilscale.cli.application import app
from soilscale.cli.execution import conclude, do_work, exit_statuses
from soilscale.cli.options import Level, Output, Scheduler, Workers, err, folded_table, out, print_table

DEMO = (70.0, 110.0)
"""Seconds that a demo takes on a quiet machine: for its world, start and end, and of the run's work, which workers
share."""

logger = logging.getLogger(__name__)


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

    with exit_statuses(log_level):
        wishes = proposal.Wishes(bbox, geometry, place, period, tuple(target or ()), tuple(preset or ()), output)
        if sys.stdin.isatty():
            wishes = proposal.ask(wishes, lambda text, answer: str(typer.prompt(text, answer)), execution.today())
        lines = proposal.make(path, wishes, execution.today())
        out.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


@app.command(epilog="Example: soilscale profiles MOD11A2")
def profiles(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Show this profile in full.")] = None,
    log_level: Level = "info",
) -> None:
    """List the product profiles, the catalogs that hold each, and the account each needs."""
    from soilscale import listing

    with exit_statuses(log_level):
        if name is not None:
            lines = listing.details(name)
            out.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
            return
        table = folded_table(*listing.COLUMNS)
        for row in listing.rows():
            table.add_row(*row)
        print_table(table, [])


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

    with exit_statuses(log_level):
        if profile is not None:
            listing.details(profile)
        written = catalog.write(folder, profile)
        for name, count in written.collections.items():
            out.print(f"{name}: {count} items", markup=False, highlight=False, soft_wrap=True)
        if written.odd:
            logger.warning("%d files match no product and are left out, such as %s", len(written.odd), written.odd[0])
        out.print(f"written to {written.path}", markup=False, highlight=False, soft_wrap=True)


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

    with exit_statuses(log_level):
        count = workers or os.cpu_count() or 1
        lasts = console.span(DEMO[0] + DEMO[1] / count)
        logger.info("this takes about %s with %d workers, or longer if the machine is busy", lasts, count)
        with console.progress(err, "text") as progress:
            path = synthetic.write(folder, seed=seed, progress=progress)
        choice = clusters.Choice(scheduler, workers=workers)
        conclude(do_work("run", config.load(str(path)), choice, execution.today(), "text", Access()))
