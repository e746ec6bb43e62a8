"""A variable of a file as a raster: rows in the order of its coordinates, columns eastward, one time step at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soilscale.errors import DataError, nearest
from soilscale.formats import attributes, axes, hdfeos
from soilscale.formats.attributes import Stated
from soilscale.formats.axes import Axes, Place
from soilscale.formats.contents import Contents, Variable
from soilscale.formats.times import Step, steps

__all__ = ["Layer", "Step", "find"]

SHOWN = 60
"""Names that a message lists at most."""

NO_NAME = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Layer:
    """A variable of an open file as a raster."""

    name: str
    """With its groups."""
    format: str
    shape: tuple[int, int]
    """Rows and columns."""
    dtype: np.dtype[Any]
    stated: Stated
    place: Place
    transposed: bool
    """Whether the file stores columns before rows."""
    block: tuple[int, int]
    """Rows and columns that the file stores together."""
    count: int
    """Steps of its time axis; 1 where it has none."""
    _contents: Contents = field(repr=False)
    _variable: Variable = field(repr=False)
    _axes: Axes = field(repr=False)

    @property
    def class_names(self) -> dict[int, str]:
        """Name of each class that its attributes name."""
        return attributes.flag_names(self._variable.attributes)

    def read(self, step: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Stored values of a step, of shape ``(rows, columns)``; the slices lie within `shape`."""
        part = [slice(0, 1)] * len(self._variable.shape)
        if self.place.mirrored:
            # Mirrored once for the window and once for the values: what is read lies at the other end.
            columns = slice(self.shape[1] - columns.stop, self.shape[1] - columns.start)
        part[self._axes.rows], part[self._axes.columns] = rows, columns
        if self._axes.time is not None:
            part[self._axes.time] = slice(step, step + 1)
        stored = self._variable.read(tuple(part))
        # Seen with the other sign, not converted: the bits are right.
        if stored.dtype != self.dtype:
            stored = stored.view(self.dtype)
        stored = stored.reshape([side.stop - side.start for side in (columns, rows)][:: 1 if self.transposed else -1])
        stored = stored.T if self.transposed else stored
        return stored[:, ::-1] if self.place.mirrored else stored

    def steps(self) -> tuple[Step, ...]:
        """Steps of its time axis; none where it has none, or does not say when they are.

        Raises
        ------
        DataError
            If they cannot be understood.
        """
        side = None if self._axes.time is None else self._axes.sides.get(self._axes.time)
        return () if side is None else steps(self._contents, side)


def find(contents: Contents, name: str | None, usual: str) -> Layer:
    """Layer of a file.

    Parameters
    ----------
    name
        As the source names it, in full or without groups, letters beside digits and letters not minded; None: the one
        of the usual name, or the only one.
    usual
        Name that counts if it is there.

    Raises
    ------
    DataError
        Naming the variables that are there, if this one is not; or if it is no raster.
    """
    variable = _variable_of(contents, usual if name is None else name, is_sought=name is not None)
    if variable is None:
        variable = _only(contents, usual)
    try:
        return _layer(contents, variable)
    except DataError as error:
        raise DataError(
            f"variable {variable.name!r} has {error}" if "expected rows" in str(error) else str(error)
        ) from error


def _variable_of(contents: Contents, name: str, *, is_sought: bool) -> Variable | None:
    exact = contents.variable(name.strip("/"))
    if exact is not None:
        return exact
    # From strict to loose, so that a loose likeness never wins over the very name.
    for alike in (_last, _simple, lambda text: _simple(_last(text))):
        names = [candidate for candidate in contents.names() if alike(candidate) == alike(name)]
        if len(names) == 1:
            return contents.variable(names[0])
        if names and is_sought:
            raise DataError(f"has several variables {name!r}: {', '.join(names)}; give `layer` with its group")
    if is_sought:
        rasters = _rasters(contents)
        raise DataError(f"has no variable {name!r}{_among(name, rasters)}; correct the key `layer`")
    return None


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _simple(name: str) -> str:
    return NO_NAME.sub("_", name.lower()).strip("_")


def _among(name: str, names: Sequence[str]) -> str:
    """End of a message about a name: what there is, and what is like it."""
    remainder = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    # Without groups, whose long common parts would make all names alike.
    close = nearest(_last(name), [_last(candidate) for candidate in names])
    return f" (it has {', '.join(names[:SHOWN]) or 'none'}{remainder}){close if 'did you mean' in close else ''}"


def _rasters(contents: Contents) -> list[str]:
    """Names of variables that may be rasters: of at least two dimensions that are longer than one; no bounds."""
    variables = filter(None, map(contents.variable, contents.names()))
    bounds = {
        str(variable.attributes.get("bounds", "")) for variable in map(contents.variable, contents.names()) if variable
    }
    return [
        variable.name
        for variable in variables
        if sum(size > 1 for size in variable.shape) > 1
        and _last(variable.name) not in bounds
        and variable.dtype.kind in "iuf"
        and not axes.is_coordinate(variable)
    ]


def _only(contents: Contents, usual: str) -> Variable:
    names = _rasters(contents)
    if len(names) != 1:
        raise DataError(
            f"holds {len(names)} variables, {', '.join(names[:SHOWN]) or 'none of them a raster'}, and none is named "
            f"{usual!r} like its asset; name the one that you need with the key `layer`"
        )
    variable = contents.variable(names[0])
    if variable is None:
        raise KeyError(names[0])
    return variable


def _layer(contents: Contents, variable: Variable) -> Layer:
    eos = hdfeos.grid(contents.structure, variable.name, variable.dimensions) if contents.structure else None
    # HDF-EOS names the dimensions of its fields in its structure, where HDF itself has no names for them.
    has_names = eos is not None and not any(variable.dimensions) and len(eos.dimensions) == len(variable.shape)
    dimensions = eos.dimensions if has_names and eos is not None else variable.dimensions
    variable_axes = axes.axes(contents, variable, dimensions)
    sign = {"true": "u", "false": "i"}.get(str(variable.attributes.get("_Unsigned", "")).lower())
    if sign is not None and variable.dtype.kind in "iu":
        variable = replace(variable, dtype=np.dtype(f"{sign}{variable.dtype.itemsize}"))
    statement = attributes.read(
        variable.attributes, variable.dtype, is_hdf4=contents.format == "HDF4", is_eos=bool(contents.structure)
    )
    return Layer(
        name=variable.name,
        format=contents.format,
        shape=(variable.shape[variable_axes.rows], variable.shape[variable_axes.columns]),
        dtype=variable.dtype,
        stated=statement,
        place=axes.place(contents, variable, variable_axes, eos),
        transposed=variable_axes.columns < variable_axes.rows,
        block=(variable.blocks[variable_axes.rows], variable.blocks[variable_axes.columns]),
        count=1 if variable_axes.time is None else variable.shape[variable_axes.time],
        _contents=contents,
        _variable=variable,
        _axes=variable_axes,
    )
