"""Signatures cached while they are valid: in this process, and for all processes of this machine."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

SPARE = timedelta(minutes=5)
"""Time before its end at which a signature is renewed: reading a window takes less."""

SHARE = 0.25
"""Share of its life that is left when a signature of a short life is renewed."""

FOLDER = "soilscale-tokens"


@dataclass(frozen=True)
class Signature:
    """A token or signed URL."""

    text: str
    until: datetime
    """When it is to be renewed."""

    @property
    def fresh(self) -> bool:
        """Whether it may still be used."""
        return datetime.now(UTC) < self.until


def renewal(end: datetime) -> datetime:
    """When something signed just now is to be renewed that holds until `end`."""
    return end - min(SPARE, SHARE * max(timedelta(0), end - datetime.now(UTC)))


class Signatures:
    """Signatures by what they are for.

    Parameters
    ----------
    shared
        Whether the processes of this machine share them, in a folder that only this user reads.
    """

    def __init__(self, *, shared: bool = False, most: int = 1024) -> None:
        self._shared, self._most = shared, most
        self._kept: dict[str, Signature] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: str, make: Callable[[], Signature]) -> str:
        """Signature for a key, made if none holds; who asks meanwhile for the same one waits for it."""
        # The common lock only to find that of the key: who waits for one service must not hold up the others.
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            signature = self._kept.get(key)
            if signature is None or not signature.fresh:
                signature = self._from_others(key, make) if self._shared else make()
                self._keep(key, signature)
        return signature.text

    def clear(self) -> None:
        """Forget those of this process."""
        with self._lock:
            self._kept.clear()

    def _keep(self, key: str, signature: Signature) -> None:
        with self._lock:
            self._kept[key] = signature
            while len(self._kept) > self._most:
                oldest = next(iter(self._kept))
                del self._kept[oldest]
                self._locks.pop(oldest, None)

    def _from_others(self, key: str, make: Callable[[], Signature]) -> Signature:
        """Signature that another process of this machine asked for, or else a new one, for the others too."""
        folder = _folder()
        if folder is None:
            return make()
        path = folder / hashlib.sha256(key.encode()).hexdigest()[:32]
        with path.with_suffix(".lock").open("w") as lock:
            # Held while the token is asked for: else all workers that start together would ask for it.
            fcntl.flock(lock, fcntl.LOCK_EX)
            with suppress(OSError, ValueError, KeyError):
                written = json.loads(path.read_text())
                signature = Signature(written["text"], datetime.fromisoformat(written["until"]))
                if signature.fresh:
                    return signature
            signed = make()
            draft = path.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps({"text": signed.text, "until": signed.until.isoformat()}))
            # Renamed into place, so that no process reads half a token.
            draft.replace(path)
        return signed


def _folder() -> Path | None:
    """Folder that only this user reads; None where there can be none."""
    folder = Path(tempfile.gettempdir(), f"{FOLDER}-{os.getuid()}")
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        # In a shared temporary folder somebody else may have made it first, to read tokens or to plant one.
        state = folder.lstat()
        if folder.is_dir() and not folder.is_symlink() and state.st_uid == os.getuid() and not state.st_mode & 0o077:
            return folder
    return None
