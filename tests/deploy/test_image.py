"""The image's recipe and its pins, as far as they can be looked at without building it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import soilscale
from checkout import ROOT
from tools import hadolint

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PIN = re.compile(
    r"^([\w.-]+)==([^ ]+)(?: ; .+)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)((?:    #.*\n)*)", re.MULTILINE
)

RUN = [
    *PYPROJECT["project"]["dependencies"],
    *(one for extra in ("kubernetes", "gs", "az") for one in PYPROJECT["project"]["optional-dependencies"][extra]),
]
BUILD = PYPROJECT["build-system"]["requires"]


def pins(name: str) -> dict[str, tuple[str, str]]:
    """Package -> its version, and the comment that says what asks for it."""
    text = (ROOT / "deploy" / name).read_text(encoding="utf-8")
    found = {canonicalize_name(one[1]): (one[2], one[4]) for one in PIN.finditer(text)}
    assert len(found) == len(re.findall(r"^\w", text, re.MULTILINE)), (
        "a line of the pins is not understood, or has no checksum"
    )
    return found


def last_stage() -> dict[str, str]:
    """Instructions of the image that comes out -> what they say."""
    lines = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", " ").rpartition("\nFROM ")[2].splitlines()[1:]
    return {line.partition(" ")[0]: " ".join(line.split()[1:]) for line in lines if line and line[0].isupper()}


def environment() -> dict[str, str]:
    return dict(one.split("=", 1) for one in last_stage()["ENV"].split())


def test_hadolint_finds_nothing() -> None:
    told = subprocess.run([hadolint(), DOCKERFILE], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (0, "")


@pytest.mark.parametrize(("name", "needed"), [("requirements.txt", RUN), ("requirements-build.txt", BUILD)])
def test_the_pins_are_those_of_the_requirements(name: str, needed: list[str]) -> None:
    """Else they are stale: `python deploy/pin.py` renews them."""
    pinned = pins(name)
    for requirement in map(Requirement, needed):
        version, _ = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement}, but {version} is pinned"


def test_nothing_is_pinned_for_the_image_that_nobody_asks_for() -> None:
    """Else the pins are stale: `python deploy/pin.py` renews them."""
    asked = {name for name, (_, via) in pins("requirements.txt").items() if "soilscale (pyproject.toml)" in via}
    assert asked == {canonicalize_name(Requirement(one).name) for one in RUN}


def test_the_image_runs_as_the_chart_s_user_below_tmp() -> None:
    user = yaml.safe_load((ROOT / "helm" / "soilscale" / "values.yaml").read_text(encoding="utf-8"))["user"]
    stage = last_stage()
    assert stage["USER"] == f"{user}:{user}"
    assert stage["WORKDIR"] == environment()["HOME"] == "/tmp"  # noqa: S108 - the image's own
    assert Path(environment()["NUMBA_CACHE_DIR"]).is_relative_to(stage["WORKDIR"])
    assert stage["ENTRYPOINT"] == '["/opt/soilscale/bin/soilscale"]'
    assert environment()["PATH"].startswith("/opt/soilscale/bin:")
    assert "HEALTHCHECK" not in stage


def test_the_image_is_of_the_package_s_version_and_python() -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert f"ARG VERSION={soilscale.__version__}\n" in text
    (python,) = re.findall(r" python3=([\d.]+)\.\*", text)
    assert f'PYTHON = "{python}"' in (ROOT / "deploy" / "pin.py").read_text(encoding="utf-8")
    assert f"Programming Language :: Python :: {python}" in PYPROJECT["project"]["classifiers"]
