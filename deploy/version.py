"""The version: `pyproject.toml` gives it, some files repeat it, and `make version VERSION=0.2.0` sets it in all."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

FILES = (
    "pyproject.toml",
    "CITATION.cff",
    "Makefile",
    "deploy/Dockerfile",
    "deploy/compose.yaml",
    "deploy/compose-tls.yaml",
    "docs/operations.md",
    "docs/releasing.md",
    "helm/soilscale/Chart.yaml",
)

STATED = re.compile(
    r"""(^version\ =\ "|^(?:appV|v)ersion:\ |\bsoilscale:|^ARG\ VERSION=)(\d+\.\d+\.\d+(?:[a-z.+-]*\d+)?)""",
    re.MULTILINE | re.VERBOSE,
)
"""The version in a file, and what stands before it: a key, or the name of the image."""


def stated(root: Path = ROOT) -> dict[str, set[str]]:
    """File -> versions that it states."""
    return {name: {match[2] for match in STATED.finditer(_text(root / name))} for name in FILES}


def version(root: Path = ROOT) -> str:
    """Version of the package, which all other files must state too.

    Raises
    ------
    SystemExit
        If one states another, or none.
    """
    versions = stated(root)
    if versions[FILES[0]] != set.union(*versions.values()) or any(len(each) != 1 for each in versions.values()):
        differing = {name: sorted(each) for name, each in versions.items()}
        raise SystemExit(f"got versions {differing}, expected the same one; set it with make version VERSION=...")
    return versions[FILES[0]].pop()


def change(number: str, root: Path = ROOT) -> None:
    """Set the version.

    Raises
    ------
    SystemExit
        If it is none.
    """
    if STATED.fullmatch(f"soilscale:{number}") is None:
        raise SystemExit(f"got {number!r}, expected a version such as 0.2.0 or 0.2.0rc1")
    for name in FILES:
        (root / name).write_text(STATED.sub(rf"\g<1>{number}", _text(root / name)), encoding="utf-8")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


if __name__ == "__main__":
    change(sys.argv[1])
