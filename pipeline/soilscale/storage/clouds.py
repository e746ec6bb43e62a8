"""What differs between object stores (S3, Google Cloud Storage, Azure Blob Storage), behind one face.

A version is what a store knows one content of an object by: an ETag, or a generation. All three write on the condition
that an object still has a version, or is not there.
"""

from __future__ import annotations

import asyncio
import inspect
import mimetypes
import os
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

from fsspec import AbstractFileSystem
from fsspec.asyn import sync

from soilscale.errors import ConfigurationError

T = TypeVar("T")

ABSENT = ""
"""Version of an object that is not there."""

REMOVED_AT_A_TIME = 32

MOST_LISTED = 1000
"""Objects that each store lists in one request."""

LISTED_AT_A_TIME = 16
"""Folders that are listed side by side."""

TIMEOUT = (10.0, 60.0)
"""Seconds to wait for a connection, and for the next bytes."""

NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound"})
"""Codes of a store that has no such bucket."""

NO_CONDITION = "…"
"""Stands for a version where an object is written whatever is there."""


class Entry(NamedTuple):
    """What a store tells of an object."""

    name: str
    """Relative to the folder that was listed."""
    size: int
    """Bytes."""
    version: str

    @property
    def stamp(self) -> str:
        """Size and version, by which two contents of an object are told apart."""
        return f"{self.size} {self.version}"


class Cloud(ABC):
    """An object store; `fs` is fsspec's file system of it, `path` a bucket and a key."""

    name: ClassVar[str]
    schemes: ClassVar[tuple[str, ...]]
    """Of its URLs; the first is the usual one."""
    package: ClassVar[str]
    """Module of its file system."""
    extra: ClassVar[str]
    """Extra of the package that installs it; empty: always there."""
    vsi: ClassVar[str]
    """Prefix of GDAL's names of its objects."""
    asking: ClassVar[str]
    """Where its credentials are found, for messages."""
    removed_at_a_time: ClassVar[int] = REMOVED_AT_A_TIME

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Options of fsspec's file system."""

    @abstractmethod
    def failures(self) -> tuple[type[Exception], ...]:
        """What it raises beside `OSError`."""

    @abstractmethod
    def refusals(self) -> tuple[type[Exception], ...]:
        """What it raises without a code where credentials are missing or unusable."""

    @abstractmethod
    def is_anonymous(self) -> bool:
        """Whether it is asked without credentials, for there are none."""

    @abstractmethod
    def place(self) -> str:
        """Where its buckets are, for messages."""

    @abstractmethod
    def gdal_options(self) -> dict[str, str]:
        """GDAL's settings for where it is."""

    @abstractmethod
    def gdal_credentials(self) -> dict[str, str]:
        """GDAL's settings for who asks, those of this moment."""

    @abstractmethod
    async def send(
        self, fs: AbstractFileSystem, path: str, content: bytes | Path, condition: str, kind: str | None = None
    ) -> str:
        """Write an object and return its version; empty if the store does not say.

        Parameters
        ----------
        content
            In memory, or a file of this machine.
        condition
            Version that the object has to have; `ABSENT`: there must be none. `NO_CONDITION`: whatever is there.
        kind
            Media type.
        """

    @abstractmethod
    async def head(self, fs: AbstractFileSystem, path: str) -> Entry:
        """What it tells of an object, without its content; `FileNotFoundError` if there is none."""

    @abstractmethod
    def pages(
        self, fs: AbstractFileSystem, bucket: str, prefix: str, most: int, folders: list[str] | None = None
    ) -> Iterator[list[Entry]]:
        """Objects whose keys begin with a prefix, by their keys, `most` in each request.

        Parameters
        ----------
        folders
            Takes the prefixes of the folders right below `prefix`, whose objects are then left out.
        """

    def prepare(self, fs: AbstractFileSystem) -> None:  # noqa: B027 - most need nothing
        """Set what the options of its file system do not."""

    def listed(self, fs: AbstractFileSystem, path: str, most: int = MOST_LISTED) -> Iterator[Entry]:
        """Objects below a folder."""
        bucket, prefix = _bucket_and_prefix(path)
        for page in self.pages(fs, bucket, prefix, most):
            yield from _relative(page, prefix)

    def listed_by_folder(self, fs: AbstractFileSystem, path: str) -> list[Entry]:
        """Objects below a folder of few folders and many objects: beyond the first thousand, folders side by side.

        A listing can only go on where its last page ended, so one alone of 100,000 objects waits a hundred times.
        """
        bucket, prefix = _bucket_and_prefix(path)
        entries: list[Entry] = []
        for page in self.pages(fs, bucket, prefix, MOST_LISTED):
            entries += page
            if len(entries) > MOST_LISTED:
                break
        else:
            return list(_relative(entries, prefix))

        def look(folder: str) -> tuple[list[Entry], list[str]]:
            below: list[str] = []
            pages = self.pages(fs, bucket, folder, MOST_LISTED, below)
            return [entry for page in pages for entry in page if entry.name != folder], below

        entries, folders = [], [prefix]
        with ThreadPoolExecutor(LISTED_AT_A_TIME) as pool:
            while folders:
                looks = list(pool.map(look, folders))
                entries += [entry for present, _ in looks for entry in present]
                folders = [folder for _, below in looks for folder in below]
        return list(_relative(entries, prefix))

    async def version(self, fs: AbstractFileSystem, path: str) -> str:
        """Version that an object has at present, or `ABSENT`."""
        try:
            return (await self.head(fs, path)).version
        except FileNotFoundError as error:
            if code(error) in NO_BUCKET:
                raise
            return ABSENT

    async def remove_file(self, fs: AbstractFileSystem, path: str) -> None:
        """Remove an object in one request, whether it is there or not."""
        try:
            await fs._rm_file(path)  # noqa: SLF001 - the coroutine has no other name
        except FileNotFoundError as error:
            if code(error) in NO_BUCKET:
                raise

    def remove(self, fs: AbstractFileSystem, url: str, paths: Sequence[str]) -> None:  # noqa: ARG002 - for messages
        """Remove at most `removed_at_a_time` objects, and see that the store did so."""

        async def together() -> None:
            await asyncio.gather(*(self.remove_file(fs, path) for path in paths))

        sync(fs.loop, together)

    def __repr__(self) -> str:
        """Name of the store."""
        return self.name


class OnItsLoop:
    """A file system whose coroutines any loop may await, such as Zarr's; they run on the file system's own.

    One that is opened for another loop instead cannot be closed at exit: gcsfs and adlfs end with a traceback.
    """

    async_impl = asynchronous = True

    def __init__(self, fs: AbstractFileSystem) -> None:
        self.there = fs

    def __getattr__(self, name: str) -> Any:
        """Attribute of the file system; a coroutine function comes back as one that may be awaited anywhere."""
        if "there" not in vars(self):
            # Pickle asks for attributes of an object that has none yet.
            raise AttributeError(name)
        value = getattr(self.there, name)
        if not inspect.iscoroutinefunction(value):
            return value

        async def call(*arguments: Any, **options: Any) -> Any:
            return await self.run(value(*arguments, **options))

        return call

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns that runs on the file system's loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.there.loop))


def _bucket_and_prefix(path: str) -> tuple[str, str]:
    """Bucket of a folder, and with what the keys of its objects begin."""
    bucket, _, key = path.rstrip("/").partition("/")
    # With the slash, or listing `run` would include `run-2`.
    return bucket, f"{key}/" if key else ""


def _relative(entries: Sequence[Entry], prefix: str) -> Iterator[Entry]:
    """Objects by their names below a folder, without the empty object by which some clients mark it."""
    return (entry._replace(name=entry.name.removeprefix(prefix)) for entry in entries if entry.name != prefix)


def code(error: BaseException | None) -> str | None:
    """Code by which a store says what is the matter, from an error or what it comes from."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code"))
        # Azure's own code says more than its status; the others have a status only, by three names.
        error_code = getattr(error, "error_code", None)
        if error_code:
            return str(getattr(error_code, "value", error_code))
        for status in (getattr(error, name, None) for name in ("status", "status_code", "code")):
            if isinstance(status, int):
                return str(status)
        error = error.__cause__
    return None


def missing_extra(cloud: Cloud, error: ImportError) -> ConfigurationError:
    """Say how to install what a store needs."""
    return ConfigurationError(
        f"{cloud.schemes[0]}:// needs {cloud.package}, which cannot be imported ({error}): "
        f"pip install 'soilscale[{cloud.extra}]'"
    )


def kind_of(path: str) -> str | None:
    """Media type of an object by its name."""
    return mimetypes.guess_type(path)[0]


def is_set(name: str) -> bool:
    """Whether a variable of the environment says yes, as GDAL reads it."""
    return os.environ.get(name, "").upper() in {"YES", "TRUE", "1"}


def setting(*names: str, environment: Mapping[str, str]) -> str | None:
    """First of some variables of the environment that is set and not empty."""
    return next((environment[name] for name in names if environment.get(name)), None)


def size_of(content: bytes | Path) -> int:
    """Bytes of a content in memory or of a file."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def content_of(content: bytes | Path) -> bytes:
    """Content in memory."""
    return content if isinstance(content, bytes) else content.read_bytes()
