"""The version: one for the whole project, set by one command."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

import soilscale
from checkout import ROOT

sys.path.append(str(ROOT / "deploy"))
import version


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for name in version.FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_every_file_states_the_version_of_the_package() -> None:
    assert version.version() == soilscale.__version__


def test_no_further_file_names_an_image_of_a_version() -> None:
    """Else it would stay behind at the next release."""
    files = {
        path.relative_to(ROOT).as_posix(): path
        for folder in ("deploy", "helm", "docs")
        for path in (ROOT / folder).rglob("*")
    }
    texts = {
        name: path
        for name, path in files.items()
        if path.suffix in {".md", ".yaml", ".json", ".py", ""} and path.is_file()
    }
    named = {
        name for name, path in texts.items() if f"soilscale:{soilscale.__version__}" in path.read_text(encoding="utf-8")
    }
    assert named <= set(version.FILES)


@pytest.mark.parametrize("number", ["0.2.0", "1.0.0rc1"])
def test_one_command_sets_it_everywhere_and_nothing_else(number: str, copied: Path) -> None:
    before = {name: (copied / name).read_text() for name in version.FILES}
    version.change(number, copied)
    assert version.version(copied) == number
    version.change(soilscale.__version__, copied)
    assert {name: (copied / name).read_text() for name in version.FILES} == before


def test_versions_that_differ_are_refused(copied: Path) -> None:
    chart = copied / "helm/soilscale/Chart.yaml"
    chart.write_text(chart.read_text().replace(f"\nversion: {soilscale.__version__}", "\nversion: 9.9.9"))
    with pytest.raises(SystemExit, match=r"Chart\.yaml': \['0\.1\.0', '9\.9\.9'\].*expected the same one"):
        version.version(copied)


@pytest.mark.parametrize("number", ["", "2", "v1.0.0", "1.0"])
def test_what_is_no_version_is_refused(number: str, copied: Path) -> None:
    with pytest.raises(SystemExit, match="expected a version such as"):
        version.change(number, copied)
