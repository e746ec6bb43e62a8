"""Units as people write them, by the definitions of the units themselves."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soilscale import units
from soilscale.units import UnitError, canonical, linear

SPELLINGS = {
    "K": ["K", "Kelvin", "kelvin", "degK", "deg K", "K (kelvin)"],
    "degC": ["degC", "celsius", "Celsius", "°C", "deg C", "degrees_C", "degree_Celsius", "C", "centigrade", "celcius"],
    "degF": ["degF", "Fahrenheit", "°F", "F"],
    "%": ["%", "vol%", "Vol. %", "% vol", "percent", "per cent", "percent by volume", "weight %", "wt%"],
    "m3 m-3": ["m3 m-3", "m^3/m^3", "m3/m3", "m**3 m**-3", "m³/m³", "m³ m⁻³", "cm3/cm3", "m3.m-3"],
    "1": ["1", "unitless", "dimensionless", "(0 - 1)", "fraction", "[-]", "()"],
    "mm": ["mm", "millimeter", "millimetres"],
    "m": ["m", "metre", "Meters", "meters", "m of water equivalent", "m a.s.l.", "meters above sea level", "m AMSL"],
    "mm h-1": ["mm/h", "mm/hr", "mm hr-1", "mm h^-1", "mm per hour", "mm.h-1", "mm*h-1"],
    "mm day-1": ["mm/day", "mm d-1", "mm/d", "mm per day"],
    "mm month-1": ["mm/month", "mm month-1", "mm mon-1", "mm per month", "mm/mo"],
    "kg m-2 s-1": ["kg m-2 s-1", "kg/m2/s", "kg m**-2 s**-1", "kg/m^2/s", "kg.m-2.s-1"],
    "ft": ["ft", "foot", "feet", "FEET"],
    "US_survey_foot": ["US survey foot", "us-ft", "ftUS", "US_survey_foot", "Foot_US"],
    "g kg-1": ["g/kg", "g kg-1"],
    "DN": ["DN", "digital number", "counts"],
}


@pytest.mark.parametrize("wanted", SPELLINGS)
def test_every_spelling_of_a_unit_has_one_name(wanted: str) -> None:
    assert {text: canonical(text) for text in SPELLINGS[wanted]} == dict.fromkeys(SPELLINGS[wanted], wanted)


@pytest.mark.parametrize(
    ("stated", "wanted", "value", "converted"),
    [
        ("degC", "K", 20, 293.15),
        ("degF", "K", 68, 293.15),
        ("ft", "m", 1000, 304.8),
        ("US survey foot", "m", 3937, 1200),
        ("%", "m3 m-3", 25, 0.25),
        ("g/kg", "%", 412, 41.2),
        ("kg m-2", "mm", 7, 7),
        ("mm", "kg m-2", 7, 7),
        ("kg m-2 s-1", "mm day-1", 1, 86400),
        ("m s-1", "mm day-1", 1e-6, 86.4),
        ("m", "mm", 0.12, 120),
        ("mm/hr", "mm day-1", 0.5, 12),
        ("0.1 mm", "mm", 55, 5.5),
        ("tenths of mm", "mm", 55, 5.5),
        ("10-3 m", "mm", 7, 7),
        ("10^-3 m", "mm", 7, 7),
        ("10-6 m3/m3", "m3 m-3", 7, 7e-6),
        ("mm/pentad", "mm day-1", 10, 2),
        ("vol/vol", "m3 m-3", 0.2, 0.2),
        ("K/50", "K", 500, 10),
        ("kg/m^2/8day", "mm day-1", 16, 2),
        ("in", "mm", 1, 25.4),
        ("class", "class", 3, 3),
    ],
)
def test_values_are_converted(stated: str, wanted: str, value: float, converted: float) -> None:
    assert linear(stated, wanted)(value) == pytest.approx(converted, rel=1e-12)


@pytest.mark.parametrize("days", [28, 29, 30, 31])
def test_a_rate_per_month_is_of_the_days_of_its_month(days: int) -> None:
    assert linear("mm month-1", "mm day-1", month=days)(62) == pytest.approx(62 / days, rel=1e-12)
    assert linear("mm day-1", "mm month-1", month=days)(2) == pytest.approx(2 * days, rel=1e-12)


@pytest.mark.parametrize(
    ("stated", "wanted"),
    [
        *[("K", "mm"), ("foo", "K"), ("m", "foo"), ("DN", "K"), ("kg m-2", "m3 m-3"), ("mm", "mm day-1")],
        ("class", "1"),
        # Multiplied when stored, or a unit of 50 K; and a difference is no unit.
        *[("K*50", "K"), ("mm x 10", "mm"), ("3-2 m", "m"), ("% saturation", "m3 m-3")],
    ],
)
def test_what_has_another_dimension_is_refused(stated: str, wanted: str) -> None:
    with pytest.raises(UnitError):
        linear(stated, wanted)


@pytest.mark.parametrize("text", ["", "none", " - ", "n/a", None, 5, "unknown"])
def test_some_texts_state_no_unit(text: object) -> None:
    assert units.unit_text(text) is None


@given(st.text(max_size=90))
def test_no_text_is_too_odd(text: str) -> None:
    assert isinstance(canonical(text), str)
    assert units.is_known(text) in {True, False}


@pytest.mark.parametrize("text", ["10**10**10", "2**(10**10)", "9**9999", "(" * 70, "0", "nan", "inf m"])
def test_what_would_take_for_ever_is_no_unit(text: str) -> None:
    assert not units.is_known(text)


def test_pint_is_loaded_only_when_a_text_has_to_be_understood() -> None:
    code = "import sys; from soilscale import units; units.linear('Kelvin', 'K'); print('pint' in sys.modules)"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout == "False\n"
