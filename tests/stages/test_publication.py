"""The section `publication`: what it takes, what it says of itself, and what is gathered of the inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from soilscale import config
from soilscale.config import Config
from soilscale.errors import ConfigurationError
from soilscale.reports import summary
from soilscale.seasons import METEOROLOGICAL, Seasons
from soilscale.stages import publication

PLAIN: dict[str, Any] = {
    "name": "lab",
    "output": "/nowhere/run",
    "area": {"bbox": [5.0, 47.0, 6.0, 48.0]},
    "grid": {"crs": "EPSG:3035", "coarse": 24000, "ratio": 24},
    "period": ["2004-01", "2004-12"],
    "catalogs": {"lab": {"url": "https://example.org/catalog.json"}, "pc": {"preset": "planetary-computer"}},
    "sources": {
        "soil_moisture": {"role": "target", "catalog": "lab", "collection": "sm", "asset": "sm"},
        "lst": {"profile": "MOD11A2", "catalog": "pc"},
    },
}


def configured(**section: Any) -> Config:
    return config.validate(PLAIN | ({"publication": section} if section else {}))


def test_a_doi_is_taken_with_and_without_its_address_and_a_provider_by_its_name() -> None:
    for doi in ("10.1234/lab.5", "https://doi.org/10.1234/lab.5", "doi:10.1234/lab.5"):
        section = configured(doi=doi, providers=["The lab"]).publication
        assert section is not None
        assert section.doi == "10.1234/lab.5"
        assert (section.providers[0].name, section.providers[0].roles) == ("The lab", ("producer", "processor"))


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("root", "/data/run", "expected the URL by which readers reach the output"),
        ("doi", "12345", "doi"),
        ("licence", "CC-BY-4.0", "license"),
        ("license", "CC BY 4.0", "license"),
        ("log", "https://logs.example.org/", "expected an address with {run} for the number of the run"),
        ("root", "https://maria:secret@example.org", "contains a password"),
    ],
)
def test_what_is_no_publication_is_refused(key: str, value: str, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        configured(**{key: value})


def test_check_says_in_one_line_that_there_is_no_section_and_else_what_it_lacks() -> None:
    (line,) = publication.lacks(configured())
    assert "no licence, maker or citation" in line
    lines = publication.lacks(configured(license="other", citation="The lab (2026)"))
    assert [line.split()[2] for line in lines[:-1]] == ["providers", "contact", "root", "license_url"]
    assert "no licence is known of soil_moisture;" in lines[-1]


def test_licence_and_citation_of_an_input_come_from_its_profile() -> None:
    unknown, known = publication.inputs(configured())
    assert (unknown.name, unknown.license, unknown.citation) == ("soil_moisture", None, None)
    assert known.license is not None
    assert known.license.startswith("CC0-1.0")
    assert known.citation is not None
    assert known.citation.startswith("Wan, Z.")
    assert [row["license"] for row in publication.credits_of(configured())] == ["unknown", known.license]


def test_a_file_is_named_by_its_month_or_by_its_season_and_the_year_in_which_that_ends() -> None:
    seasons = Seasons(METEOROLOGICAL)
    assert publication.label(seasons, "month", np.datetime64("2005-07")) == "200507"
    assert publication.label(seasons, "season", np.datetime64("2005-06")) == "summer2005"
    assert publication.label(seasons, "season", np.datetime64("2004-12")) == "winter2005"


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (
            {"license": "CC-BY-4.0"},
            "License of the maps: CC-BY-4.0. The section publication",
        ),
        ({"license": "other", "license_url": "https://a.org/terms"}, "License of the maps: https://a.org/terms."),
        ({"doi": "10.5281/zenodo.1"}, "Cite the maps as: https://doi.org/10.5281/zenodo.1."),
        ({"citation": "Li 2024", "license": "CC0-1.0"}, "Cite the maps as: Li 2024. The method"),
    ],
)
def test_the_page_says_how_to_cite_and_the_licence_each_where_it_is_known(section: dict[str, str], said: str) -> None:
    made = configured(**section)
    sentence = summary.citation_words("moselle", "SMAP", publication.cited(made), publication.licensed(made))
    assert said in sentence
    assert ("sets a citation or a DOI" in sentence) == (not {"citation", "doi"} & set(section))
    assert ("a license." in sentence) == ("license" not in section)
