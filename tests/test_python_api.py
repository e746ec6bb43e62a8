"""What a person calls from Python: open, read_config, run, and the schema that editors read."""

from __future__ import annotations

import doctest
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pystac
import pytest
import xarray as xr
import yaml
from distributed import Client
from jsonschema import Draft202012Validator

import soilscale
from servers.faults import Faults
from servers.seaweed import BUCKET
from soilscale import storage
from soilscale.errors import ConfigurationError, DataError, ServiceError

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "docs" / "soilscale.schema.json"
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def test_the_import_loads_no_library_and_its_names_are_documented() -> None:
    code = (
        "import sys, soilscale; "
        "print(*sorted({'numpy', 'xarray', 'dask', 'pandas', 'pydantic', 'rasterio'} & set(sys.modules)), end=''); "
        "print(*soilscale.__all__)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["Output", "config_schema", "downscale", "open", "read_config", "run"]
    assert all(getattr(soilscale, name).__doc__ for name in soilscale.__all__)


def test_the_page_of_python_says_what_happens(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "demo").symlink_to(undisturbed.parent)
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(str(ROOT / "docs" / "python.md"), module_relative=False)
    assert result.attempted > 20
    assert not result.failed


def test_an_output_is_opened_lazily(undisturbed: Path) -> None:
    output = soilscale.open(undisturbed.parent / "run")
    assert output.maps.soil_moisture.chunks is not None
    assert dict(output.maps.sizes)["time"] == 12
    assert list(output.seasons.season.to_numpy()) == ["warm"]
    means = output.maps.soil_moisture.coarsen(y=25, x=25).mean()
    observed = output.coarse[output.target]
    known = np.isfinite(observed.to_numpy()) & np.isfinite(means.to_numpy())
    assert known.mean() > 0.5
    np.testing.assert_allclose(means.to_numpy()[known], observed.to_numpy()[known], atol=1e-6)
    assert set(output.cube.data_vars) == set(output.models["warm", "random_forest"]["features"])


def test_tables_models_and_the_catalog_of_an_output(undisturbed: Path) -> None:
    output = soilscale.open(str(undisturbed.parent / "run"))
    features = output.models["all", "random_forest"]["features"]
    assert set(features) < set(output.samples.columns)
    assert "random_forest" in set(output.predictions["algorithm"])
    assert set(output.table("accuracy").columns) >= {"season", "algorithm", "metric", "value"}
    rows = output.samples[output.samples["season"] == "warm"]
    predicted = output.model("warm", "random_forest").predict(rows[features].to_numpy("float32"))
    assert np.corrcoef(predicted, rows["soil_moisture"])[0, 1] > 0.5
    assert isinstance(output.catalog, pystac.Catalog)
    assert len(list(output.catalog.get_items(recursive=True))) == 13


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda output: output.maps, "has no maps yet; run `soilscale map`"),
        (lambda output: output.seasons, "has no maps yet"),
        (lambda output: output.cube, "`soilscale cube`"),
        (lambda output: output.samples, "has no training table yet; run `soilscale samples`"),
        (lambda output: output.predictions, "`soilscale train`"),
        (lambda output: output.models, "has no models yet"),
        (lambda output: output.table("accuracy"), "has no report yet"),
        (lambda output: output.catalog, "has no catalog of maps yet"),
    ],
)
def test_what_an_output_lacks_is_said_with_what_makes_it(
    ask: Any, words: str, undisturbed: Path, tmp_path: Path
) -> None:
    shutil.copy(undisturbed.parent / "run" / "run.yaml", tmp_path)
    with pytest.raises(DataError) as caught:
        ask(soilscale.open(tmp_path))
    assert words in str(caught.value)


def test_names_that_an_output_does_not_have_are_answered_with_the_nearest(undisturbed: Path) -> None:
    output = soilscale.open(undisturbed.parent / "run")
    with pytest.raises(DataError, match="did you mean 'accuracy'"):
        output.table("acuracy")
    with pytest.raises(DataError, match="did you mean 'warm/random_forest'"):
        output.model("warm", "randomforest")


def test_a_folder_without_a_run_and_an_address_that_is_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is no output of soilscale: it has no run\.yaml"):
        soilscale.open(tmp_path)
    with pytest.raises(ConfigurationError, match="expected a folder or bucket"):
        soilscale.open("https://example.org/run")


@pytest.mark.server
def test_an_output_in_a_bucket(undisturbed: Path, store: Faults) -> None:  # noqa: ARG001 - the store must stand
    home = undisturbed.parent / "run"
    for path in [home / "run.yaml", *home.glob("maps.zarr/**/*"), *home.glob("state/*.json")]:
        if path.is_file():
            storage.write_bytes(f"s3://{BUCKET}/run/{path.relative_to(home)}", path.read_bytes())
    points = pd.DataFrame({"name": ["a"], "lon": [108.8], "lat": [34.6]})
    there, here = (soilscale.open(url).extract(points) for url in (f"s3://{BUCKET}/run", home))
    pd.testing.assert_frame_equal(there, here)
    with pytest.raises(ServiceError, match="there is no bucket 'elsewhere'"):
        soilscale.open("s3://elsewhere/run")


def test_keys_are_laid_over_those_of_the_file(undisturbed: Path, tmp_path: Path) -> None:
    config = soilscale.read_config(
        undisturbed,
        output=tmp_path / "there",
        models={"seed": 7},
        seasons={"all_year": list(range(1, 13))},
        **{"maps.conserve": False},
    )
    assert config.output == str(tmp_path / "there")
    assert (config.models.seed, config.models.folds) == (7, 2)
    assert config.season_scheme.names == ("all_year",)
    assert not config.maps.conserve


def test_a_wrong_key_is_refused_with_the_nearest(undisturbed: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"(?s)models\.sed.*did you mean 'seed'"):
        soilscale.read_config(undisturbed, models={"sed": 7})


def test_run_leaves_what_is_complete_and_opens_the_output(undisturbed: Path, cluster: str, tmp_path: Path) -> None:
    shutil.copytree(undisturbed.parent, tmp_path / "world")
    path = tmp_path / "world" / undisturbed.name
    before = soilscale.open(tmp_path / "world" / "run").maps.soil_moisture.load()
    with Client(cluster, set_as_default=False) as client:
        output = soilscale.run(soilscale.read_config(path), client)
        assert client.status == "running"
    xr.testing.assert_identical(output.maps.soil_moisture.load(), before)


def test_the_published_schema_is_current() -> None:
    text = json.dumps(soilscale.config_schema(), indent=1, ensure_ascii=False) + "\n"
    assert SCHEMA.read_text(encoding="utf-8") == text, "write it anew: make schema"


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_examples_fit_the_schema(path: Path) -> None:
    Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"grid": {"crs": "EPSG:4326", "coarse": 0.25, "ratio": "25 km"}}, "grid.ratio"),
        ({"maps": {"conserved": True}}, "maps"),
        ({"period": "last-three-months"}, "period"),
    ],
)
def test_an_editor_sees_what_is_wrong(change: dict[str, Any], where: str) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    content = yaml.safe_load(EXAMPLES[0].read_text()) | change
    errors = list(Draft202012Validator(schema).iter_errors(content))
    assert [".".join(map(str, error.absolute_path)) for error in errors] == [where]


def test_an_editor_explains_keys() -> None:
    schema = soilscale.config_schema()
    sections = {"configuration": schema, **schema["$defs"]}
    bare = [
        f"{name}.{key}"
        for name, section in sections.items()
        for key, about in section["properties"].items()
        if "description" not in about
    ]
    assert bare == []
    assert sections["Maps"]["properties"]["interval"]["description"].endswith("null makes none; see Science.")
    assert "MOD13A3" in sections["SourceSection"]["properties"]["profile"]["enum"]
