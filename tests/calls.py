"""Units of work that call a function, for tests of what carries them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from soilscale.engine.output import Workspace
from soilscale.engine.payloads import Arrays
from soilscale.engine.units import Task, Unit


@dataclass(frozen=True)
class Call(Task):
    """Call a function with the workspace and arguments."""

    function: Callable[..., Arrays | None]
    arguments: tuple[Any, ...] = ()
    instead: Callable[..., None] | None = None
    """Called where the function kills its workers."""
    noted: Mapping[str, str] = field(default_factory=dict)

    def run(self, workspace: Workspace) -> Arrays | None:
        return self.function(workspace, *self.arguments)

    def blank(self, workspace: Workspace) -> None:
        if self.instead is not None:
            self.instead(workspace, *self.arguments)

    @property
    def warnings(self) -> Mapping[str, str]:
        return self.noted


def calling(
    stage: str, name: str, digest: str, function: Callable[..., Any], *arguments: Any, together: str = ""
) -> Unit[Call]:
    """Unit that calls a function."""
    return Unit(stage, name, digest, Call(function, arguments), together)
