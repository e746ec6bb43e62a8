"""How a command gets access to its output: command-line options and messages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

import typer

SPAN = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", re.ASCII)
"""How long, as a user writes it: hours, minutes and seconds."""


Missing = Literal["fail", "tolerate"]
"""`fail`: a stage with missing units ends with 65 or 75. `tolerate`: with 0, as long as the next stage can follow."""


@dataclass(frozen=True)
class Access:
    """How a command comes to write to its output."""

    patience: float = 0.0
    """Seconds to wait for another run's lease."""
    destroy: bool = False
    """Whether the product of another configuration is deleted."""
    sequence: str = ""
    """Sequence of stages, such as a Job's, that a stage belongs to; the lease is kept between them."""
    missing: Missing = "fail"
    """Effect of missing units on the exit status of a stage."""


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


MissingUnits = Annotated[
    Missing,
    typer.Option(
        "--missing",
        help="Status if units are missing: fail ends with 65 or 75; tolerate ends with 0, so that the next stage "
        "follows, unless their share is above limits.missing. Run the last stage, report, with fail.",
    ),
]
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
SequenceName = Annotated[
    str,
    typer.Option(
        "--sequence",
        metavar="ID",
        envvar="SOILSCALE_SEQUENCE",
        help="Name of a sequence of stages, such as a Job's UID: between two of them no other run takes the lease.",
    ),
]
