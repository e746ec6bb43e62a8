"""What each command does: the stages it stands for, and what it tells at the end."""

from __future__ import annotations

from soilscale import storage
from soilscale.engine.units import failures, markers
from soilscale.errors import DataError
from soilscale.reports import method
from soilscale.runs.repair import mended
from soilscale.stages import cube as cube_stages
from soilscale.stages import cube_state, frozen_items, harmonise_units, mapping, training
from soilscale.stages import report as report_stages
from soilscale.stages import samples as samples_stages
from soilscale.stages import search as search_stages
from soilscale.stages.context import Outcome, Run
from soilscale.stages.project import Project
from soilscale.storage import tables
from soilscale.tasks import cube_regions, derived_features, gap_filling


@mended
def run(given: Project, *, searched: bool = False) -> Outcome:
    """Do all stages, in their order; the first is done if the catalogs have been searched."""
    report_stages.check_references(given.config)
    search_stages.search(given, searched=searched)
    cube_stages.fill_cube(given)
    samples_stages.draw_samples(given)
    training.train(given)
    mapping.draw_maps(given)
    report_stages.write_report(given)
    return given.ended([*_places(given), *accuracy_lines(given)])


def search(run: Run) -> Outcome:
    """Freeze the items of every source."""
    given = Project.of(run)
    search_stages.search(given)
    counts = (f"{name}: {len(scenes)} items" for name, scenes in given.plan.scenes.items())
    return Outcome(list(counts), ())


@mended
def cube(given: Project) -> Outcome:
    """Fill the cube."""
    frozen_items.write_resolved(given)
    cube_stages.fill_cube(given)
    return given.ended([f"cube: {given.workspace.cube}"])


@mended
def samples(given: Project) -> Outcome:
    """Build the training table."""
    _need_cube(given)
    frozen_items.write_resolved(given)
    samples_stages.draw_samples(given)
    count = tables.count(given.workspace.samples)
    return given.ended([f"training table: {given.workspace.samples}, {count} rows"])


@mended
def train(given: Project) -> Outcome:
    """Fit and judge the models."""
    _need_cube(given)
    _need(given.workspace.samples, "samples")
    frozen_items.write_resolved(given)
    training.train(given)
    return given.ended([f"models: {storage.join(given.workspace.output, 'models')}"])


@mended
def make_maps(given: Project) -> Outcome:
    """Make the maps."""
    _need_cube(given)
    _need(given.workspace.predictions, "train")
    frozen_items.write_resolved(given)
    mapping.draw_maps(given)
    return given.ended([f"maps: {given.workspace.maps} and {given.workspace.published('catalog.json')}"])


@mended
def report(given: Project) -> Outcome:
    """Make the report."""
    _need_cube(given)
    _need(given.workspace.published("catalog.json"), "map")
    frozen_items.write_resolved(given)
    report_stages.write_report(given)
    return given.ended([f"report: {given.workspace.report('index.html')}", *accuracy_lines(given)])


def _need_cube(given: Project) -> None:
    """Refuse to go on from a cube of which units are neither complete nor found to be unusable."""
    made = {cube_regions.CUBE, gap_filling.GAPS, derived_features.DERIVE, harmonise_units.HARMONISE}
    failed = {failure.name for failure in failures(given.workspace) if failure.stage in made}
    standing = given.standing
    waiting = [
        unit.name
        for unit in (*given.cube_units, *given.derive_units.derive)
        if standing.units[unit.name] == cube_state.MISSING and unit.name not in failed
    ]
    found = markers(given.workspace, harmonise_units.HARMONISE)
    waiting += [
        unit.name
        for unit in harmonise_units.harmonise_units(given.plan, standing)
        if unit.marker not in found and unit.name not in failed
    ]
    if waiting:
        count = f"{len(waiting)} of its {len(given.cube_units)} units"
        raise DataError(f"the cube lacks {count}, the first: {waiting[0]}; run `soilscale cube` first")


def _need(url: str, command: str) -> None:
    """Refuse to go on without a product of the command before."""
    if not storage.exists(url):
        raise DataError(f"there is no {url} yet; run `soilscale {command}` first")


def _places(given: Project) -> list[str]:
    workspace = given.workspace
    return [
        f"maps:   {workspace.maps}",
        f"COGs:   {workspace.published('catalog.json')}",
        f"report: {workspace.report('index.html')}",
    ]


def accuracy_lines(given: Project) -> list[str]:
    """RMSE of the maps beside what needs no model, by every reference there is."""
    table = tables.read_csv(given.workspace.report("baselines.csv"))
    rows = table[(table["season"] == "all") & (table["metric"] == "rmse")]
    own = method({season: model.algorithm for season, model in mapping.choose(given).items()})
    words = {"truth": "against the known truth", "stations": "at the stations", "upscaled": "in the upscaling test"}
    lines = []
    for reference, part in rows.groupby("reference", sort=False):
        told = part["method"].where(part["method"] != own, f"our maps ({own})")
        values = ", ".join(f"{name} {value:.5f}" for name, value in zip(told, part["value"], strict=True))
        lines.append(f"RMSE {words[str(reference)]} (m3 m-3): {values}")
    return lines
