"""Stations from their files to monthly means, with every value that is left out accounted for."""

import io
import logging
import zipfile

import fsspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from checkout import REAL
from soilscale.config.sections import Validation
from soilscale.errors import DataError
from soilscale.reports import insitu
from soilscale.reports.insitu import agreement, screening
from soilscale.reports.insitu.files import RECORD
from soilscale.tasks import reference_data

STATIONS = REAL / "stations"
HEADER = "station,longitude,latitude,time,value"
STM = "NET_NET_Site_sm_0.050000_0.050000_Probe-A_20040101_20041231.stm"
PLACE = "NET NET Site 48.50000 6.25000 210.00 0.05 0.05 Probe-A"


def csv(*rows: str, header: str = HEADER) -> pd.DataFrame:
    return insitu.read_csv("\n".join([header, *rows]).encode(), "stations.csv")


def daily(
    first: str, values: list[float] | np.ndarray[tuple[int], np.dtype[np.float64]], step: str = "D", **same: object
) -> pd.DataFrame:
    """Records of one sensor, from a first time on."""
    frame = pd.DataFrame({"time": pd.date_range(first, periods=len(values), freq=step), "value": values})
    known = {
        "network": "",
        "station": "A",
        "sensor": "",
        "longitude": 6.0,
        "latitude": 48.0,
        "depth_from": 0.05,
        "depth_to": 0.05,
        "unit": "m3 m-3",
        "flag": "",
    }
    return frame.assign(**(known | same))[list(RECORD)]


def screened(*tables: pd.DataFrame, **rules: object) -> tuple[pd.DataFrame, dict[str, int]]:
    """Monthly means, and the reasons with their counts."""
    found = insitu.measured([(f"table {i}", table) for i, table in enumerate(tables)], insitu.Rules(**rules))
    left_out = found.left_out.table()
    return found.monthly, {reason: int(n) for reason, n in left_out[["reason", "count"]].itertuples(index=False)}


def of(months: pd.DataFrame) -> dict[str, float]:
    return {f"{time:%Y-%m}": value for time, value in zip(months["time"], months["observed"], strict=True)}


# comma-separated values


def test_a_table_of_the_five_columns_is_read_with_what_it_does_not_say_left_open() -> None:
    records = csv("A,6.25,48.5,2004-03-01,0.23")
    assert tuple(records.columns) == RECORD
    row = records.iloc[0]
    assert (row["station"], row["longitude"], row["latitude"], row["value"]) == ("A", 6.25, 48.5, 0.23)
    assert (row["network"], row["sensor"], row["unit"], row["flag"]) == ("", "", "m3 m-3", "")
    assert row["time"] == pd.Timestamp("2004-03-01")
    assert np.isnan([row["depth_from"], row["depth_to"]]).all()


def test_optional_columns_in_any_order_with_blanks_and_capitals() -> None:
    header = "Value, Unit ,flag,Depth,time,latitude,longitude,station,network,sensor"
    row = csv("23, vol% ,G,0.05,2004-03-01T06:00,48.5,6.25,007,NA,probe", header=header).iloc[0]
    assert (row["station"], row["network"], row["unit"], row["flag"]) == ("007", "NA", "vol%", "G")
    assert (row["depth_from"], row["depth_to"], row["sensor"]) == (0.05, 0.05, "probe")


def test_a_depth_interval_goes_before_a_depth() -> None:
    header = f"{HEADER},depth,depth_from,depth_to"
    both = csv("A,6,48,2004-03-01,0.2,0.05,0.0,0.1", "A,6,48,2004-03-02,0.2,0.05,,", header=header)
    assert both[["depth_from", "depth_to"]].to_numpy().tolist() == [[0.0, 0.1], [0.05, 0.05]]


@pytest.mark.parametrize(
    ("written", "utc"),
    [
        ("2004-03-01", "2004-03-01T00:00"),
        ("2004-03", "2004-03-01T00:00"),
        ("2004-03-01T06:30", "2004-03-01T06:30"),
        ("2004-03-01 06:30:15", "2004-03-01T06:30:15"),
        ("2004-03-01T06:30Z", "2004-03-01T06:30"),
        ("2004-03-01T06:30+08:00", "2004-02-29T22:30"),
        ("2004-02-29T22:30-0500", "2004-03-01T03:30"),
    ],
)
def test_times_are_utc_unless_they_name_their_zone(written: str, utc: str) -> None:
    assert csv(f"A,6,48,{written},0.2")["time"].iloc[0] == pd.Timestamp(utc)


def test_zones_may_differ_within_a_table() -> None:
    records = csv("A,6,48,2004-03-01T00:00+01:00,0.2", "A,6,48,2004-07-01T00:00+02:00,0.2", "A,6,48,2004-07-02,0.2")
    assert list(records["time"]) == [pd.Timestamp(t) for t in ("2004-02-29T23:00", "2004-06-30T22:00", "2004-07-02")]


def test_semicolons_a_byte_order_mark_and_latin_letters_are_read() -> None:
    text = "station;longitude;latitude;time;value\nGröna;6.25;48.5;2004-03-01;0.23\n"
    end = text.replace("\n", "\r\n")
    for data in (text.encode("utf-8-sig"), text.encode("latin-1"), end.encode(), text.encode("utf-16")):
        assert insitu.read_csv(data, "s.csv")["station"].tolist() == ["Gröna"]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_decimals_have_commas_where_other_marks_part_the_fields(separator: str) -> None:
    rows = ["station;longitude;latitude;time;value;depth", "A, left;6,25;-48,5;2004-03-01T12:00;0,23;0,05"]
    table = insitu.read_csv("\n".join(rows).replace(";", separator).encode(), "s.csv")
    assert table[["station", "longitude", "latitude", "value", "depth_to"]].to_numpy().tolist() == [
        ["A, left", 6.25, -48.5, 0.23, 0.05]
    ]


@pytest.mark.parametrize("nothing", ["", "NaN", "NA", "null", "-"])
def test_a_value_may_be_missing(nothing: str) -> None:
    assert np.isnan(csv(f"A,6,48,2004-03-01,{nothing}")["value"].iloc[0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        (HEADER, "has no row below its header"),
        (
            "station,lon,lat,time,value\nA,6,48,2004-03-01,0.2",
            "lacks the columns longitude, latitude; it has station, lon",
        ),
        (
            f"{HEADER}\nA,6,48,2004-03-01,0.2\nA,6,48,March,0.2",
            r"line 3 \(1 such\): 'March' is not a time",
        ),
        (f"{HEADER}\nA,6,48,01/03/2004,0.2", "'01/03/2004' is not a time; write 2004-03-01"),
        (f"{HEADER}\nA,6,48,,0.2", "'' is not a time"),
        (f"{HEADER}\nA,6,48,2004-03-01,wet", "'wet' is no value; write numbers like 0.23"),
        (f"{HEADER}\nA,6E,48,2004-03-01,0.2", "'6E' is no longitude"),
        (f"{HEADER},depth\nA,6,48,2004-03-01,0.2,5 cm", "'5 cm' is no depth"),
        (f"{HEADER}\n ,6,48,2004-03-01,0.2", "is not a name; every row must name its station"),
        (f"{HEADER}\nA,6,48,2004-03-01,0.2,9,9", "line 2 has 7 fields, its header 5: .*as many fields as the header"),
        (f"{HEADER}\nA,6,48,2004-03-01,0.2\n\nA,6,48,2004-03-02", "line 4 has 4 fields, its header 5"),
        (f"{HEADER}\nA,6,48,2004-03-01,0,2", "line 2 has 6 fields, its header 5: .*write 0.23 and not 0,23"),
        (
            f"{HEADER}\nWei, upper,6,48,2004-03-01,0.2",
            "line 2 has 6 fields.* quotation marks around a name that contains a comma",
        ),
        (f'{HEADER}\n"A,6,48,2004-03-01,0.2', "line 2: is not a row of a table"),
        (f"{HEADER},value\nA,6,48,2004-03-01,0.2,0.3", "names a column twice"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_the_place_and_the_remedy(text: str, said: str) -> None:
    with pytest.raises(DataError, match=said) as refused:
        insitu.read_csv(text.encode(), "stations.csv")
    assert str(refused.value).startswith("stations.csv")


# ISMN


def lines(*values: str) -> list[str]:
    return [f"2004/03/{day:02d} 00:00 {value}" for day, value in enumerate(values, 1)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\r"])
def test_header_and_values_with_any_end_of_line(end: str) -> None:
    data = end.join([PLACE, *lines("  0.2300 G M", "  0.2400 D03,D05 M "), ""]).encode()
    records = insitu.read_stm(data, f"NET/Site/{STM}")
    assert tuple(records.columns) == RECORD
    assert records["value"].tolist() == [0.23, 0.24]
    assert records["flag"].tolist() == ["G", "D03,D05"]
    assert list(records["time"]) == [pd.Timestamp("2004-03-01"), pd.Timestamp("2004-03-02")]
    first = records.iloc[0]
    assert (first["network"], first["station"], first["sensor"], first["unit"]) == ("NET", "Site", "Probe-A", "m3 m-3")
    assert (first["longitude"], first["latitude"]) == (6.25, 48.5)
    assert (first["depth_from"], first["depth_to"]) == (0.05, 0.05)


def test_ceop_in_separate_files() -> None:
    row = "2004/03/01 00:00 2004/03/01 00:07 CSE NET Site 48.50000 -6.25000 210.00 0.05 0.08 {} {} M"
    data = "\n".join([row.format("0.2300", "G"), row.format("-9999.0", "M").replace("03/01", "03/02")]).encode()
    records = insitu.read_stm(data, STM)
    assert records["value"].tolist() == [0.23, -9999.0]
    assert records["flag"].tolist() == ["G", "M"]
    assert records["time"].tolist() == [pd.Timestamp("2004-03-01"), pd.Timestamp("2004-03-02")]
    assert records[["longitude", "latitude", "depth_to"]].iloc[0].tolist() == [-6.25, 48.5, 0.08]


def test_a_file_of_several_sensors_is_refused() -> None:
    row = "2004/03/0{} 00:00 2004/03/01 00:07 CSE NET {} 48.50000 6.25000 210.00 0.05 0.08 0.2 G M"
    with pytest.raises(DataError, match="holds more than one sensor"):
        insitu.read_stm("\n".join([row.format(1, "Site"), row.format(2, "Other")]).encode(), STM)


def test_a_ceop_line_that_lacks_a_column_is_refused_with_its_number() -> None:
    row = "2004/03/0{} 00:00 2004/03/01 00:07 CSE NET Site 48.50000 6.25000 {}0.05 0.08 0.2 G M"
    with pytest.raises(DataError, match=r"line 2 lacks a column: 'CSE NET Site 48.50000 6.25000 0.05"):
        insitu.read_stm("\n".join([row.format(1, "210.00 "), row.format(2, "")]).encode(), STM)


def test_names_with_commas_tabs_and_empty_fields_at_the_end_are_read() -> None:
    assert csv('"Wei, upper",6,48,2004-03-01,0.2')["station"].tolist() == ["Wei, upper"]
    assert csv("A,6,48,2004-03-01,0.2,,")["value"].tolist() == [0.2]
    assert csv("A\t6\t48\t2004-03-01\t0.2", header=HEADER.replace(",", "\t"))["value"].tolist() == [0.2]
    assert csv("A,246,48,2004-03-01,0.2")["longitude"].tolist() == [-114.0]


def test_station_names_of_several_words_and_lines_without_the_providers_flag() -> None:
    place = PLACE.replace("Site", "Upper Meadow 2")
    records = insitu.read_stm("\n".join([place, *lines("0.23 G", "0.24 U M")]).encode(), STM)
    assert records["station"].unique().tolist() == ["Upper Meadow 2"]
    assert records["flag"].tolist() == ["G", "U"]


def test_a_header_alone_is_a_sensor_without_records() -> None:
    records = insitu.read_stm(PLACE.encode(), STM)
    assert records.empty
    _, reasons = screened(records)
    assert reasons == {"no record below the header": 1}


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("", STM, "is empty; download it again"),
        ("station,value\nA,0.2", STM, "'station,value' is not an ISMN header"),
        (f"{PLACE}\n2004/03/01 00:00 wet G M", STM, r"line 2 \(1 such\): 'wet' is no value"),
        (f"{PLACE}\n2004/03/01 0", STM, "line 2 has 2 words, expected 4 or 5: '2004/03/01 0'"),
        (f"{PLACE}\n2004/03/01 00:00 0.2 G M\n2004/03/02 00:00 0.2", STM, "line 3 has 3 words, expected 4 or 5"),
        (f"{PLACE}\n2004/03/01 00:00 0.2 G M 7", STM, "line 2 has 6 words, expected 4 or 5"),
        (f"{PLACE}\n2004/03/01 00:00 G M", STM, r"line 2 \(1 such\): 'G' is no value"),
        (f"{PLACE}\n2004/13/01 00:00 0.2 G M", STM, "'2004/13/01 00:00' is not a time; write 2004/03/01 12:00"),
        (PLACE, "site.stm", "the name does not say that the file holds soil moisture"),
        (PLACE, STM.replace("_sm_", "_ts_"), "the name does not say that the file holds soil moisture"),
    ],
)
def test_an_ismn_file_that_cannot_be_used_is_refused(text: str, name: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        insitu.read_stm(text.encode(), name)


def test_other_variables_and_files_of_an_archive_are_passed_over() -> None:
    wanted = [f"NET/Site/{STM}", STM.upper().replace(".STM", ".stm"), "unclear.stm"]
    others = [STM.replace("_sm_", "_ts_"), f"__MACOSX/._{STM}", "NET_NET_Site_static_variables.csv", "Readme.txt"]
    assert [name for name in [*wanted, *others] if insitu.is_soil_moisture(name)] == wanted


def test_an_archive_gives_its_soil_moisture_files() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"NET/Site/{STM}", "\n".join([PLACE, *lines("0.23 G M")]))
        archive.writestr(f"NET/Site/{STM.replace('_sm_', '_ts_')}", "anything")
        archive.writestr("Metadata.xml", "<xml/>")
    ((name, data),) = insitu.unzipped(buffer.getvalue(), "ismn.zip")
    assert insitu.read_stm(data, name)["value"].tolist() == [0.23]
    with pytest.raises(DataError, match=r"ismn\.zip is not a ZIP archive or is damaged"):
        list(insitu.unzipped(buffer.getvalue()[:60], "ismn.zip"))


# screening


def test_a_month_is_the_mean_of_its_days_however_often_they_were_read() -> None:
    hourly = daily("2004-03-01", np.full(24 * 30, 0.2), "h")
    wet = daily("2004-03-31", [0.51], "h")
    months, reasons = screened(pd.concat([hourly, wet]), outliers=None)
    assert of(months) == {"2004-03": pytest.approx((30 * 0.2 + 0.51) / 31)}
    assert reasons == {}


def test_the_order_of_records_does_not_matter() -> None:
    records = daily("2004-03-01", np.linspace(0.1, 0.3, 90))
    mixed = records.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(screened(records)[0], screened(mixed)[0])


def test_utc_days_make_the_month() -> None:
    records = csv(*(f"A,6,48,{day}T00:30+08:00,0.2" for day in pd.date_range("2004-03-02", "2004-04-01").date))
    assert list(of(screened(records)[0])) == ["2004-03"]


@pytest.mark.parametrize(("days", "counts"), [(15, False), (16, True)])
def test_a_month_needs_its_share_of_days(days: int, counts: bool) -> None:
    months, reasons = screened(pd.concat([daily("2004-02-01", np.full(29, 0.2)), daily("2004-03-01", [0.3] * days)]))
    assert ("2004-03" in of(months)) == counts
    assert reasons == ({} if counts else {"too few days in the month": 1})
    assert "2004-03" in of(screened(daily("2004-03-01", [0.3] * days), min_valid_fraction=0.4)[0])


@pytest.mark.parametrize(("step", "values"), [("D", 31), ("10D", 3), ("31D", 1)])
def test_the_step_of_a_sensor_says_how_many_values_make_a_month(step: str, values: int) -> None:
    records = daily("2004-03-01", np.full(12 if step != "D" else 90, 0.2), step)
    first = records[records["time"] < "2004-04-01"]
    assert len(first) in {values, values + 1}
    assert "2004-03" in of(screened(records)[0])


def test_monthly_means_stand_for_their_months_february_too() -> None:
    records = csv(*(f"A,6,48,{month}-01,0.2" for month in pd.period_range("2004-01", "2004-12", freq="M")))
    assert len(screened(records, min_valid_fraction=1.0)[0]) == 12


def test_a_ten_day_sensor_that_lacks_two_of_three_values_has_no_month() -> None:
    dates = ["2004-03-08", "2004-03-18", "2004-03-28", "2004-04-08", "2004-04-18", "2004-04-28", "2004-05-08"]
    months, reasons = screened(csv(*(f"A,6,48,{date},0.2" for date in dates)))
    assert list(of(months)) == ["2004-03", "2004-04"]
    assert reasons == {"too few days in the month": 1}


def test_missing_values_and_their_codes_are_counted() -> None:
    values = np.full(31, 0.2)
    values[:3] = np.nan, -9999, np.inf
    months, reasons = screened(daily("2004-03-01", values))
    assert of(months) == {"2004-03": pytest.approx(0.2)}
    assert reasons == {"missing": 3}


def test_missing_days_count_towards_a_sensors_step() -> None:
    values = np.full(31, np.nan)
    values[[0, 10, 20]] = 0.2
    months, reasons = screened(daily("2004-03-01", values))
    assert months.empty
    assert reasons == {"missing": 28, "too few days in the month": 1}


def test_flags_are_accepted_only_if_all_parts_are() -> None:
    flags = ["G", "U", "", "D03", "C01", "D03,D05", "G,D03", "M"]
    records = daily("2004-03-01", np.arange(1, 9) / 10).assign(flag=flags)
    found = insitu.measured([("x", records)], insitu.Rules(min_valid_fraction=0))
    assert of(found.monthly) == {"2004-03": pytest.approx(0.2)}
    (row,) = found.left_out.table().to_dict("records")
    assert (row["reason"], row["count"], row["of"]) == ("flagged", 5, "values")
    assert set(row["detail"].split(", ")) == {"D03 1", "C01 1", "D03,D05 1", "G,D03 1", "M 1"}
    more = screened(records, min_valid_fraction=0, flags=("G", "U", "D03"))
    assert of(more[0]) == {"2004-03": pytest.approx(np.mean([0.1, 0.2, 0.3, 0.4, 0.7]))}


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [
        ("m3 m-3", 0.2, 0.2),
        ("m^3/m^3", 0.2, 0.2),
        ("m³ m⁻³", 0.2, 0.2),
        ("m^3*m^-3", 0.2, 0.2),
        ("cm3/cm3", 0.2, 0.2),
        ("vol%", 20, 0.2),
        ("Vol. %", 20, 0.2),
        ("% vol", 20, 0.2),
    ],
)
def test_volumetric_units_become_cubic_metres(unit: str, value: float, expected: float) -> None:
    months, reasons = screened(daily("2004-03-01", np.full(31, value), unit=unit))
    assert of(months) == {"2004-03": pytest.approx(expected)}
    assert months["unit"].tolist() == ["m3 m-3"]
    assert reasons == {}


@pytest.mark.parametrize("unit", ["%", "% relative humidity", "kPa", "bananas"])
def test_other_units_stay_as_they_are(unit: str) -> None:
    months, reasons = screened(daily("2004-03-01", np.full(31, 40.0), unit=unit))
    assert of(months) == {"2004-03": pytest.approx(40)}
    assert months["unit"].tolist() == [unit]
    assert reasons == {}


def test_percents_without_a_unit_are_doubted_whole_and_the_remedy_told(caplog: pytest.LogCaptureFixture) -> None:
    values = np.r_[np.full(28, 23.0), 0.9, 0.8, 0.7]
    with caplog.at_level(logging.WARNING, logger="soilscale"):
        found = insitu.measured([("x", daily("2004-03-01", values))])
    assert found.monthly.empty
    (row,) = found.left_out.table().to_dict("records")
    assert (row["reason"], row["count"]) == ("values above 1 m3 m-3, as if they were in %", 31)
    assert row["detail"].startswith("unit m3 m-3, values to 23; write their unit into the column unit: vol%")
    assert "as if they were in %: A; write" in caplog.text


def test_single_values_above_one_are_impossible_and_the_others_count() -> None:
    values = np.full(31, 0.2)
    values[:3] = 23.0
    found = insitu.measured([("x", daily("2004-03-01", values))])
    assert found.monthly["observed"].tolist() == pytest.approx([0.2])
    (row,) = found.left_out.table().to_dict("records")
    assert (row["reason"], row["count"]) == ("impossible", 3)
    assert row["detail"] == "outside 0 to 1 m3 m-3, with the unit m3 m-3"


def test_relative_humidity_is_not_negative() -> None:
    values = np.full(31, 50.0)
    values[4] = -3
    assert screened(daily("2004-03-01", values, unit="%"))[1] == {"impossible": 1}


def test_a_record_given_twice_counts_once() -> None:
    records = daily("2004-03-01", np.linspace(0.1, 0.3, 31))
    months, reasons = screened(pd.concat([records, records.iloc[:5]]))
    assert of(months) == {"2004-03": pytest.approx(0.2)}
    assert reasons == {"given twice": 5}


def test_contradictory_values_of_one_time_are_all_left_out() -> None:
    records = daily("2004-03-01", np.full(31, 0.2))
    months, reasons = screened(pd.concat([records, records.iloc[:2].assign(value=0.4)]))
    assert of(months) == {"2004-03": pytest.approx(0.2)}
    assert reasons == {"different values at one time": 4}


def test_a_flagged_value_does_not_contradict() -> None:
    records = daily("2004-03-01", np.full(31, 0.2))
    months, reasons = screened(pd.concat([records, records.iloc[:2].assign(value=0.4, flag="D06")]))
    assert of(months) == {"2004-03": pytest.approx(0.2)}
    assert reasons == {"flagged": 2}


def test_sensors_at_one_depth_are_told_apart_by_name() -> None:
    one, two = (daily("2004-03-01", np.full(31, v), sensor=s) for s, v in (("a", 0.2), ("b", 0.4)))
    months, reasons = screened(pd.concat([one, two]))
    assert dict(zip(months["sensor"], months["observed"], strict=True)) == {
        "a": pytest.approx(0.2),
        "b": pytest.approx(0.4),
    }
    assert reasons == {}


def test_outliers_lie_beyond_three_interquartile_ranges() -> None:
    # quartiles of 0.200 .. 0.230 by steps of 0.001 and two more are near .208 and .223: reach from about .16 to .27
    values = np.append(np.arange(200, 229) / 1000, [0.26, 0.9])
    first, third = np.quantile(values, [0.25, 0.75])
    assert first - 3 * (third - first) < 0.2
    assert 0.26 < third + 3 * (third - first) < 0.9
    months, reasons = screened(daily("2004-03-01", values))
    assert reasons == {"outlier": 1}
    assert of(months) == {"2004-03": pytest.approx(values[:-1].mean())}
    assert screened(daily("2004-03-01", values), outliers=None)[1] == {}
    assert screened(daily("2004-03-01", values), outliers=1)[1] == {"outlier": 2}


def test_a_sensor_that_hardly_moves_and_a_short_one_have_no_outliers() -> None:
    still = np.full(31, 0.2)
    still[3] = 0.3
    assert screened(daily("2004-03-01", still))[1] == {}
    assert screened(daily("2004-03-01", [0.1, 0.11, 0.1, 0.12, 0.9]), min_valid_fraction=0)[1] == {}


@pytest.mark.parametrize(
    ("depths", "rule", "counts"),
    [
        ((0.05, 0.05), (0, 0.1), True),
        ((0.1, 0.1), (0, 0.1), True),
        ((0.0, 0.1), (0, 0.1), True),
        ((0.0, 0.19), (0, 0.1), False),
        ((0.2, 0.2), (0, 0.1), False),
        ((0.05, 0.05), (0.1, 0.3), False),
        ((0.0508, 0.0508), (0, 0.05), False),
        ((np.nan, np.nan), (0, 0.1), True),
    ],
)
def test_a_sensor_lies_whole_between_the_depths(
    depths: tuple[float, float], rule: tuple[float, float], counts: bool
) -> None:
    records = daily("2004-03-01", np.full(31, 0.2), depth_from=depths[0], depth_to=depths[1])
    months, reasons = screened(records, depth=rule)
    assert len(months) == counts
    assert reasons == ({} if counts else {"another depth": 31})


def test_a_depth_in_centimetres_is_another_depth_and_is_told() -> None:
    left_out = insitu.measured([("x", daily("2004-03-01", [0.2], depth_from=5, depth_to=5))]).left_out.table()
    assert left_out[["reason", "detail"]].to_numpy().tolist() == [["another depth", "5 to 5 m"]]


def test_a_station_that_moves_is_left_out() -> None:
    records = pd.concat([daily("2004-03-01", [0.2] * 31), daily("2004-04-01", [0.2] * 30, longitude=6.2)])
    months, reasons = screened(records)
    assert months.empty
    assert reasons == {"several places under one name": 61}
    assert len(screened(records.assign(longitude=np.linspace(6.0, 6.009, 61)))[0]) == 2


def test_no_record_at_all_gives_empty_tables() -> None:
    found = insitu.measured([])
    assert found.monthly.empty
    assert tuple(found.monthly.columns) == screening.MONTHLY
    assert tuple(found.left_out.table().columns) == screening.LEFT_OUT


def test_a_file_that_cannot_be_read_is_told_and_the_others_count() -> None:
    found = insitu.measured([("a.stm", DataError("a.stm is empty")), ("b", daily("2004-03-01", [0.2] * 31))])
    assert len(found.monthly) == 1
    (row,) = found.left_out.table().to_dict("records")
    assert (row["station"], row["reason"], row["of"], row["detail"]) == (
        "a.stm",
        "cannot be read",
        "files",
        "a.stm is empty",
    )


def test_the_account_adds_up_by_station_and_reason() -> None:
    account = insitu.Account()
    account.add("n", "B", "flagged", 2, detail="D03 2")
    account.add("n", "A", "missing", 1)
    account.add("n", "B", "flagged", 3, detail="D05 3")
    account.add("n", "B", "missing", 0)
    assert account.table().to_numpy().tolist() == [
        ["n", "A", "missing", 1, "values", ""],
        ["n", "B", "flagged", 5, "values", "D03 2; D05 3"],
    ]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 120),
            st.one_of(st.floats(0, 1), st.just(np.nan), st.floats(1.01, 99)),
            st.sampled_from(["", "G", "D03"]),
        ),
        min_size=1,
        max_size=60,
    )
)
def test_every_value_is_either_counted_or_accounted_for(rows: list[tuple[int, float, str]]) -> None:
    records = daily("2004-01-01", [value for _, value, _ in rows])
    start = pd.Timestamp("2004-01-01")
    records = records.assign(
        time=[start + np.timedelta64(12 * step, "h") for step, _, _ in rows], flag=[flag for *_, flag in rows]
    )
    found = insitu.measured([("x", records)], insitu.Rules(min_valid_fraction=0))
    table = found.left_out.table()
    gone = int(table.loc[table["of"] == "values", "count"].sum())
    assert 0 <= gone <= len(rows)
    assert found.monthly.empty == (gone == len(rows))
    assert found.monthly["observed"].between(0, 1).all()


# the configuration's rules, and a store


def test_a_folder_of_ismn_files_may_lie_on_a_store() -> None:
    store = fsspec.filesystem("memory")
    store.pipe(
        {
            f"/stations-test/NET/Site/{STM}": "\n".join([PLACE, *lines("0.23 G M")]).encode(),
            f"/stations-test/NET/Site/{STM.replace('Probe-A', 'Probe-B')}": b"damaged",
        }
    )
    found = insitu.measured(
        reference_data.station_records("memory://stations-test"), insitu.Rules(min_valid_fraction=0)
    )
    store.rm("/stations-test", recursive=True)
    assert of(found.monthly) == {"2004-03": pytest.approx(0.23)}
    (row,) = found.left_out.table().to_dict("records")
    assert (row["station"], row["reason"]) == (f"NET/Site/{STM.replace('Probe-A', 'Probe-B')}", "cannot be read")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("outliers", 0, "greater than 0"),
        ("min_valid_fraction", 1.5, "less than or equal to 1"),
        ("min_years", 1, "greater than or equal to 2"),
    ],
)
def test_rules_that_make_no_sense_are_refused(key: str, value: object, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Validation.model_validate({key: value})


def test_the_configurations_rules_are_those_of_the_reader_by_default() -> None:
    told = Validation()
    assert insitu.Rules() == insitu.Rules(told.depth, told.flags, told.outliers, told.min_valid_fraction)
    assert told.min_years == agreement.MIN_YEARS


# the real files


@pytest.fixture(scope="module")
def real() -> dict[str, pd.DataFrame]:
    if not STATIONS.is_dir():
        pytest.skip("../shared/data/stations is not there")
    files = sorted(STATIONS.rglob("*.stm"))
    return {path.name: insitu.read_stm(path.read_bytes(), path.name) for path in files}


def test_the_real_files_are_read_whole(real: dict[str, pd.DataFrame]) -> None:
    told = {
        (table["station"].iloc[0], len(table), round(float(table["value"].mean()), 6), str(table["time"].max()))
        for table in real.values()
    }
    # values of the package ismn 1.5.4 for the same files
    assert told == {
        ("ARM-1", 6865, 0.131026, "2018-08-09 23:00:00"),
        ("Barrow-ARM", 7059, 0.228368, "2018-08-09 08:00:00"),
        ("CST_01", 15927, 0.336874, "2010-07-31 23:00:00"),
        ("CST_02", 18090, 0.310018, "2010-07-31 23:00:00"),
        ("Abrams", 55167, 0.1529, "2013-12-31 23:00:00"),
    }


def test_flags_and_depths_of_the_real_files(real: dict[str, pd.DataFrame]) -> None:
    found = insitu.measured(real.items())
    assert found.monthly["station"].value_counts().to_dict() == {"Abrams": 77, "CST_01": 16, "CST_02": 16}
    told = found.left_out.table().set_index(["station", "reason"])["count"].to_dict()
    assert told["ARM-1", "another depth"] == 6865
    assert told["CST_01", "flagged"] == 15927 - 9407
    assert told["CST_02", "flagged"] == 18090 - 9801
    assert told["Abrams", "flagged"] == 55167 - 46231
    deeper = insitu.measured(real.items(), insitu.Rules(depth=(0, 0.25)))
    assert set(deeper.monthly["station"]) == {"ARM-1", "Barrow-ARM", "CST_01", "CST_02", "Abrams"}


def test_a_month_of_a_real_station_by_plain_means(real: dict[str, pd.DataFrame]) -> None:
    (table,) = (table for name, table in real.items() if "Abrams" in name)
    june = table[(table["time"] >= "2010-06-01") & (table["time"] < "2010-07-01") & (table["flag"] == "U")]
    expected = june.groupby(june["time"].dt.date)["value"].mean().mean()
    assert of(insitu.measured([("x", table)]).monthly)["2010-06"] == pytest.approx(expected)
