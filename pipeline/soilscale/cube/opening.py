"""Files of assets that GDAL opens: kept open, and reopened if a store fails."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from typing import TypeVar

import rasterio
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError

from soilscale import formats, retry, storage
from soilscale.errors import DataError, RefusedError, ServiceError, SoilscaleError

FRESH = {"CPL_VSIL_CURL_NON_CACHED": "/vsi"}
"""GDAL setting that makes it ask a store again, although it remembers what that answered, failures too."""

TRANSIENT = re.compile(
    r"HTTP response code: (408|429|5\d\d)|CURL error|timed? ?out|SlowDown|InternalError", re.IGNORECASE
)

ABSENT = re.compile(r"does not exist|No such file|HTTP response code: 404", re.IGNORECASE)
CREDENTIALS = re.compile(
    r"HTTP response code: (401|403)|AccessDenied|InvalidAccessKey|ExpiredToken|SignatureDoesNotMatch", re.IGNORECASE
)

MOST_OPEN = 32
"""Files that a thread keeps open at once, the last used ones."""

T = TypeVar("T")

# A file without a place is placed by its item, or refused with a message; masks beside files have none.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)


class Shelf:
    """Files that are kept open, and the threads that may share them."""

    def __init__(self) -> None:
        self.files: dict[str, rasterio.DatasetReader] | None = None
        """By path, the last used ones last; none that a thread reads from. None where none are kept."""
        self._lock = threading.Lock()

    def take(self, path: str) -> rasterio.DatasetReader | None:
        """File for one thread to read from, if it is kept."""
        # Taken out, not looked up: GDAL's files must not be read by two threads at once.
        with self._lock:
            return None if self.files is None else self.files.pop(path, None)

    def put(self, path: str, file: rasterio.DatasetReader) -> rasterio.DatasetReader | None:
        """Keep a file, and return one to close: of too many the one unused for longest; this, if it is not kept."""
        with self._lock:
            if self.files is None or path in self.files:
                return file
            self.files[path] = file
            return self.files.pop(next(iter(self.files))) if len(self.files) > MOST_OPEN else None

    def clear(self) -> None:
        """Close all files; those that threads still read from are closed when they are put back."""
        with self._lock:
            files, self.files = self.files, None
        for file in (files or {}).values():
            file.close()


class _ThreadState(threading.local):
    """What belongs to a thread."""

    def __init__(self) -> None:
        self.shelf = Shelf()


_thread_state = _ThreadState()


@contextmanager
def kept_open() -> Iterator[None]:
    """Keep the files that this thread opens open until the context ends, so that each is opened once within it."""
    shelf = _thread_state.shelf
    if shelf.files is not None:
        yield
        return
    shelf.files = {}
    try:
        with formats.keeping():
            yield
    finally:
        shelf.clear()


def shelf() -> Shelf:
    """Where this thread keeps files open."""
    return _thread_state.shelf


def share(shelf: Shelf) -> None:
    """Let this thread share the files that another keeps open; a file serves one thread at a time."""
    _thread_state.shelf = shelf


@contextmanager
def _file(path: str, overview: int | None) -> Iterator[rasterio.DatasetReader]:
    """Open file, or one of its overviews; one that could not be read is not kept."""
    shelf, name = _thread_state.shelf, path if overview is None else f"{path} {overview}"
    how = {} if overview is None else {"overview_level": overview}
    file = shelf.take(name) or rasterio.open(path, **how)
    try:
        yield file
    except BaseException:
        file.close()
        raise
    spare = shelf.put(name, file)
    if spare is not None:
        spare.close()


def opened(href: str, read: Callable[[rasterio.DatasetReader], T], overview: int | None = None) -> T:
    """Return what is read from an open file; a remote one that fails is asked for again, past what GDAL remembers.

    Parameters
    ----------
    overview
        Number of the overview that is opened in place of the file's own pixels.
    """
    path = storage.gdal_path(href)
    # Local files are not tried again: what they lack does not come by waiting.
    remote, failures = path.startswith("/vsi"), (RasterioError, CRSError)
    settings: Iterator[dict[str, str]] = chain([{}], repeat(FRESH))

    def request() -> T:
        session = storage.gdal_session(href)
        options = storage.gdal_options(href) | storage.gdal_beside(path) | next(settings)
        with rasterio.Env(session, **options), _file(path, overview) as file:
            return read(file)

    try:
        return retry.call(request, lambda error: remote and isinstance(error, failures), retry.REOPENED)
    except failures as error:
        explained = explain(error, href)
        if remote and isinstance(explained, DataError) and storage.answers(href) and ABSENT.search(str(explained)):
            explained = ServiceError(f"{explained.args[0]}, although its store lists it; run the same command again")
        raise explained from error


def explain(error: BaseException, href: str) -> SoilscaleError:
    """Failure to read an asset: `ServiceError` where a rerun may mend it, else `DataError`."""
    shown = href.partition("?")[0]
    # Signatures in addresses are secrets, and must not reach a log.
    text = _reason(error).replace(storage.gdal_path(href), shown).replace(href, shown)
    # A name such as `timeout_404.tif` must not decide which kind of failure it is.
    reason = text.replace(shown, "")
    # An expired signature looks like refused access, but a rerun mends it and new credentials do not.
    if CREDENTIALS.search(reason) and storage.has_expired(href):
        return ServiceError(f"the signature of {shown} has expired: run the same command again, which renews it")
    if CREDENTIALS.search(reason):
        return RefusedError(
            f"access to {shown} was refused: {text}; renew the credentials and run the same command again", shown
        )
    if TRANSIENT.search(reason):
        return ServiceError(f"{shown} cannot be reached: {text}; run the same command again")
    cause, remedy = formats.diagnosis(href, reason)
    text = f"{text.rstrip('.')}; {cause}" if cause else text
    return DataError(f"{shown} cannot be read: {text}; {remedy}, then run the same command again")


def _reason(error: BaseException) -> str:
    """Messages of an error and of what it comes from, the pointers of GDAL's wrapper left out."""
    messages: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        messages.append(str(cause).removesuffix("Read failed. See previous exception for details."))
        cause = cause.__cause__
    return ": ".join(dict.fromkeys(filter(None, messages))) or repr(error)
