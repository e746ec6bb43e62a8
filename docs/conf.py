"""How Sphinx builds the documentation: `make docs`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent

project = "soilscale"
author = "the soilscale developers"
copyright = author  # noqa: A001 - the name that Sphinx reads
version = release = version_of("soilscale")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
# Notebooks hold their output, and the tests run them: a build of the pages waits for none.
suppress_warnings = ["misc.highlighting_failure"]  # a cell that mixes Python and shell commands
nb_execution_mode = "off"
numpydoc_show_class_members = False
autodoc_typehints = "none"  # numpydoc's sections name the types
autodoc_member_order = "bysource"
copybutton_exclude = ".linenos, .gp, .go"

html_theme = "pydata_sphinx_theme"
html_title = "soilscale"
html_static_path = ["_static"]
html_css_files = ["soilscale.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_prev_next": True,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "pygments_light_style": "tango",
}
html_sidebars = {"index": [], "gallery": []}


GENERATED = HERE / "_generated"
"""Copies of what the checkout holds elsewhere: Sphinx reads nothing outside its folder."""


def generate() -> None:
    """Copy the notebooks, and write the page of the commands from what `--help` knows."""
    shutil.rmtree(GENERATED, ignore_errors=True)
    shutil.copytree(HERE.parent / "notebooks", GENERATED / "notebooks", ignore=shutil.ignore_patterns(".*"))
    typer = Path(sys.executable).with_name("typer")
    page = [typer, "soilscale.cli", "utils", "docs", "--name", "soilscale", "--title", "Commands"]
    text = subprocess.run(page, capture_output=True, text=True, check=True).stdout
    (GENERATED / "commands.md").write_text(text, "utf-8")


generate()
