"""Objects on a file system: written beside their place, and put there once they are whole."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


def create(path: Path, data: bytes) -> bool:
    """Write a file if there is none, and say whether it was written."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    write(draft, data)
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def write(path: Path, data: bytes) -> None:
    """Write a file, or put it in the place of one."""
    _replace(path, lambda stream: stream.write(data))


def copy(path: Path, source: Path) -> None:
    """Write a file with the content of another."""
    with source.open("rb") as content:
        _replace(path, lambda stream: shutil.copyfileobj(content, stream))


def remove(top: Path, paths: Iterable[Path]) -> None:
    """Remove files that are there, and the folders below `top` that they leave empty; never a folder with files."""
    for path in paths:
        if path.is_dir():
            continue
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == top or top not in folder.parents:
                break
            try:
                folder.rmdir()
            except OSError:  # something else lies in it
                break


def below(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every file below a folder, by its path relative to it; one that goes meanwhile is left out."""
    root = os.path.join(folder, "")  # noqa: PTH118 - so many paths as objects would take seconds
    for place, _, names in os.walk(folder, followlinks=True):
        for name in names:
            path = os.path.join(place, name)  # noqa: PTH118 - likewise
            with suppress(FileNotFoundError):
                yield path.removeprefix(root), os.stat(path)  # noqa: PTH116 - likewise


def _replace(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            fill(stream)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
