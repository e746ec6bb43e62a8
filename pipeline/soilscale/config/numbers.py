"""Numbers of a configuration: YAML reads `yes` as true, and `.nan` as a number, which pydantic would take for one."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator

from soilscale.numerals import is_factor

NUMERIC = re.compile(r"\b(float|int)\b")
MISSING = ("nodata",)
"""Keys whose number may be NaN."""
OPEN = ("valid_range", "nodata")
"""Keys whose number may be infinite."""


def checked(value: Any, annotation: object, name: str) -> Any:
    """Value as it is, if it may be one of a key.

    Parameters
    ----------
    annotation
        Type of the key.

    Raises
    ------
    ValueError
        If it is true or false where a number is expected, or NaN or infinite.
    """
    kinds = str(annotation)
    if not NUMERIC.search(kinds):
        return value
    for part in _parts(value):
        if isinstance(part, bool) and "bool" not in kinds:
            raise ValueError(f"got {str(part).lower()}; expected a number")
        if isinstance(part, float) and (
            (math.isnan(part) and name not in MISSING) or (math.isinf(part) and name not in OPEN)
        ):
            raise ValueError(f"got {part}; expected a number")
    return value


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _parts(part)
    else:
        yield value


def _factor(value: float | None) -> float | None:
    if value is not None and not is_factor(value):
        raise ValueError(f"got {value:g}; expected a number other than 0")
    return value


Factor = Annotated[float | None, AfterValidator(_factor)]
"""A scale."""
