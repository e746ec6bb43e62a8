"""Functions compiled by Numba and cached for later processes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar

import numba

logger = logging.getLogger(__name__)


P = ParamSpec("P")


R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function to machine code at its first call, or load what an earlier process compiled.

    The code is kept in ``NUMBA_CACHE_DIR`` if that is set, else beside the module or in the user's cache. Where none of
    these can be written to, each process compiles for itself; so it does where the disk is full.
    """
    try:
        # `nogil` because callers run these functions in several threads.
        compiled_function: Any = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no place to keep it
        compiled_function = numba.njit(nogil=True)(function)
    else:
        cache = compiled_function._cache  # noqa: SLF001 - numba has no other way to be told that keeping the code may fail
        cache.save_overload = partial(_keep, cache.save_overload)
    result: Callable[P, R] = compiled_function
    return result


def _keep(save: Callable[..., None], *code: Any) -> None:
    """Keep machine code for other processes, if there is room; it is this one's in any case."""
    try:
        save(*code)
    except OSError as error:
        logger.warning("compiled code cannot be cached: %s; free space, or set NUMBA_CACHE_DIR", error)
