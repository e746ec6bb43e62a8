"""How the modules of the package hang together: no circles, also none through lazily attached names."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import modules
import soilscale

PACKAGE = Path(soilscale.__file__).parent


def name_of(path: Path) -> str:
    return ".".join(("soilscale", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def faces(names: set[str]) -> dict[tuple[str, str], str]:
    """Package and name that it attaches lazily -> module that the name comes from."""
    found = {}
    for stub in PACKAGE.rglob("__init__.pyi"):
        package = name_of(stub)
        for node in ast.walk(ast.parse(stub.read_text())):
            if isinstance(node, ast.ImportFrom):
                for each in node.names:
                    module = f"{package}.{node.module or each.name}"
                    assert module in names, f"{stub}: {module}"
                    found[package, each.asname or each.name] = module
    return found


def imports(path: Path, names: set[str], attached: dict[tuple[str, str], str]) -> set[str]:
    """Modules that a module takes names from, at its top, within functions or through a lazy face."""
    tree, found, local = ast.parse(path.read_text()), set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "soilscale":
            for each in node.names:
                module = f"{node.module}.{each.name}"
                if module in names:
                    local[each.asname or each.name] = module
                found.add(module if module in names else attached.get((node.module or "", each.name), node.module))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found.add(attached.get((local.get(node.value.id, ""), node.attr)))
    return {module for module in found if module is not None} - {name_of(path)}


def test_no_module_imports_itself_in_the_end() -> None:
    paths = {name_of(path): path for path in PACKAGE.rglob("*.py")}
    attached = faces(set(paths))
    graph = {name: imports(path, set(paths), attached) for name, path in paths.items()}
    assert len(attached) > 100
    assert "soilscale.engine.scheduler" in graph["soilscale.stages.context"]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("package", ["engine", "tasks", "stages", "estimate", "runs"])
def test_a_room_says_what_it_is_for(package: str) -> None:
    assert ast.get_docstring(ast.parse((PACKAGE / package / "__init__.py").read_text()))


def test_the_map_of_the_modules_is_up_to_date() -> None:
    assert modules.PAGE.read_text(encoding="utf-8") == modules.page(), "run `make modules`"
