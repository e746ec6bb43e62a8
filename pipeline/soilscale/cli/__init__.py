"""The command: parse, read the configuration, hand it to `soilscale.runs`; logging is set up here.

Each module adds its commands to the application as it is imported, in the order of the help.
"""
# ruff: noqa: I001

from __future__ import annotations

import sys

from soilscale.cli.application import app

from soilscale.cli import stage_commands as stage_commands
from soilscale.cli import overview_commands as overview_commands
from soilscale.cli import input_commands as input_commands
from soilscale.cli import product_commands as product_commands

USAGE = 64
"""Exit status of wrong usage; the parser's own is 2."""


def main() -> None:
    """Run the command."""
    try:
        app()
    except SystemExit as stop:
        sys.exit(USAGE if stop.code == 2 else stop.code)  # noqa: PLR2004 - the parser's status for wrong usage
