"""The map of the modules, a line each, as docs/modules.md shows it; ``python tests/modules.py`` renews it."""

from __future__ import annotations

import ast
from pathlib import Path

from checkout import ROOT

PACKAGE = ROOT / "pipeline" / "soilscale"
PAGE = ROOT / "docs" / "modules.md"

HEAD = """# Module map

Every module of the package in `pipeline/soilscale`, with the first line of its docstring. ARCHITECTURE.md in the
checkout explains how they work together. `make modules` renews this page.
"""


def about(path: Path) -> str:
    """First line of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def page() -> str:
    """The page."""
    folders = sorted({path.parent for path in PACKAGE.rglob("*.py")})
    parts = [HEAD]
    for folder in folders:
        name = "soilscale" + "".join(f".{part}" for part in folder.relative_to(PACKAGE).parts)
        modules = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
        rows = ["| module | purpose |", "|---|---|", *(f"| `{path.stem}` | {about(path)} |" for path in modules)]
        parts.append("\n".join([f"## `{name}`", "", about(folder / "__init__.py"), "", *rows, ""]))
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
