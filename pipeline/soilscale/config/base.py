"""What all sections of a configuration share: frozen models whose faults name their keys."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from soilscale.config import numbers
from soilscale.seasons import SCHEMES

WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
"""What names of sources, groups and seasons look like."""

Name = Annotated[str, Field(pattern=f"^{WORD.pattern}$")]

Text = Annotated[str, Field(min_length=1)]


class FaultError(ValueError):
    """Faults that a section finds in itself.

    Parameters
    ----------
    faults
        Key below the section, or nothing for the section as a whole, and what is wrong there.
    """

    def __init__(self, *faults: tuple[str, str]) -> None:
        self.faults = faults
        super().__init__("; ".join(f"{key}: {message}" if key else message for key, message in faults))


def ascending(key: str, values: tuple[float, float] | None) -> None:
    """Refuse two numbers of which the second is not the larger."""
    if values is not None and not values[0] < values[1]:
        raise FaultError((key, f"got {list(values)}; expected two numbers, the smaller one first"))


def as_scheme(value: Any) -> Any:
    """Refuse what is neither a scheme's name nor a list of months for each season."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        raise FaultError(("", f"got {value!r}; expected one of {', '.join(SCHEMES)}, or the months of each season"))
    for name, months in value.items():
        if not isinstance(name, str) or not WORD.fullmatch(name):
            raise FaultError(
                ("", f"{name!r} is not a valid season name; expected letters, digits and _, a letter first")
            )
        # By type: to isinstance `true` is a number, and would be January.
        if not isinstance(months, (list, tuple)) or not all(type(month) is int for month in months):
            raise FaultError(
                (name, f"got {months!r}; expected a list of the season's months, 1 to 12, such as [6, 7, 8]")
            )
    return value


def as_factors(value: Any) -> Any:
    """Refuse what is neither yes or no nor a list of names."""
    if isinstance(value, bool):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise FaultError(("", f"got {value!r}; expected true, false or a list of features and groups"))


class Section(BaseModel):
    """A part of the configuration: frozen, and keys that it does not know are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _numbers(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        return numbers.checked(value, cls.model_fields[name].annotation, name)
