"""The published maps in the field's loaders, without further arguments: values, grid, times and CRS."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import odc.stac
import pystac
import pystac.validation
import pystac_client
import pytest
import rasterio
import stackstac
import xarray as xr
from rio_cogeo.cogeo import cog_validate

from schemas import published as schemas
from servers.seaweed import BUCKET, Seaweed
from servers.stac_api import UnavailableError, stac_api
from small_release import ABOUT, MONTHS, RUN, grid, release
from soilscale import publish, storage, viewer
from soilscale.engine.output import Workspace
from soilscale.grid import Grid
from soilscale.schema import LOWER, MAP, QUALITY, UPPER, Quality
from soilscale.stages import inventory

pytestmark = pytest.mark.filterwarnings("default:::odc", "default:::stackstac", "default:Use `@` matmul")

Published = tuple[Path, Grid, dict[str, Any]]
"""Folder of the output, its grid, and the values of its layers."""


@pytest.fixture(scope="module", params=["EPSG:3035", "EPSG:4326"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Published:
    path, fine = tmp_path_factory.mktemp("published"), grid(request.param)
    return path, fine, release(str(path), fine)


def items(path: Path) -> list[pystac.Item]:
    found = pystac.Catalog.from_file(str(path / "maps" / "catalog.json")).get_items(recursive=True)
    return sorted(found, key=lambda item: item.id)


def test_odc_stac_loads_the_maps(folder: Published) -> None:
    path, fine, values = folder
    loaded = odc.stac.load(items(path))
    assert loaded.odc.geobox == fine.fine
    assert loaded["time"].to_numpy().tolist() == MONTHS.astype("datetime64[ns]").tolist()
    for name, expected in values.items():
        np.testing.assert_array_equal(loaded[name], expected)
        assert loaded[name].dtype == expected.dtype


@pytest.mark.parametrize("how", ["items", "dictionaries", "collection"])
def test_stackstac_stacks_the_maps(folder: Published, how: str) -> None:
    path, fine, values = folder
    found: Any = items(path)
    if how == "dictionaries":
        found = [item.to_dict() for item in found]
    elif how == "collection":
        found = pystac.ItemCollection([item.to_dict() for item in found])
    stacked = stackstac.stack(found)
    assert stacked.attrs["crs"] == f"epsg:{fine.fine.crs.epsg}"
    assert stacked["time"].to_numpy().tolist() == MONTHS.astype("datetime64[ns]").tolist()
    assert stacked.shape[2:] == fine.fine.shape
    for name, expected in values.items():
        layer = stacked.sel(band=name).to_numpy()
        missing = expected == 0 if name == QUALITY else np.isnan(expected)
        np.testing.assert_array_equal(layer, np.where(missing, np.nan, expected))


def test_every_document_is_valid_by_the_schemas_of_its_extensions(folder: Published) -> None:
    path, _, _ = folder
    documents = [json.loads(file.read_text()) for file in (path / "maps").rglob("*.json") if file.name != viewer.INDEX]
    assert {document["type"] for document in documents} == {"Catalog", "Collection", "Feature"}
    for document in documents:
        assert set(document.get("stac_extensions", [])) <= schemas().keys()
        pystac.validation.validate_dict(document)
    item = next(document for document in documents if document["type"] == "Feature")
    names = {url.split("/")[3] for url in item["stac_extensions"]}
    assert names == {"classification", "file", "processing", "projection", "raster", "render", "version"}
    (collection,) = (one for one in documents if one["type"] == "Collection" and "maps" in one["assets"])
    names = {url.split("/")[3] for url in collection["stac_extensions"]}
    assert names >= {"contacts", "datacube", "scientific", "xarray-assets", "render", "version", "raster"}


def test_files_are_named_after_the_map_and_described_with_checksum_and_size(folder: Published) -> None:
    path, _, _ = folder
    item = items(path)[1]
    assert Path(item.assets[MAP].href).name == "lab_200501_soil_moisture.tif"
    assert set(item.assets) == {MAP, QUALITY, LOWER, UPPER, "thumbnail", "overview"}
    is_ours = inventory.ours(Workspace(str(path)))
    for asset in item.assets.values():
        file = Path(asset.get_absolute_href())
        assert file.stat().st_size == asset.extra_fields["file:size"]
        assert asset.extra_fields["file:checksum"] == f"1220{hashlib.sha256(file.read_bytes()).hexdigest()}"
        assert is_ours(str(file.relative_to(path)))
    bits = item.assets[QUALITY].extra_fields["classification:bitfields"]
    assert {bit["name"]: 1 << bit["offset"] for bit in bits} == {bit.name.lower(): int(bit) for bit in Quality}


def test_every_map_and_collection_leads_to_the_log_of_the_run_that_wrote_it(folder: Published) -> None:
    path, _, _ = folder
    documents = [json.loads(file.read_text()) for file in (path / "maps").rglob("*.json")]
    items = [document for document in documents if document.get("type") == "Feature"]
    collections = [document for document in documents if document.get("type") == "Collection"]
    assert items
    assert collections
    for document in (*items, *collections):
        assert document.get("properties", document)["soilscale:run"] == RUN
        (log,) = (link for link in document["links"] if link["rel"] == "processing-execution")
        assert log["href"] == "https://logs.example.org/explore?query=app%3Dsoilscale+run%3D7"
        assert log["title"] == "Log of run 7"


def test_files_pass_the_official_validator(folder: Published) -> None:
    path, _, _ = folder
    for file in sorted((path / "maps").rglob("*.tif")):
        valid, errors, _ = cog_validate(str(file), strict=False, quiet=True)
        assert valid, errors


def test_pictures_show_the_map_in_the_colours_of_all_maps(folder: Published) -> None:
    path, fine, values = folder
    item = items(path)[0]
    for name, side in publish.SIDES.items():
        with rasterio.open(item.assets[name].get_absolute_href()) as file:
            shade, table = file.read(1), file.colormap(1)
        assert max(shade.shape) == min(side, max(fine.fine.shape))
    # Small maps are not enlarged, so that each pixel is a cell.
    expected = np.nan_to_num(1 + (values[MAP][0].astype("float64") - 0.05) / 0.4 * 254)
    np.testing.assert_array_equal(shade, np.where(np.isnan(values[MAP][0]), 0, np.floor(expected)).astype("uint8"))
    assert table[0][3] == 0
    assert sum(table[1][:3]) > sum(table[255][:3])  # dry is bright


def test_a_collection_says_whose_the_maps_are_and_leads_to_the_stores(folder: Published) -> None:
    path, fine, values = folder
    (collection,) = pystac.Catalog.from_file(str(path / "maps" / "catalog.json")).get_collections()
    told = collection.to_dict()
    assert (told["license"], told["sci:doi"], told["sci:citation"]) == ("CC-BY-4.0", "10.1234/lab.5", "The lab (2026)")
    assert told["contacts"][0]["emails"] == [{"value": "maps@lab.example.org"}]
    assert told["providers"] == [dict(ABOUT.providers[0])]
    assert told["sci:publications"] == [{"citation": "Rainer, R. (2020)"}]
    assert told["soilscale:inputs"][0]["license"] == "CC-BY-4.0"
    assert {link.rel: link.href for link in collection.links}["cite-as"] == "https://doi.org/10.1234/lab.5"
    assert {link.rel for link in collection.links} >= {"license"}
    assert told["renders"][MAP]["rescale"] == [[0.05, 0.45]]
    assert told["item_assets"].keys() == {MAP, QUALITY, LOWER, UPPER, "thumbnail", "overview"}
    assert "statistics" not in json.dumps(told["item_assets"])
    assert told["summaries"]["proj:epsg"] == [fine.fine.crs.epsg]
    x, y = told["cube:dimensions"]["x"], told["cube:dimensions"]["y"]
    stored = storage.open_group(str(path / "maps.zarr"), "month")
    np.testing.assert_allclose([x["extent"], y["extent"][::-1]], [stored["x"][[0, -1]], stored["y"][[0, -1]]])
    assets = collection.get_assets()
    asset = assets["maps"]
    opened = xr.open_dataset(asset.get_absolute_href(), **asset.extra_fields["xarray:open_kwargs"])
    np.testing.assert_array_equal(opened[MAP], values[MAP])
    assert Path(str(assets["thumbnail"].get_absolute_href())).is_file()


def test_a_root_makes_hrefs_absolute_and_gives_every_document_a_link_to_itself(tmp_path: Path) -> None:
    root = "https://data.example.org/lab"
    release(str(tmp_path), grid("EPSG:4326"), root)
    for file in (tmp_path / "maps" / "month").rglob("lab-*.json"):
        told = json.loads(file.read_text())
        here = {link["rel"]: link["href"] for link in told["links"]}["self"]
        assert here == f"{root}/{file.relative_to(tmp_path)}"
        for asset in told["assets"].values():
            assert (tmp_path / asset["href"].removeprefix(f"{root}/")).is_file()


@pytest.fixture
def bucket(weed: Seaweed, store: object) -> str:  # noqa: ARG001 - the store sets the environment
    return f"s3://{BUCKET}/published"


@pytest.mark.server
def test_the_maps_load_from_a_bucket(bucket: str, weed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> None:
    fine = grid()
    values = release(bucket, fine)
    stac = pystac.StacIO.default()
    monkeypatch.setattr(stac, "read_text", lambda source, *_, **__: storage.read_bytes(str(source)).decode())
    found = list(pystac.Catalog.from_file(f"{bucket}/maps/catalog.json", stac).get_items(recursive=True))
    # As anybody tells GDAL where a store is that is not AWS: both loaders read with it, in threads of their own.
    address = weed.endpoint.removeprefix("http://")
    for name, value in {"AWS_S3_ENDPOINT": address, "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"}.items():
        monkeypatch.setenv(name, value)
    np.testing.assert_array_equal(odc.stac.load(found)[MAP], values[MAP])
    np.testing.assert_array_equal(stackstac.stack(found).sel(band=MAP), values[MAP])


@pytest.mark.server
def test_the_maps_load_from_an_api(tmp_path: Path) -> None:
    fine, root = grid("EPSG:4326"), tmp_path.as_uri()
    values = release(str(tmp_path), fine, root)
    collection = json.loads((tmp_path / "maps" / "month" / "collection.json").read_text())
    documents = [json.loads(file.read_text()) for file in (tmp_path / "maps" / "month").rglob("lab-*.json")]
    try:
        with stac_api([collection], documents) as url:
            client = pystac_client.Client.open(url)
            found = client.search(collections=["lab-month"], datetime="2004-12/2005-02").item_collection()
            served = client.get_collection("lab-month").to_dict()
    except UnavailableError as error:
        pytest.skip(str(error))
    assert served["sci:doi"] == collection["sci:doi"]
    np.testing.assert_array_equal(odc.stac.load(found).sortby("time")[MAP], values[MAP])
    np.testing.assert_array_equal(stackstac.stack(found).sel(band=MAP), values[MAP])
