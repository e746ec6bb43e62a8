"""What the project's papers say, held to what the code does."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
import yaml
from typer.core import TyperCommand, TyperGroup

from checkout import ROOT
from soilscale import cli, config, errors, models, reports, schema, seasons, sources
from soilscale.config import inputs, publication, sections
from soilscale.config.base import Section
from soilscale.config.schema import meanings
from soilscale.models.algorithms import ALGORITHMS, RESERVED
from soilscale.schema import Quality

PAPERS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("[!_]*.md")),
    *sorted((ROOT / "docs").glob("[!_]*/*.md")),
]
DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)")
STAGES = ("search", "cube", "samples", "train", "map", "report")

SECTIONS: dict[str, type[Section]] = {
    "Top level": sections.Config,
    "`area`": sections.Area,
    "`grid`": sections.GridSection,
    "`catalogs.<name>`": sections.CatalogSection,
    "`sources.<name>`": inputs.SourceSection,
    "`sources.<name>.quality`": inputs.QualitySection,
    "`sources.<name>.place`": inputs.PlaceSection,
    "`sources.<name>.antecedent`": inputs.AntecedentSection,
    "`sources.<name>` of several parts": inputs.HarmonisedSection,
    "`samples`": sections.SamplesSection,
    "`models`": sections.Models,
    "`maps`": sections.Maps,
    "`validation`": sections.Validation,
    "`limits`": sections.Limits,
    "`publication`": publication.Publication,
    "`publication.providers`": publication.Provider,
}
"""Heading in docs/configuration.md -> the section of the configuration that it describes."""


def text(*parts: str) -> str:
    return ROOT.joinpath(*parts).read_text(encoding="utf-8")


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Fenced blocks of all papers: name of the paper, content."""
    for paper in PAPERS:
        for found in BLOCK.finditer(paper.read_text(encoding="utf-8")):
            if found[1] == language:
                yield paper.name, found[2]


def commands(program: str) -> list[list[str]]:
    """Every command line of a program in the papers' shell blocks, without the program."""
    lines = [shlex.split(line, comments=True) for _, content in blocks("sh") for line in content.splitlines()]
    return [words[1:] for words in lines if words and Path(words[0]).name == program]


def app() -> TyperGroup:
    found = typer.main.get_command(cli.app)
    assert isinstance(found, TyperGroup)
    return found


def subcommand(name: str) -> TyperCommand:
    found = app().commands.get(name)
    assert isinstance(found, TyperCommand), f"there is no command {name!r}; there are {sorted(app().commands)}"
    return found


def chapters(paper: str) -> dict[str, str]:
    """Headings of the second level of a paper -> what stands below each."""
    parts = re.split(r"^## (.+)$", paper, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(chapter: str) -> dict[str, list[str]]:
    """Rows of a chapter's tables: first cell, without its backticks -> the other cells."""
    lines = [line for line in chapter.splitlines() if line.startswith("|") and not line.startswith("|---")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first.strip("`"): rest for first, *rest in cells}


def placed(content: dict[str, Any]) -> sections.Config:
    return config.validate(content)


# Commands


def test_the_shell_blocks_hold_commands_to_check() -> None:
    assert {words[0] for words in commands("soilscale")} == set(app().commands)
    assert {"demo", "test"} <= {words[0] for words in commands("make")}


@pytest.mark.parametrize("words", commands("soilscale"), ids=" ".join)
def test_a_shown_command_parses_as_the_command_line_does(words: list[str]) -> None:
    found = subcommand(words[0])
    context = found.make_context(words[0], list(words[1:]))
    assert len(context.params) > 1


def test_only_known_programs_stand_in_shell_blocks() -> None:
    lines = [shlex.split(line, comments=True) for _, content in blocks("sh") for line in content.splitlines()]
    checked = {"make", "pip", "soilscale"} | {"docker", "helm", "kubectl"}  # the latter by test_operations.py
    assert {Path(words[0]).name for words in lines if words} <= checked


@pytest.mark.parametrize("words", commands("make"), ids=" ".join)
def test_a_shown_make_target_exists(words: list[str]) -> None:
    targets = re.findall(r"^([\w-]+):", text("Makefile"), flags=re.MULTILINE)
    variables = re.findall(r"^(\w+) \?=", text("Makefile"), flags=re.MULTILINE)
    for word in words:
        name, equals, _ = word.partition("=")
        assert name in (variables if equals else targets)


def test_the_readme_lists_every_command_and_no_other() -> None:
    shown = re.findall(r"^\| `soilscale (\w+)(?: [A-Z]+)?`", text("README.md"), flags=re.MULTILINE)
    assert sorted(shown) == sorted(app().commands)


def test_the_readme_lists_the_stages_in_the_order_in_which_they_run() -> None:
    shown = re.findall(r"^\| `soilscale (\w+) CONFIG`", text("README.md"), flags=re.MULTILINE)
    assert [name for name in shown if name in STAGES] == list(STAGES)


def test_the_installed_command_answers_with_the_status_that_the_readme_tells_for_wrong_usage() -> None:
    command = Path(sys.executable).with_name("soilscale")
    told = subprocess.run([command, "map"], capture_output=True, text=True, check=False)
    assert told.returncode == cli.USAGE
    assert "CONFIG" in told.stderr


def test_the_readme_lists_every_exit_status() -> None:
    kinds: list[type[errors.SoilscaleError]] = [errors.SoilscaleError, *errors.SoilscaleError.__subclasses__()]
    expected = {0, cli.USAGE, *(kind.status for kind in kinds)}
    told = {int(first) for first in rows(text("README.md")) if first.isdigit()}
    assert told == expected


@pytest.mark.parametrize("option", ["--output", "-o", "--log-level"])
@pytest.mark.parametrize("name", [*STAGES, "run", "status", "check"])
def test_every_command_with_a_configuration_takes_the_common_options(name: str, option: str) -> None:
    assert option in {word for parameter in subcommand(name).params for word in parameter.opts}


@pytest.mark.parametrize("option", ["--workers", "--scheduler"])
@pytest.mark.parametrize("name", [*STAGES, "run", "demo"])
def test_every_command_that_computes_takes_a_cluster(name: str, option: str) -> None:
    assert option in {word for parameter in subcommand(name).params for word in parameter.opts}


# Configuration


CONFIGURATIONS = [(paper, yaml.safe_load(content)) for paper, content in blocks("yaml") if "\nsources:" in content]


def test_the_papers_show_configurations() -> None:
    assert {paper for paper, _ in CONFIGURATIONS} == {"README.md", "configuration.md", "sizing.md"}


@pytest.mark.parametrize(("paper", "content"), CONFIGURATIONS)
def test_a_shown_configuration_is_accepted(paper: str, content: dict[str, Any]) -> None:
    accepted = placed(content)
    assert accepted.name == content["name"], paper
    assert accepted.target.name == "soil_moisture"
    assert len(accepted.predictors) == len(content["sources"]) - 1


def test_the_shown_grid_is_the_one_it_says() -> None:
    content = next(content for paper, content in CONFIGURATIONS if paper == "README.md")
    grid = placed(content).nested_grid
    assert grid.side / grid.ratio == 1000
    assert (grid.left - 3973369) % 24000 == 0
    assert (grid.top - 2951847) % 24000 == 0


def test_the_tables_of_the_keys_are_those_of_the_configuration() -> None:
    page = text("docs", "configuration.md")
    made = runpy.run_path(str(ROOT / "docs" / "keys.py"))["page"](page)
    assert made == page, "make schema"


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_section_is_described_where_it_belongs_and_no_key_is_without_a_meaning(heading: str) -> None:
    section = SECTIONS[heading]
    assert f"<!-- keys of {section.__name__} -->" in chapters(text("docs", "configuration.md"))[heading]
    assert set(meanings(section)) == set(section.model_fields)


def test_every_section_of_the_configuration_has_a_chapter() -> None:
    everything = (vars(sections) | vars(inputs) | vars(publication)).values()
    known = {one for one in everything if isinstance(one, type) and issubclass(one, Section)}
    assert known - {Section} == set(SECTIONS.values())


def test_every_choice_of_a_closed_key_is_told() -> None:
    configuration = text("docs", "configuration.md")
    for choices in (
        sources.Role,
        sources.Kind,
        sources.Aggregate,
        sources.ResamplingName,
        sources.Sign,
        sources.Matching,
    ):
        for choice in get_args(choices):
            assert f"`{choice}`" in configuration


def test_every_algorithm_and_season_scheme_is_told() -> None:
    configuration = text("docs", "configuration.md")
    for name in (*models.ALGORITHMS, *seasons.SCHEMES):
        assert f"`{name}`" in configuration


# Products


def test_every_quality_bit_is_told_with_its_value() -> None:
    told = rows(chapters(text("docs", "products.md"))["maps.zarr"])
    for bit in Quality:
        assert told[str(bit.name).lower()][0] == str(bit.value)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_parameter_is_told_with_its_default(name: str) -> None:
    """Those of scikit-learn's own forest are theirs to tell, but for what R's randomForest has."""
    chapter = text("docs", "configuration.md").partition("## Parameters of the algorithms")[2]
    told: dict[str, str] = {}
    for parameters, (algorithms, defaults, _) in rows(chapter).items():
        for number, of in enumerate(algorithms.split(";")):
            if f"`{name}`" in of:
                default = defaults.split("; ")[number if ";" in defaults else 0]
                told |= dict.fromkeys(re.findall(r"\w+", parameters.replace("`", "")), default)
    params = ALGORITHMS[name].make({}, 12, 0).get_params()
    known = {key: value for key, value in params.items() if key not in RESERVED}
    if name == "random_forest":
        of_r = ("n_estimators", "max_features", "min_samples_split", "min_samples_leaf", "max_samples")
        known = {key: known[key] for key in of_r}
    assert [key for key in known if key not in told] == []
    for key, value in known.items():
        assert not isinstance(value, int) or key == "max_features" or f"{value:,}" in told[key], key


def test_every_metric_is_told() -> None:
    products = text("docs", "products.md")
    assert [name for name in reports.SCORES if f"`{name}`" not in products] == []


def test_every_path_of_the_workspace_is_told() -> None:
    told = chapters("\n## Products\n" + text("docs", "products.md"))["Products"]
    for path in ("run.yaml", "cube.zarr", "samples.parquet", "predictions.parquet", "maps.zarr", "maps/catalog.json"):
        assert f"`{path}`" in told


# Papers


@pytest.mark.parametrize("paper", [*PAPERS, ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md"], ids=lambda one: one.name)
def test_every_relative_link_leads_somewhere(paper: Path) -> None:
    for target in LINK.findall(paper.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (paper.parent / target).exists(), target


def test_the_architecture_names_every_module_and_its_layers_in_their_order() -> None:
    architecture = text("ARCHITECTURE.md")
    package = ROOT / "pipeline" / "soilscale"
    there = {one.stem for one in package.iterdir() if one.suffix == ".py" or (one / "__init__.py").is_file()}
    listed = rows(chapters(architecture)["Layers"])
    named = [name.strip("`/ ") for row in listed for name in row.split(",") if row != "layer"]
    assert set(named) == there - {"__init__"}
    contract = tomllib.loads(text("pyproject.toml"))["tool"]["importlinter"]["contracts"][0]["layers"]
    layers = [name.strip() for layer in contract for name in layer.replace("soilscale.", "").split("|")]
    depth = {name: i for i, layer in enumerate(contract) for name in layer.replace("soilscale.", "").split(" | ")}
    assert sorted(named) == sorted(layers)
    assert [depth[name] for name in named] == sorted(depth.values())


@pytest.mark.parametrize("paper", DECISIONS, ids=lambda one: one.name)
def test_a_decision_is_short_and_says_context_decision_and_consequences(paper: Path) -> None:
    content = paper.read_text(encoding="utf-8")
    assert content.startswith(f"# {int(paper.name[:4])}. ")
    status = content.splitlines()[2]
    assert re.match(r"Status: (Accepted|Superseded by \[\d+\]\(\d{4}-[\w-]+\.md\))", status), status
    assert list(chapters(content)) == ["Context", "Decision", "Consequences"]
    assert len(content.splitlines()) < 42


def test_decisions_have_a_number_each_without_a_gap() -> None:
    assert [int(paper.name[:4]) for paper in DECISIONS] == list(range(1, len(DECISIONS) + 1))


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_holds_every_page(tmp_path: Path) -> None:
    """A warning names a page that no list leads to, a link that leads nowhere, or an example that cannot be shown."""
    site = tmp_path / "site"
    build = [Path(sys.executable).with_name("sphinx-build"), "-q", "-W", "--keep-going", "-b", "html"]
    done = subprocess.run([*build, ROOT / "docs", site], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "GaussianProcess" in (site / "api.html").read_text("utf-8")
    assert "--replace" in (site / "_generated" / "commands.html").read_text("utf-8")
    assert {paper.stem for paper in DECISIONS} == {page.stem for page in (site / "adr").glob("*.html")}


def test_known_limitations_are_no_longer_named_once_they_are_gone() -> None:
    missing = chapters(text("README.md"))["Known limitations"]
    there = {
        "support vectors": "svm" in models.ALGORITHMS,
        "nearest neighbours": "knn" in models.ALGORITHMS,
        "boosting": "xgboost" in models.ALGORITHMS,
        "Importance": hasattr(models, "measure"),
        "ablation": hasattr(reports, "ablation"),
        "Prediction intervals": "interval" in sections.Maps.model_fields,
        "area of applicability": hasattr(schema, "APPLICABILITY"),
        "container image": any((ROOT / "deploy").glob("*")),
        "Helm chart": any((ROOT / "helm").glob("*")),
        "notebooks": any((ROOT / "notebooks").glob("*.ipynb")),
    }
    assert {name: name in missing for name in there} == {name: not found for name, found in there.items()}


# Set-up


def test_continuous_integration_calls_make_test_and_can_be_executed() -> None:
    script = ROOT / ".ci" / "run"
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines
    assert lines[-1].startswith("exec make ")
    assert "test" in lines[-1].split()
    assert script.stat().st_mode & 0o111 == 0o111


def test_make_alone_lists_every_target_that_is_documented() -> None:
    told = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True).stdout
    for target in ("demo", "test", "test-deploy", "chart", "check", "docs", "clean"):
        assert re.search(rf"^\s+make {target}\s", told, flags=re.MULTILINE)


def test_the_page_of_performance_is_made_from_the_results() -> None:
    made = runpy.run_path(str(ROOT / "benchmarks" / "page.py"))
    page, bars = made["text"]()
    assert text("docs/performance.md") == page
    figure = text("docs/performance.svg")
    assert all(name in figure for name in bars)
    for result in made["RESULTS"].glob("*.csv"):
        if result.stem == "accuracy":  # which has a page of its own
            continue
        assert f"benchmarks/{made['OPTIONS'].get(result.stem, result.stem + '.py')}" in page
