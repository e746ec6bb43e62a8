"""Failures by source and cause: what is wrong with many units is told once, with the inputs that it concerns."""

from __future__ import annotations

from soilscale.engine import causes
from soilscale.engine.units import Outcome, Receipt


def failed(name: str, message: str, stage: str = "cube", outcome: Outcome = "failed") -> Receipt:
    return Receipt(stage, name, outcome, message, 1.5)


def hdf4(month: int, tile: str) -> Receipt:
    path = f"/data/my inputs/MOD16A2.A2004{month:02}1.hdf"
    return failed(f"et/2004-{month:02}_{tile}", f"{path} cannot be read: GDAL lacks HDF4; convert it to GeoTIFF")


MANY = [hdf4(month, tile) for month in range(1, 13) for tile in ("r000c000", "r000c001")]


def test_one_cause_of_many_units_is_one_line_with_the_items_that_it_concerns() -> None:
    assert causes.lines(MANY, {"et": 46}) == [
        (
            "cube et/2004-01_r000c000 and 23 more units: 12 of 46 items of et cannot be used: "
            "/data/my inputs/MOD16A2.A2004011.hdf cannot be read: GDAL lacks HDF4; convert it to GeoTIFF"
        )
    ]


def test_without_the_number_of_items_the_message_stands_for_all() -> None:
    (line,) = causes.lines(MANY, {})
    assert line == f"cube et/2004-01_r000c000 and 23 more units: {MANY[0].message}"


def test_sources_stages_outcomes_and_causes_are_kept_apart() -> None:
    message = MANY[0].message
    others = [
        failed("lst/2004-01_r000c000", message),
        failed("et/2004-02_r000c000", message.replace("GDAL lacks HDF4", "it is a web page")),
        failed("et/2004-03_r000c000", message, outcome="killed"),
        failed("2004-01_r000c000", message, stage="predict"),
    ]
    found = causes.lines([*MANY, *others], {"et": 46, "lst": 46})
    assert len(found) == 5
    assert found[1:] == [
        f"cube et/2004-02_r000c000: {others[1].message}",
        f"cube et/2004-03_r000c000: {message}",
        f"cube lst/2004-01_r000c000: {message}",
        f"predict 2004-01_r000c000: {message}",
    ]


def test_one_unit_alone_is_told_as_it_is() -> None:
    receipt = failed("ndvi/2004-05_r000c000", "item A.2004122 has no asset 'NDVI' (it has QA); check the key `asset`")
    assert causes.lines([receipt], {"ndvi": 24}) == [f"cube ndvi/2004-05_r000c000: {receipt.message}"]


def test_items_of_which_each_lacks_another_asset_have_one_cause() -> None:
    found = causes.lines(
        [
            failed(f"ndvi/2004-0{n}_r000c000", f"item A.{n} has no asset 'NDVI' (it has Q{n}); check the key `asset`")
            for n in (1, 2, 3)
        ],
        {"ndvi": 24},
    )
    assert found == [
        (
            "cube ndvi/2004-01_r000c000 and 2 more units: 3 of 24 items of ndvi cannot be used: item A.1 has no asset "
            "'NDVI' (it has Q1); check the key `asset`"
        )
    ]
