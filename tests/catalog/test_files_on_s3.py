"""Downloaded files in a bucket of a real S3 server: listed, read by ranges or copied, refused without a key."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import forget_stores
from servers import granules
from servers.faults import Faults
from servers.miniatures import LAND, land_granule, rain_file
from servers.seaweed import BUCKET
from soilscale import catalog, storage
from soilscale.catalog import Scene, files
from soilscale.catalog.query import Query
from soilscale.config import SourceSection
from soilscale.cube import Reading
from soilscale.errors import RefusedError
from soilscale.sources import Band, Catalog, Source

pytestmark = pytest.mark.server

DAY = date(2019, 7, 4)
MONTH = date(2019, 7, 1)
HOME = f"s3://{BUCKET}/data"
BOX = (108.0, 34.0, 108.6, 34.6)


@pytest.fixture(scope="module")
def bucket(store: Faults) -> Faults:
    """A month of rain as HDF5 and eight days of surface temperature as HDF4, among what is no data."""
    storage.write_bytes(f"{HOME}/GPM_3IMERGM/2019/{rain_file(MONTH)}", granules.imerg(MONTH))
    storage.write_bytes(
        f"{HOME}/MOD11A2/{land_granule('MOD11A2', DAY)}.hdf", granules.hdf4("MOD11A2", LAND["MOD11A2"][1], DAY)
    )
    storage.write_bytes(f"{HOME}/README.txt", b"downloaded")
    return store


@pytest.fixture(autouse=True)
def counted(bucket: Faults) -> None:
    bucket.heal()


def frozen(profile: str, place: str) -> tuple[Source, list[Scene]]:
    source = SourceSection(catalog="own", collection=profile, profile=profile).source("x")
    instants = datetime(2019, 7, 1, tzinfo=UTC), datetime(2019, 8, 1, tzinfo=UTC)
    found = files.gather(
        Query(source, Catalog("own", files=place), BOX, instants), progress=lambda *_: None, broken=lambda *_: None
    )
    return source, catalog.scenes(found.items, source)


def whole(made: Reading, scene: Scene, band: Band) -> NDArray[np.float64]:
    """Stored values of the area, or of a file that is hardly larger, in the file's own grid."""
    header = made.header(scene, band)
    bounds = BOX if header.crs.to_epsg() == 4326 else header.bounds
    return np.asarray(made.windows([(scene, band)], header, bounds)[0], "float64")


@pytest.mark.parametrize("place", [f"{HOME}/", f"{HOME}/**/*.HDF5", f"{HOME}/GPM_3IMERGM/2019/*.HDF5"])
def test_hdf5_is_found_by_a_pattern_and_read_by_ranges(place: str, bucket: Faults) -> None:
    source, scenes = frozen("GPM_3IMERGM", place)
    assert [str(scene.start)[:10] for scene in scenes] == ["2019-07-01"]
    made = Reading(source, lambda href: catalog.sign(href, "none"))
    values = made.decoding(scenes[0]).physical(whole(made, scenes[0], source.data))
    longitude, latitude = np.meshgrid(108.05 + 0.1 * np.arange(6), 34.55 - 0.1 * np.arange(6))
    truth = granules.truth("rain", longitude, latitude, MONTH) / 31
    np.testing.assert_allclose(values, truth, rtol=1e-5)
    assert bucket.requests["LIST"] == 1, "a listing, no request for each file"


def test_hdf4_is_copied_once_for_its_data_and_its_flags(bucket: Faults) -> None:
    source, scenes = frozen("MOD11A2", f"{HOME}/MOD11A2/*.hdf")
    assert len(scenes) == 1
    made = Reading(source, lambda href: catalog.sign(href, "none"))
    values = whole(made, scenes[0], source.data)
    stored, _ = granules._stored(LAND["MOD11A2"][1]["LST_Day_1km"], DAY)  # noqa: SLF001 - what was written
    np.testing.assert_array_equal(values, stored)
    asked = bucket.requests["GET"]
    np.testing.assert_array_equal(whole(made, scenes[0], source.quality[0].band), np.zeros(stored.shape))
    assert bucket.requests["GET"] == asked, "the flags are in the copy"


def test_who_has_a_wrong_key_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    forget_stores()
    try:
        with pytest.raises(RefusedError, match=f"{BUCKET}/data"):
            frozen("MOD11A2", f"{HOME}/MOD11A2/")
    finally:
        monkeypatch.undo()
        forget_stores()
    assert frozen("MOD11A2", f"{HOME}/MOD11A2/")[1]
