"""What a worker loads first (`dask worker --preload`): it logs the units that it begins, and presses one as it is told.

DONE_LOG names the file of the units. PRESS says what befalls workers that begin a unit of stage PRESS_STAGE, the first
PRESS_WORKERS of them: by ``freeze`` the process stops until it is continued, by ``withhold`` it does so when it is
asked for what it has done; by ``fill`` memory beyond the limit at which Dask pauses a worker is held until the file
`room` stands in PRESS_FOLDER.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from functools import wraps
from pathlib import Path
from typing import Any

from distributed import get_worker

from soilscale.engine import units

FILLED = 600 * 2**20
"""Bytes that are held."""

do = getattr(units._do, "__wrapped__", units._do)  # noqa: SLF001 - the one place that each unit passes


@wraps(do)
def pressed_do(workspace: Any, unit: Any) -> Any:
    """Do a unit, having logged it and having pressed its worker."""
    with Path(os.environ["DONE_LOG"]).open("a") as log:
        log.write(f"{unit.stage}/{unit.marker}\n")
    if unit.stage == os.environ.get("PRESS_STAGE") and claim():
        {"freeze": freeze, "withhold": withhold, "fill": fill}[os.environ["PRESS"]]()
    return do(workspace, unit)


def claim() -> bool:
    """Whether this worker is one of those that are to be pressed, and was not yet."""
    folder = Path(os.environ["PRESS_FOLDER"])
    for number in range(int(os.environ["PRESS_WORKERS"])):
        file = folder / f"pressed-{number}"
        try:
            with file.open("x") as claimed:
                claimed.write(str(os.getpid()))
        except FileExistsError:
            if file.read_text() == str(os.getpid()):
                return False
        else:
            return True
    return False


def freeze() -> None:
    """Stop this process in the midst of a unit."""
    os.kill(os.getpid(), signal.SIGSTOP)


def withhold() -> None:
    """Stop this process when the scheduler comes to fetch what it has done."""
    get_worker().handlers["get_data"] = lambda *_, **__: freeze()


def fill() -> None:
    """Hold memory, for long enough in a unit that Dask takes notice before the next one begins."""
    threading.Thread(target=hold, daemon=True).start()
    time.sleep(1)


def hold() -> None:
    """Hold memory that is touched until there is to be room."""
    held = bytearray(os.urandom(2**20)) * (FILLED // 2**20)
    while not Path(os.environ["PRESS_FOLDER"], "room").exists():
        time.sleep(0.1)
    del held


units._do = pressed_do  # noqa: SLF001 - likewise
