"""Static catalogs read no more than they must: each document once for all sources, no finer level than needed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from servers.static_catalog import static_catalog
from soilscale.catalog import Query, Shared, find
from soilscale.sources import Catalog, Source
from test_catalog import HERE, folder, instant, item

PERIOD = (instant("2021-01-01"), instant("2022-01-01"))
DENSITIES = {0: 5, 1: 40, 2: 360}
"""Level -> pixels along a degree."""


def jaxa(root: Path) -> Path:
    """Elevation as JAXA Earth lays it: date, level, band of longitude, band of latitude."""

    def save(path: str, document: Any) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(json.dumps(document), encoding="utf-8")

    save("catalog.json", folder("Catalog", "root", children=("dem/collection.json", "rain/collection.json")))
    save("rain/collection.json", folder("Collection", "rain"))
    save("dem/collection.json", folder("Collection", "dem", children=("2021-02/catalog.json",)))
    levels = tuple(f"{level}/catalog.json" for level in DENSITIES)
    save("dem/2021-02/catalog.json", folder("Catalog", "2021-02", children=levels))
    for level, density in DENSITIES.items():
        band, base = "E000.00-E010.00", f"dem/2021-02/{level}"
        save(f"{base}/catalog.json", folder("Catalog", str(level), children=(f"{band}/catalog.json",)))
        save(f"{base}/{band}/catalog.json", folder("Catalog", band, items=("N45.00-N50.00.json",)))
        tile = item(f"dem-{level}", "2021-02-01", bbox=[5, 45, 10, 50])
        tile["assets"] = {"DSM": {"href": "./N45.00-N50.00-DSM.tiff"}}
        save(f"{base}/{band}/N45.00-N50.00.json", tile)
        size = {"width": density, "height": density, "count": 1, "dtype": "int16", "crs": "EPSG:4326"}
        place = Affine(1 / density, 0, 5, 0, -1 / density, 50)
        with rasterio.open(root / f"{base}/{band}/N45.00-N50.00-DSM.tiff", "w", transform=place, **size) as file:
            file.write(np.full((density, density), 7, "int16"), 1)
    return root / "catalog.json"


@pytest.mark.parametrize(
    ("least", "level"), [(None, 2), (3.0, 0), (5.5, 1), (40.0, 1), (240.0, 2), (1000.0, 2)], ids=str
)
def test_the_coarsest_level_that_is_fine_enough_is_walked(tmp_path: Path, least: float | None, level: int) -> None:
    dem = Source("dem", "jaxa", "dem", "DSM", static=True)
    asked = Query(dem, Catalog("jaxa", str(jaxa(tmp_path))), HERE, PERIOD, pixels_per_degree=least)
    items, _ = find(asked)
    assert [found["id"] for found in items] == [f"dem-{level}"]


def test_a_level_that_cannot_be_opened_is_not_enough(tmp_path: Path) -> None:
    root = jaxa(tmp_path)
    for path in tmp_path.glob("dem/2021-02/[01]/*/*.tiff"):
        path.unlink()
    dem = Source("dem", "jaxa", "dem", "DSM", static=True)
    items, _ = find(Query(dem, Catalog("jaxa", str(root)), HERE, PERIOD, pixels_per_degree=1.0))
    assert [found["id"] for found in items] == ["dem-2"]


@pytest.mark.server
def test_the_root_of_a_static_catalog_is_walked_once_for_all_its_sources() -> None:
    names = [f"c{number:02}" for number in range(64)]
    with static_catalog() as served:
        served.documents["/catalog.json"] = folder(
            "Catalog", "root", children=tuple(f"{name}/collection.json" for name in names)
        )
        for name in names:
            served.documents[f"/{name}/collection.json"] = folder("Collection", name, items=("a.json",))
            served.documents[f"/{name}/a.json"] = item(f"{name}-a", "2021-02-01")
        shared = Shared()
        for name in ("c03", "c30", "c60"):
            texture = Source(name, "o", name, "value", static=True)
            asked = Query(texture, Catalog("o", f"{served.url}/catalog.json"), HERE, PERIOD, shared=shared)
            assert [found["id"] for found in find(asked)[0]] == [f"{name}-a"]
        assert served.count() == 1 + 64 + 3, "the root, every collection and the item of each source"
        find(replace(asked, shared=Shared()))
        assert served.count() == 68 + 66, "the next search asks anew"
