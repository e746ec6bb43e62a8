"""Records of stations from the bytes of their files: tables of comma-separated values and ISMN's ``.stm``."""

from __future__ import annotations

import codecs
import csv
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from soilscale.errors import DataError
from soilscale.extents import TURN, turned

COLUMNS = ("station", "longitude", "latitude", "time", "value")
"""Columns that a table of stations must have."""

OPTIONAL = ("network", "sensor", "depth", "depth_from", "depth_to", "unit", "flag")
"""Columns that it may have."""

RECORD = (
    "network",
    "station",
    "sensor",
    "longitude",
    "latitude",
    "depth_from",
    "depth_to",
    "time",
    "value",
    "unit",
    "flag",
)
"""Columns of the records: degrees; m below the surface, NaN where unknown; naive UTC; text, empty where unknown."""

VOLUME = "m3 m-3"
"""Unit of ISMN's soil moisture, and of a table that names none."""

NOTHING = ("", "na", "n/a", "nan", "null", "none", "-")
"""Texts that stand for a missing number, in small letters."""

FILE_NAME = re.compile(r"_(?P<variable>[a-z]+)_-?\d+\.\d+_-?\d+\.\d+_(?P<sensor>.+)_\d{8}_\d{8}\.stm$", re.IGNORECASE)
"""End of the name of an ISMN file: variable, depths, sensor, first and last day."""

# Names of stations may hold blanks, so a station goes on until two numbers with a point follow.
PLACE = re.compile(
    r"^\S+\s+(?P<network>\S+)\s+(?P<station>.+?)\s+(?P<latitude>-?\d+\.\d+)\s+(?P<longitude>-?\d+\.\d+)"
    r"\s+-?\d+\.?\d*\s+(?P<depth_from>-?\d+\.\d+)\s+(?P<depth_to>-?\d+\.\d+)(?:\s|$)"
)
"""What ISMN writes of a sensor: CSE, network, station, latitude, longitude, elevation, depths."""

DATE = re.compile(r"\d{4}/\d\d/\d\d\s")

SUFFIX = ".stm"
"""End of the names of ISMN's files, in small letters."""

CEOP = 15
"""Words in a line of the layout `CEOP in separate files`: two times, the sensor, the value and its two flags."""

SENSOR_WORDS = range(4, 12)
"""Those among them that say which sensor it is, the same in every line."""

DECIMAL = re.compile(r"^(\s*[-+]?\d*),(\d+\s*)$")
"""Number with a decimal comma."""


def read_csv(data: bytes, name: str, *, needed: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """Read a table of stations; fields are separated by commas or, where its first line has none, by semicolons.

    Parameters
    ----------
    data
        Content of the file, UTF-8 or Latin-1.
    name
        What messages call it.
    needed
        Columns that must be there.

    Returns
    -------
    pandas.DataFrame
        `RECORD`. ``depth`` stands for both depths; a time without a zone is UTC; no unit is `VOLUME`.

    Raises
    ------
    DataError
        If it is empty, is no table, lacks a column, or holds text where a number or a time should be.
    """
    frame = rows_of(text_of(data), name)
    missing = [column for column in needed if column not in frame]
    if missing:
        raise DataError(
            f"{name} lacks the columns {', '.join(missing)}; it has {', '.join(frame.columns)}; it needs "
            f"{', '.join(needed)} and may have {', '.join(OPTIONAL)}"
        )
    if frame.empty:
        raise DataError(f"{name} has no row below its header; expected a row for every measurement")
    depth = _numbers(frame, "depth", name)
    unit = _words(frame, "unit")
    records = pd.DataFrame(
        {
            "network": _words(frame, "network"),
            "station": _words(frame, "station"),
            "sensor": _words(frame, "sensor"),
            "longitude": _numbers(frame, "longitude", name),
            "latitude": _numbers(frame, "latitude", name),
            "depth_from": _numbers(frame, "depth_from", name).fillna(depth),
            "depth_to": _numbers(frame, "depth_to", name).fillna(depth),
            "time": _times(frame["time"].str.strip(), name),
            "value": _numbers(frame, "value", name),
            "unit": unit.where(unit != "", VOLUME),
            "flag": _words(frame, "flag"),
        }
    )
    for axis, most in (("longitude", 360), ("latitude", 90)):
        beyond = records[axis].abs() > most
        _refuse(
            beyond, frame[axis], name, f"is no {axis} in degrees; check that longitude and latitude are not swapped"
        )
    # After the check: once it is turned, a longitude of 4000 looks like any other.
    records["longitude"] = turned(records["longitude"], 0.0, TURN)
    _refuse(records["station"] == "", frame["station"], name, "is not a name; every row must name its station")
    return records.reset_index(drop=True)


def is_soil_moisture(name: str) -> bool:
    """Whether a file is one of ISMN's with soil moisture; one whose name does not say what it holds may be.

    `read_stm` refuses the latter, so that such a file is told of and not passed over.
    """
    base = PurePosixPath(name).name
    if not base.lower().endswith(SUFFIX) or base.startswith("."):
        return False
    name_parts = FILE_NAME.search(base)
    return name_parts is None or name_parts["variable"].lower() == "sm"


def read_stm(data: bytes, name: str) -> pd.DataFrame:
    """Read an ISMN file of either layout, `Header + values` or `CEOP in separate files`.

    Parameters
    ----------
    data
        Content of the file; lines may end in CR, LF or both.
    name
        Name that ISMN gave it.

    Returns
    -------
    pandas.DataFrame
        `RECORD`; no row if it holds a header only. Times are UTC, soil moisture is in m3 m-3.

    Raises
    ------
    DataError
        If it is empty or not laid out so.
    """
    sensor = FILE_NAME.search(PurePosixPath(name).name)
    if sensor is None or sensor["variable"].lower() != "sm":
        raise DataError(
            f"{name}: the name does not say that the file holds soil moisture; keep ISMN's file names, such as "
            "SCAN_SCAN_Abrams_sm_0.050800_0.050800_Hydraprobe_20070101_20131231.stm"
        )
    lines = [(number, line) for number, line in enumerate(text_of(data).splitlines(), 1) if line.strip()]
    if not lines:
        raise DataError(f"{name} is empty; download it again")
    top = lines[0][1]
    ceop = DATE.match(top) is not None
    first = top.split(maxsplit=4)[-1] if ceop else top
    place = PLACE.match(first)
    if place is None:
        raise DataError(
            f"{name}: the first line {top[:80]!r} is not an ISMN header; expected CSE, network, station, latitude, "
            "longitude, elevation, two depths and the sensor, or these in every line"
        )
    widths, value = (range(CEOP - 1, CEOP + 1), 12) if ceop else (range(4, 6), 2)
    words = _fields(lines if ceop else lines[1:], widths, name)
    if ceop:
        sensors = words[list(SENSOR_WORDS)]
        differs = (sensors != sensors.iloc[0]).any(axis=1)
        if differs.any():
            row = int(np.argmax(differs.to_numpy()))
            label, before = (" ".join(sensors.iloc[at].tolist()) for at in (row, 0))
            raise DataError(
                f"{name} holds more than one sensor, or line {words.index[row]} lacks a column: {label!r} differs from "
                f"{before!r} of the first line; download each sensor's variables in separate files"
            )
    frame = pd.DataFrame({"value": words[value], "flag": words[value + 1].fillna("")})
    records = frame.assign(
        time=_times(words[0] + " " + words[1], name, "%Y/%m/%d %H:%M"),
        value=_numbers(frame, "value", name),
        network=place["network"],
        station=place["station"],
        sensor=sensor["sensor"],
        unit=VOLUME,
        **{column: float(place[column]) for column in ("longitude", "latitude", "depth_from", "depth_to")},
    )
    return records[list(RECORD)].reset_index(drop=True)


def unzipped(data: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file of ISMN's with soil moisture in a ZIP archive.

    Raises
    ------
    DataError
        If it is no such archive.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # An archive lists its files in any order, on which no table shall depend.
            for member in sorted(archive.namelist()):
                if is_soil_moisture(member):
                    yield member, archive.read(member)
    except zipfile.BadZipFile as error:
        raise DataError(f"{name} is not a ZIP archive or is damaged: {error}; download it again") from error


def text_of(data: bytes) -> str:
    """Text of a file that programs of all kinds write."""
    try:
        # Spreadsheets write a mark before the first header, which would else be part of its name.
        return data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError:
        # Last, for Latin-1 decodes whatever it is given.
        return data.decode("latin-1")


def rows_of(text: str, name: str, expected: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """Every field as text; columns by their names in small letters, rows by the numbers of their lines."""
    header, _, _ = text.lstrip().partition("\n")
    # By the header alone: in the rows below, a decimal comma would pass for a separator.
    separator = next((mark for mark in (",", ";", "\t") if mark in header), ",")
    # Not `pandas.read_csv`, which guesses types, and takes the first fields of rows that are too long for their names.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    numbers, rows = [], []
    try:
        for row in reader:
            if any(field.strip() for field in row):
                numbers.append(reader.line_num)
                rows.append(row)
    except csv.Error as error:
        raise DataError(
            f"{name}, line {reader.line_num}: is not a row of a table: {error}; look for a stray quotation mark"
        ) from error
    if not rows:
        raise DataError(f"{name} is empty; expected a table with the columns {', '.join(expected)}")
    columns = [column.strip().lower() for column in rows[0]]
    if len(set(columns)) < len(columns):
        raise DataError(f"{name}: its header names a column twice: {', '.join(columns)}")
    for number, row in zip(numbers[1:], rows[1:], strict=True):
        _check_width(row, len(columns), f"{name}, line {number}")
    table = [row[: len(columns)] for row in rows[1:]]
    if separator != ",":
        # Where commas part no fields, they are those of decimals, as spreadsheets of many countries write them.
        table = [[DECIMAL.sub(r"\1.\2", field) for field in row] for row in table]
    return pd.DataFrame(table, index=pd.Index(numbers[1:]), columns=pd.Index(columns), dtype=str)


def _check_width(row: list[str], width: int, where: str) -> None:
    """Refuse a row whose fields do not stand below the header's; further ones that are empty do no harm."""
    if len(row) < width or any(field.strip() for field in row[width:]):
        raise DataError(
            f"{where} has {len(row)} fields, its header {width}: {', '.join(row)!r}; every row must have as many "
            "fields as the header: leave none out, write 0.23 and not 0,23, and put quotation marks around a name "
            "that contains a comma"
        )


def _fields(lines: Sequence[tuple[int, str]], widths: range, name: str) -> pd.DataFrame:
    """Words of each line, as text, columns 0 to the last of the widths; rows by the numbers of their lines.

    Parameters
    ----------
    lines
        Number and content of each.
    widths
        How many words a line may have.
    """
    last, words = widths[-1], [line.split() for _, line in lines]
    for (number, line), line_words in zip(lines, words, strict=True):
        if len(line_words) not in widths:
            raise DataError(
                f"{name}, line {number} has {len(line_words)} words, expected {widths[0]} or {last}: {line[:80]!r}; "
                "download the file again"
            )
    table = [line_words + [""] * (last - len(line_words)) for line_words in words]
    return pd.DataFrame(table, index=pd.Index([number for number, _ in lines]), columns=pd.RangeIndex(last), dtype=str)


def _words(frame: pd.DataFrame, column: str) -> pd.Series[str]:
    return frame[column].str.strip() if column in frame else pd.Series("", index=frame.index)


def _numbers(frame: pd.DataFrame, column: str, name: str) -> pd.Series[float]:
    """Numbers of a column, NaN where nothing is given or where there is no such column."""
    if column not in frame:
        return pd.Series(np.nan, index=frame.index)
    text = frame[column].fillna("").str.strip()
    numbers = pd.to_numeric(text, errors="coerce")
    wrong = numbers.isna() & ~text.str.lower().isin(NOTHING)
    _refuse(wrong, text, name, f"is no {column}; write numbers like 0.23, and leave missing ones empty")
    return numbers.astype("float64")


def _times(text: pd.Series[str], name: str, form: str = "ISO8601") -> pd.Series[pd.Timestamp]:
    # All by way of UTC: pandas makes no column of times that have a zone and others that have none.
    times = pd.to_datetime(text, utc=True, format=form, errors="coerce")
    examples = "2004-03-01, 2004-03-01T12:00 or 2004-03-01T12:00+08:00" if form == "ISO8601" else "2004/03/01 12:00"
    _refuse(times.isna(), text, name, f"is not a time; write {examples}")
    return times.dt.tz_localize(None).astype("datetime64[ns]")


def _refuse(wrong: pd.Series[bool], text: pd.Series[str], name: str, why: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong.to_numpy()))
        line = text.index[row]
        raise DataError(f"{name}, line {line} ({int(wrong.sum())} such): {text.iloc[row]!r} {why}")
