"""The examples in docstrings say what happens."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import soilscale

PACKAGE = Path(soilscale.__file__).parent
MODULES = sorted(
    ".".join(("soilscale", *path.relative_to(PACKAGE).with_suffix("").parts))
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    result = doctest.testmod(import_module(name))
    assert result.attempted
    assert not result.failed


def test_public_functions_have_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    documented = [test for name in MODULES for test in finder.find(import_module(name)) if test.examples]
    assert len(documented) >= 40
