"""Parquet and CSV tables in a store, read in parts and written atomically."""

from __future__ import annotations

import ctypes
import io
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from soilscale import storage

ROWS = 2**18
"""Rows of a table that are written at once."""


@contextmanager
def parquet_file(url: str, words: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
    """Parquet object, to be read in the context; columns of some words in memory as codes.

    Raises
    ------
    storage.DamagedError
        If it is no table any more.
    """
    with storage.local_copy(url) as path:
        try:
            with pq.ParquetFile(path, read_dictionary=list(words), page_checksum_verification=True) as file:
                # Inside the `try`: checksums of pages are only verified when the caller reads them.
                yield file
        except (ValueError, OSError) as error:
            raise storage.damaged(url, error) from error


def read_table(url: str, columns: list[str] | None = None) -> pd.DataFrame:
    """Table from a Parquet object, or some of its columns.

    Raises
    ------
    storage.DamagedError
        If it is no table any more; so do the functions below.
    """
    with parquet_file(url) as file:
        return file.read(columns).to_pandas()


def count(url: str) -> int:
    """Rows of a table."""
    with parquet_file(url) as file:
        return int(file.metadata.num_rows)


def put_together(parts: Sequence[str], url: str) -> None:
    """Write tables one below the other as one, each a row group, with one of them in memory at a time."""

    def tables() -> Iterator[pa.Table]:
        empty = True
        for number, source in enumerate(parts):
            with parquet_file(source) as file:
                part = file.read()
            # Empty tables are left out; if all are empty, the last one is kept for its columns.
            if len(part) or (empty and number == len(parts) - 1):
                empty = False
                yield part

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        _write(path, tables())
        storage.write_file(url, path)


def _write(target: Path | io.BytesIO, parts: Iterable[pa.Table]) -> None:
    """Write tables one below the other, with a checksum on each page; at least one."""
    writer: pq.ParquetWriter | None = None
    for part in parts:
        writer = writer or pq.ParquetWriter(target, part.schema, write_page_checksum=True)
        writer.write_table(part.cast(writer.schema))
    if writer is not None:
        writer.close()


def row_groups(url: str, columns: list[str] | None = None) -> Iterator[pd.DataFrame]:
    """Parts of a table, as `put_together` joined them, one after another."""
    with parquet_file(url) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns).to_pandas(ignore_metadata=True)


def read_csv(url: str) -> pd.DataFrame:
    """Table from a CSV object."""
    return pd.read_csv(io.BytesIO(storage.read_bytes(url)))


def write_table(url: str, table: pd.DataFrame) -> None:
    """Write a table as a Parquet object, whole or not at all; categories become words, some rows at a time."""
    words = dict.fromkeys(table.select_dtypes("category").columns, object)

    def parts() -> Iterator[pa.Table]:
        for first in range(0, max(len(table), 1), ROWS):
            yield pa.Table.from_pandas(table.iloc[first : first + ROWS].astype(words), preserve_index=False)
            give_back()

    buffer = io.BytesIO()
    _write(buffer, parts())
    storage.write_bytes(url, buffer.getvalue())


def give_back() -> None:
    """Let go of memory that has been freed, which Arrow and the C library would keep for themselves."""
    pa.default_memory_pool().release_unused()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
