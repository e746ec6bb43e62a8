"""How a command gets access to its output: command-line options and messages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

import typer

SPAN = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", re.ASCII)
"""How long, as a user writes it: hours, minutes and seconds."""


@dataclass(frozen=True)
class Access:
    """How a command comes to write to its output."""

    patience: float = 0.0
    """Seconds to wait for another run's lease."""
    destroy: bool = False
    """Whether the product of another configuration is deleted."""


def as_seconds(text: str | float) -> float:
    """Seconds of a duration such as ``90``, ``90s``, ``15m`` or ``1h30m``.

    Examples
    --------
    >>> as_seconds("1h30m")
    5400.0
    """
    if isinstance(text, float):
        return text
    parts = SPAN.fullmatch(text.strip())
    if parts is None or not any(parts.groups()):
        raise typer.BadParameter(f"got {text!r}, expected a duration such as 90s, 15m or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    return 3600.0 * hours + 60.0 * minutes + seconds


Replace = Annotated[
    bool,
    typer.Option(
        "--replace",
        help="Delete the output's product if its name, area, grid or first month differ, or if it has later months; "
        "without this option the command ends with 78 in these cases.",
    ),
]
Wait = Annotated[
    float,
    typer.Option(
        "--wait-for-lease",
        metavar="DURATION",
        parser=as_seconds,
        help="How long to wait, such as 15m, while another run writes to the output; by default the command ends "
        "with 75 at once.",
    ),
]
