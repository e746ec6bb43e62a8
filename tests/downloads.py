"""Folders of downloaded files: the granules of the miniatures, under the names that their makers give them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

from servers import granules
from servers.miniatures import LAND, Miniatures, land_granule, rain_file


def download(root: Path, here: Miniatures) -> Path:
    """Write what a person has downloaded for the months of the miniatures, a folder each product."""
    for name, content in _files(here):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def _files(here: Miniatures) -> Iterator[tuple[str, bytes]]:
    for day in here.months:
        moisture = granules.amsr2(day)
        # Both passes and a file of another kind lie beside each other, as after a download of the whole folder.
        for orbit in "AD":
            yield f"AMSR2/{day:%Y}/GW1AM2_{day:%Y%m}00_01M_EQM{orbit}_L3SGSMCLF3300300.h5", moisture
        yield f"GPM_3IMERGM/{day:%Y}/{rain_file(day)}", granules.imerg(day)
    yield "AMSR2/README.txt", b"downloaded from G-Portal"
    for product, (days, fields) in LAND.items():
        for start, _ in here.composites(days):
            yield f"{product}/{land_granule(product, start)}.hdf", granules.hdf4(product, fields, start)
    for day in _observed(here):
        name = f"ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED-{day:%Y%m%d}000000-fv08.1.nc"
        yield f"ESA_CCI_SM/{day:%Y}/{name}", granules.esa_cci(day)


def _observed(here: Miniatures) -> list[date]:
    return here.days[::2]
