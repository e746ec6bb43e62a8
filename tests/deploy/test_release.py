"""A release: the same bytes at each build, what it says of itself, and that what is installed from it works."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import charts
import soilscale
from checkout import ROOT
from tools import helm

sys.path.append(str(ROOT / "deploy"))
import release

pytestmark = pytest.mark.deploy

EPOCH, REVISION = 1_700_000_000, "0" * 40
URL = "https://soilscale.example.org/source"


def built(folder: Path, url: str = URL) -> dict[str, bytes]:
    """Name of each file of a release -> its bytes."""
    return {path.name: path.read_bytes() for path in release.release(folder, str(helm()), url, EPOCH, REVISION)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("release") / "first"
    built(place)
    return place


@pytest.fixture(scope="module")
def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def content(files: dict[str, bytes], end: str) -> Any:
    (name,) = (name for name in files if name.endswith(end))
    return json.loads(files[name])


def test_two_builds_are_the_same_to_the_byte(files: dict[str, bytes], tmp_path: Path) -> None:
    again = built(tmp_path / "second")
    assert sorted(again) == sorted(files)
    assert [name for name in files if files[name] != again[name]] == []
    number = soilscale.__version__
    assert set(files) == {
        f"soilscale-{number}-py3-none-any.whl",
        f"soilscale-{number}.tar.gz",
        f"soilscale-{number}.tgz",
        f"soilscale-{number}-packages.cdx.json",
        f"soilscale-{number}-chart.cdx.json",
        f"soilscale-{number}.provenance.json",
        "SHA256SUMS",
    }


def test_the_sums_and_the_statement_name_every_file_by_its_digest(files: dict[str, bytes]) -> None:
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != "SHA256SUMS"}
    told = dict(reversed(line.split("  ")) for line in files["SHA256SUMS"].decode().splitlines())
    assert told == digests
    statement = content(files, ".provenance.json")
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    subjects = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    assert subjects == {name: one for name, one in digests.items() if not name.endswith(".provenance.json")}
    source, *locks = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert source == {"uri": f"git+{URL}", "digest": {"gitCommit": REVISION}}
    for lock in locks:
        path = ROOT / lock["uri"].removeprefix("file:")
        assert lock["digest"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_bills_of_materials_are_valid_and_hold_every_pin(files: dict[str, bytes]) -> None:
    for name, data in files.items():
        if name.endswith(".cdx.json"):
            assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None, name
    lock = (ROOT / "deploy" / "requirements.txt").read_text(encoding="utf-8")
    pins = dict(re.findall(r"^([\w.-]+)==([^ ]+)", lock, re.MULTILINE))
    packages = content(files, "-packages.cdx.json")
    assert {one["name"]: one["version"] for one in packages["components"]} == pins
    assert packages["metadata"]["component"]["name"] == "soilscale"
    assert content(files, "-chart.cdx.json")["metadata"]["component"]["version"] == soilscale.__version__


def test_the_packed_chart_renders_as_the_one_of_the_checkout(folder: Path) -> None:
    (packed,) = folder.glob("*.tgz")
    told = charts.call("template", "moselle", packed, "--values", charts.MOSELLE, "--kube-version", "1.34")
    assert told.stdout == charts.template([charts.MOSELLE]).stdout
    with tarfile.open(packed) as archive:
        chart = archive.extractfile("soilscale/Chart.yaml")
        assert chart is not None
        about = yaml.safe_load(chart.read())
    assert (about["home"], about["sources"]) == (URL, [URL])
    assert about["maintainers"]
    assert about["icon"].startswith("data:image/svg+xml,")


def test_a_folder_with_files_of_an_earlier_build_is_refused(folder: Path) -> None:
    with pytest.raises(SystemExit, match="is not empty"):
        built(folder)


def test_what_is_installed_from_the_wheel_runs_away_from_the_checkout(
    folder: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """The wheel is made of the source distribution, so both hold all that a run needs."""
    (wheel,) = folder.glob("*.whl")
    place = tmp_path / "installed"
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", place, wheel]
    subprocess.run(command, check=True)
    environment = os.environ | {"PYTHONPATH": str(place)}
    where = "import soilscale; print(soilscale.__file__)"
    told = subprocess.run(
        [sys.executable, "-c", where], check=True, env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert Path(told.stdout.strip()).is_relative_to(place)
    output = tmp_path / "run"
    main = "import sys; from soilscale.cli import main; sys.exit(main())"
    words = ["run", str(undisturbed), "--output", str(output), "--workers", "1"]
    done = subprocess.run(
        [sys.executable, "-c", main, *words], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in ("maps/catalog.json", "maps/index.html", "report/index.html"):
        assert (output / name).is_file(), name
