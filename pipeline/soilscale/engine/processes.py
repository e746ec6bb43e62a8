"""What tells a process from all others, on this host and later."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

import psutil

START = 19
"""Place of the time of start in ``/proc/PID/stat`` behind the name of the program (``starttime`` of proc(5))."""


def boot_clock() -> float:
    """Seconds since the host was started, by a clock that counts sleep, and that nobody sets."""
    clock = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))  # on macOS the latter counts sleep
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def boot() -> str:
    """Identity of this start of the host."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else f"{uuid.getnode():x}"


def namespace() -> str:
    """Process namespace, such as ``pid:[4026531836]``; empty where there is none."""
    path = Path("/proc/self/ns/pid")
    return str(path.readlink()) if path.is_symlink() else ""


def started_at(pid: int) -> float:
    """When a process was started: seconds since the boot where the system says so, for the other clock may be set.

    Raises
    ------
    psutil.NoSuchProcess
        If there is none of this number.
    """
    stat = Path(f"/proc/{pid}/stat")
    try:
        ticks = int(stat.read_text().rpartition(")")[2].split()[START])
    except (OSError, IndexError):
        return psutil.Process(pid).create_time()
    return ticks / os.sysconf("SC_CLK_TCK")
