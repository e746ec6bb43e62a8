"""Files as the products of the catalogs store them, with values of one known truth."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyhdf.SD import SD, SDC
from pyproj import CRS, Transformer
from rasterio.io import MemoryFile

Array = NDArray[np.float64]

BOX = (107.9, 33.9, 108.7, 34.7)
"""West, south, east, north of what files hold."""

SINUSOIDAL = CRS.from_proj4("+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs")
LEFT, TOP = -20015109.354, 10007554.677
"""Corner of the lattice of MODIS tiles."""
MODIS = 926.62543305583381


def truth(quantity: str, longitude: Array, latitude: Array, day: date) -> Array:
    """Physical value at places on a day: waves over land, and the year's cycle where there is one."""
    month = day.month + (day.day - 1) / 31
    cycle = -np.cos(2 * np.pi * (month - 1) / 12)
    hills = np.sin(longitude * 21) * np.cos(latitude * 17)
    fine = np.sin(longitude * 90 + 1) * np.sin(latitude * 80)
    means: dict[str, Callable[[], Array]] = {
        "rain": lambda: 60 + 45 * cycle + 15 * hills + 8 * np.sin(day.year + longitude * 9),
        "elevation": lambda: 900 + 400 * hills + 80 * fine,
        "lst": lambda: 288 + 12 * cycle - 3 * hills - fine,
        "ndvi": lambda: 0.45 + 0.2 * cycle + 0.1 * hills + 0.05 * fine,
        "evi": lambda: 0.3 + 0.15 * cycle + 0.08 * hills + 0.03 * fine,
        "et": lambda: 1.8 + 1.2 * cycle + 0.4 * hills,
        "sand": lambda: 40 + 15 * hills + 4 * fine,
        "silt": lambda: 35 - 10 * hills,
        "clay": lambda: 25 - 5 * hills - 4 * fine,
        "soil_moisture": lambda: 0.2 + 0.05 * cycle + 0.03 * hills + 0.0004 * (means["rain"]() - 60),
    }
    return np.asarray(means[quantity](), "float64")


@dataclass(frozen=True)
class Field:
    """A layer of a MODIS product."""

    quantity: str
    name: str
    """Of the layer in HDF."""
    dtype: str
    scale: float
    """Physical value = stored x scale."""
    fill: float
    halves: int = 1
    """Pixels along one of 926 m."""
    days: int = 1
    """Days over which a rate is summed up."""


QUALITY = "good"
LST = {
    "LST_Day_1km": Field("lst", "LST_Day_1km", "uint16", 0.02, 0),
    "QC_Day": Field(QUALITY, "QC_Day", "uint8", 1, 255),
}
VEGETATION_16 = {
    "500m_16_days_NDVI": Field("ndvi", "500m 16 days NDVI", "int16", 0.0001, -3000, 2),
    "500m_16_days_EVI": Field("evi", "500m 16 days EVI", "int16", 0.0001, -3000, 2),
    "500m_16_days_pixel_reliability": Field(QUALITY, "500m 16 days pixel reliability", "int8", 1, -1, 2),
}
VEGETATION_MONTH = {
    "1_km_monthly_NDVI": Field("ndvi", "1 km monthly NDVI", "int16", 0.0001, -3000),
    "1_km_monthly_EVI": Field("evi", "1 km monthly EVI", "int16", 0.0001, -3000),
    "1_km_monthly_pixel_reliability": Field(QUALITY, "1 km monthly pixel reliability", "int8", 1, -1),
}
ET_8 = {"ET_500m": Field("et", "ET_500m", "int16", 0.1, 32767, 2, 8)}
ET_YEAR = Field("et", "ET_500m", "uint16", 0.1, 65535, 2, 365)
LAND_COVER_IGBP = {"LC_Type1": Field("land_cover", "LC_Type1", "uint8", 1, 255, 2)}


def _lattice(pixel: float, left: float, top: float, crs: CRS | None = None) -> tuple[Affine, tuple[int, int]]:
    """Transform and shape of the part of a lattice that covers `BOX`."""
    west, south, east, north = BOX
    if crs is not None:
        to = Transformer.from_crs(4326, crs, always_xy=True)
        x, y = to.transform([west, east, west, east], [south, south, north, north])
        west, east, south, north = min(x), max(x), min(y), max(y)
    first, last = int((west - left) // pixel), int((east - left) // pixel) + 1
    upper, lower = int((top - north) // pixel), int((top - south) // pixel) + 1
    return Affine(pixel, 0, left + first * pixel, 0, -pixel, top - upper * pixel), (lower - upper, last - first)


def _places(transform: Affine, shape: tuple[int, int], crs: CRS | None = None) -> tuple[Array, Array]:
    """Longitudes and latitudes of pixels, of a grid in degrees as a row and a column."""
    rows, columns = shape
    x = transform.c + (np.arange(columns)[None, :] + 0.5) * transform.a
    y = transform.f + (np.arange(rows)[:, None] + 0.5) * transform.e
    if crs is None:
        return x, y
    return Transformer.from_crs(crs, 4326, always_xy=True).transform(*np.broadcast_arrays(x, y))


def _cog(values: NDArray[Any], transform: Affine, crs: Any, **more: Any) -> bytes:
    with MemoryFile() as memory:
        options = {
            "driver": "COG",
            "compress": "deflate",
            "level": 1,
            "count": 1,
            "blocksize": 256,
            "overview_resampling": "average",
        }
        shape = {"height": values.shape[0], "width": values.shape[1], "dtype": values.dtype}
        with memory.open(crs=crs, transform=transform, **options, **shape, **more) as file:
            file.write(values, 1)
        return bytes(memory.read())


def jaxa(quantity: str, raster: Mapping[str, Any], day: date, box: list[float], pixels: int) -> bytes:
    """Tile of a level of JAXA Earth; missing outside the surroundings of the area."""
    west, south, east, north = box
    values = np.full((round((north - south) * pixels), round((east - west) * pixels)), raster["dn"]["nodata"], "uint16")
    transform = Affine(1 / pixels, 0, west, 0, -1 / pixels, north)
    columns = slice(max(0, round((BOX[0] - west) * pixels)), max(0, round((BOX[2] - west) * pixels)))
    rows = slice(round((north - BOX[3]) * pixels), round((north - BOX[1]) * pixels))
    part = values[rows, columns]
    if part.size:
        inner = transform @ Affine.translation(columns.start, rows.start)
        longitude, latitude = _places(inner, part.shape)
        physical = truth(quantity, longitude, latitude, day)
        days = (date(day.year + day.month // 12, day.month % 12 + 1, 1) - day).days
        stated = physical * 100 if quantity == "soil_moisture" else physical / days
        part[:] = np.round(stated / raster["dn2value"]["slope"])
    return _cog(values, transform, "EPSG:4326", nodata=raster["dn"]["nodata"])


def _stored(layer: Field, start: date, *, drier: bool = False) -> tuple[NDArray[Any], Affine]:
    """Values of a layer as MODIS stores them, and their transform."""
    transform, shape = _lattice(MODIS / layer.halves, LEFT, TOP, SINUSOIDAL)
    longitude, latitude = _places(transform, shape, SINUSOIDAL)
    if layer.quantity == QUALITY:
        return np.zeros(shape, layer.dtype), transform
    if layer.quantity == "land_cover":
        return np.where(np.sin(longitude * 21) > 0, 12, 5).astype(layer.dtype), transform
    physical = truth(layer.quantity, longitude, latitude, start) * layer.days + (5 if drier else 0)
    return np.round(physical / layer.scale).astype(layer.dtype), transform


def modis(layer: Field, start: date, drier: bool = False) -> bytes:
    """Layer of MODIS as the Planetary Computer stores it: a COG in a CRS without a code. Aqua is 5 units off."""
    values, transform = _stored(layer, start, drier=drier)
    return _cog(values, transform, SINUSOIDAL.to_wkt(), nodata=layer.fill)


def hdf4(product: str, fields: Mapping[str, Field], start: date) -> bytes:
    """Granule of MODIS as NASA stores it: HDF-EOS2, its place in StructMetadata.0 alone."""
    types = {"uint8": SDC.UINT8, "int8": SDC.INT8, "uint16": SDC.UINT16, "int16": SDC.INT16}
    grid = f"MODIS_Grid_{product}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "granule.hdf")
        file = SD(str(path), SDC.WRITE | SDC.CREATE)
        for layer in fields.values():
            values, transform = _stored(layer, start)
            data = file.create(layer.name, types[layer.dtype], values.shape)
            data.dim(0).setname(f"YDim:{grid}")
            data.dim(1).setname(f"XDim:{grid}")
            data.attr("_FillValue").set(types[layer.dtype], int(layer.fill))
            data[:] = values
            data.endaccess()
        file.attr("StructMetadata.0").set(SDC.CHAR, _structure(grid, list(fields.values()), values.shape, transform))
        file.end()
        return path.read_bytes()


def _structure(grid: str, fields: list[Field], shape: tuple[int, ...], transform: Affine) -> str:
    rows, columns = shape
    right, bottom = transform.c + columns * transform.a, transform.f + rows * transform.e
    listed = "".join(
        f'\t\t\tOBJECT=DataField_{n}\n\t\t\t\tDataFieldName="{layer.name}"\n\t\t\t\tDataType=DFNT_{layer.dtype.upper()}\n'
        f'\t\t\t\tDimList=("YDim","XDim")\n\t\t\tEND_OBJECT=DataField_{n}\n'
        for n, layer in enumerate(fields, 1)
    )
    return (
        "GROUP=SwathStructure\nEND_GROUP=SwathStructure\nGROUP=GridStructure\n\tGROUP=GRID_1\n"
        f'\t\tGridName="{grid}"\n\t\tXDim={columns}\n\t\tYDim={rows}\n'
        f"\t\tUpperLeftPointMtrs=({transform.c:.6f},{transform.f:.6f})\n\t\tLowerRightMtrs=({right:.6f},{bottom:.6f})\n"
        "\t\tProjection=GCTP_SNSOID\n\t\tProjParams=(6371007.181000,0,0,0,0,0,0,0,0,0,0,0,0)\n\t\tSphereCode=-1\n"
        "\t\tGROUP=Dimension\n\t\tEND_GROUP=Dimension\n"
        f"\t\tGROUP=DataField\n{listed}\t\tEND_GROUP=DataField\n"
        "\t\tGROUP=MergedFields\n\t\tEND_GROUP=MergedFields\n\tEND_GROUP=GRID_1\nEND_GROUP=GridStructure\n"
        "GROUP=PointStructure\nEND_GROUP=PointStructure\nEND\n"
    )


def imerg(day: date) -> bytes:
    """Month of IMERG: HDF5, longitude before latitude, from south to north, mm per hour."""
    days = (date(day.year + day.month // 12, day.month % 12 + 1, 1) - day).days
    longitude, latitude = -179.95 + 0.1 * np.arange(3600), -89.95 + 0.1 * np.arange(1800)
    columns = (longitude > BOX[0]) & (longitude < BOX[2])
    rows = (latitude > BOX[1]) & (latitude < BOX[3])
    rain = truth("rain", *np.meshgrid(longitude[columns], latitude[rows], indexing="ij"), day) / days / 24

    def write(file: h5py.File) -> None:
        grid = file.create_group("Grid")
        data = grid.create_dataset(
            "precipitation", (1, 3600, 1800), "f4", chunks=(1, 145, 1800), compression="gzip", fillvalue=-9999.9
        )
        first, south = int(np.argmax(columns)), int(np.argmax(rows))
        data[0, first : first + columns.sum(), south : south + rows.sum()] = rain
        data.attrs["_FillValue"] = np.float32(-9999.9)
        data.attrs["units"] = "mm/hr"
        data.attrs["DimensionNames"] = "time,lon,lat"
        since = np.array([(day - date(1980, 1, 6)).days * 86400], "i4")
        for name, values, unit in (
            ("time", since, "seconds since 1980-01-06 00:00:00 UTC"),
            ("lon", longitude.astype("f4"), "degrees_east"),
            ("lat", latitude.astype("f4"), "degrees_north"),
        ):
            grid[name] = values
            grid[name].attrs["units"] = unit
            grid[name].make_scale(name)
        for axis, name in enumerate(("time", "lon", "lat")):
            data.dims[axis].attach_scale(grid[name])

    return _hdf5(write)


def _moisture(transform: Affine, shape: tuple[int, int], day: date, crs: CRS | None = None) -> Array:
    """Soil moisture of the pixels of the globe, m3 m-3; NaN outside the surroundings of the area."""
    longitude, latitude = np.broadcast_arrays(*_places(transform, shape, crs))
    near = (longitude > BOX[0] - 1) & (longitude < BOX[2] + 1) & (latitude > BOX[1] - 1) & (latitude < BOX[3] + 1)
    values = np.full(shape, np.nan)
    values[near] = truth("soil_moisture", longitude[near], latitude[near], day)
    return values


def amsr2(day: date) -> bytes:
    """Month of AMSR2 as G-Portal stores it: HDF5 of 0.25 degrees without any place, negative codes."""
    values = _moisture(Affine(0.25, 0, -180, 0, -0.25, 90), (720, 1440), day)
    stored = np.where(np.isnan(values), -32767, np.round(values * 1000)).astype("int16")

    def write(file: h5py.File) -> None:
        data = file.create_dataset("Geophysical Data", data=stored[..., None], compression="gzip")
        data.attrs.update({"SCALE FACTOR": np.array([0.1], "float32"), "UNIT": np.array([b"%"])})
        file.create_dataset("Time Information", data=np.zeros((720, 1440, 1), "int16"), compression="gzip")

    return _hdf5(write)


def smap(day: date) -> bytes:
    """Day of SMAP on its grid of 36 km: both passes with their flags, no CRS."""
    crs, transform = CRS.from_epsg(6933), Affine(36032.22084, 0, -17367530.445, 0, -36032.22084, 7314540.831)
    values = _moisture(transform, (406, 964), day, crs)
    flag = np.where(np.isnan(values), 65534, 0).astype("uint16")

    def write(file: h5py.File) -> None:
        for half, end, drier in (("AM", "", 0.0), ("PM", "_pm", 0.05)):
            group = file.create_group(f"Soil_Moisture_Retrieval_Data_{half}")
            stored = np.where(np.isnan(values), -9999, values - drier).astype("float32")
            data = group.create_dataset(f"soil_moisture{end}", data=stored, chunks=(203, 241), compression="gzip")
            data.attrs.update({"units": b"cm**3/cm**3", "_FillValue": np.float32(-9999)})
            group.create_dataset(f"retrieval_qual_flag{end}", data=flag, compression="gzip")

    return _hdf5(write)


def esa_cci(day: date) -> bytes:
    """Day of ESA CCI's combined soil moisture: NetCDF4, where snow lay flagged and wrong."""
    values = _moisture(Affine(0.25, 0, -180, 0, -0.25, 90), (720, 1440), day)
    flag = np.where(np.isnan(values), 127, 0).astype("int8")
    if day.day == 1:
        flag[flag == 0], values = 1, values + 0.3

    def write(file: h5py.File) -> None:
        since = (day - date(1970, 1, 1)).days
        for name, side, unit in (
            ("time", np.array([since], "float64"), "days since 1970-01-01 00:00:00 UTC"),
            ("lat", (89.875 - 0.25 * np.arange(720)).astype("float32"), "degrees_north"),
            ("lon", (-179.875 + 0.25 * np.arange(1440)).astype("float32"), "degrees_east"),
        ):
            file[name] = side
            file[name].attrs["units"] = unit.encode()
            file[name].make_scale(name)
        for name, stored, fill in (
            ("sm", np.where(np.isnan(values), -9999, values).astype("float32"), np.float32(-9999)),
            ("flag", flag, np.int8(127)),
        ):
            data = file.create_dataset(name, data=stored[None], chunks=(1, 360, 720), compression="gzip")
            data.attrs["_FillValue"] = fill
            for axis, scale in enumerate(("time", "lat", "lon")):
                data.dims[axis].attach_scale(file[scale])
        file["sm"].attrs["units"] = b"m3 m-3"

    return _hdf5(write)


def _hdf5(write: Callable[[h5py.File], None]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file.h5")
        with h5py.File(path, "w") as file:
            write(file)
        return path.read_bytes()


def elevation() -> bytes:
    """Tile of NASADEM: a degree, an arc second, pixels centred on its edges."""
    step = 1 / 3600
    transform = Affine(step, 0, 108 - step / 2, 0, -step, 35 + step / 2)
    longitude, latitude = _places(transform, (3601, 3601))
    return _cog(
        np.round(truth("elevation", longitude, latitude, date(2000, 1, 1))).astype("int16"), transform, "EPSG:4326"
    )


def land_cover() -> bytes:
    """Part of the land cover of ESA CCI, 300 m."""
    transform, shape = _lattice(1 / 360, -180.0, 90.0)
    longitude, _ = _places(transform, shape)
    codes = np.broadcast_to(np.where(np.sin(longitude * 21) > 0, 10, 60), shape).astype("uint8")
    return _cog(codes, transform, "EPSG:4326", nodata=0)


def texture(name: str) -> bytes:
    """Part of the soil texture of OpenLandMap, 30 m, whole percent."""
    transform, shape = _lattice(0.00025, -180.0, 85.0)
    longitude, latitude = _places(transform, shape)
    values = np.round(truth(name, longitude, latitude, date(2020, 1, 1))).astype("uint8")
    return _cog(values, transform, "EPSG:4326", nodata=255)
