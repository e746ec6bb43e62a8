"""Commands on a finished output: `export`, `view` and `extract`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soilscale import storage
from soilscale.cli.application import app
from soilscale.cli.execution import exit_statuses
from soilscale.cli.options import Level, out


@app.command(epilog="Example: soilscale export runs/moselle --netcdf moselle.nc")
def export(
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder or URL of a run's output.")],
    netcdf: Annotated[Path, typer.Option("--netcdf", metavar="FILE", help="NetCDF-4 file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    log_level: Level = "info",
) -> None:
    """Write the maps into one NetCDF file by the CF conventions: months at its root, seasons in the group `seasons`."""
    from soilscale import exports

    with exit_statuses(log_level):
        lines = exports.write_netcdf(storage.resolve(output, str(Path.cwd())), netcdf, overwrite=overwrite)
        out.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


@app.command(epilog="Example: soilscale view s3://bucket/moselle --no-browser")
def view(
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Output of a run: a folder or bucket (s3, gs, az).")],
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

    with exit_statuses(log_level):
        server.serve(storage.resolve(output, str(Path.cwd())), port, browser=browser, ready=ready)


@app.command(epilog="Example: soilscale extract runs/moselle --polygons basins.geojson --csv basins.csv")
def extract(
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Output of a run: a folder or bucket (s3, gs, az).")],
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
    with exit_statuses(log_level):
        from soilscale import extraction, outputs

        table = outputs.open(output).extract(points, polygons, min_years=min_years)
        extraction.write(table, csv, parquet)
        if csv is None and parquet is None:
            out.file.write(extraction.as_csv(table))
