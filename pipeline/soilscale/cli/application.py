"""The application that commands are added to."""

from __future__ import annotations

from typing import Annotated

import typer

from soilscale import __version__
from soilscale.cli.options import out

app = typer.Typer(
    name="soilscale",
    help="Downscale satellite soil moisture from 25 km to 1 km, per season, from STAC catalogs to maps.",
    epilog="Exit status: 0 complete; 64 wrong usage; 65 unusable input data; 69 a service is unreachable; "
    "75 stopped before complete, run again; 78 wrong configuration.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        out.print(__version__)
        raise typer.Exit
