"""What each command does: the stages it runs, and its final report."""

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
def run(project: Project, *, searched: bool = False) -> Outcome:
    """Do all stages, in their order; the first is done if the catalogs have been searched."""
    report_stages.check_references(project.config)
    search_stages.search(project, searched=searched)
    cube_stages.fill_cube(project)
    samples_stages.draw_samples(project)
    training.train(project)
    mapping.draw_maps(project)
    report_stages.write_report(project)
    return project.ended([*_places(project), *accuracy_lines(project)])


def search(run: Run) -> Outcome:
    """Freeze the items of every source."""
    project = Project.of(run)
    search_stages.search(project)
    counts = (f"{name}: {len(scenes)} items" for name, scenes in project.plan.scenes.items())
    return Outcome(list(counts), ())


@mended
def cube(project: Project) -> Outcome:
    """Fill the cube."""
    frozen_items.write_resolved(project)
    cube_stages.fill_cube(project)
    return project.ended([f"cube: {project.workspace.cube}"])


@mended
def samples(project: Project) -> Outcome:
    """Build the training table."""
    _need_cube(project)
    frozen_items.write_resolved(project)
    samples_stages.draw_samples(project)
    count = tables.count(project.workspace.samples)
    return project.ended([f"training table: {project.workspace.samples}, {count} rows"])


@mended
def train(project: Project) -> Outcome:
    """Fit and judge the models."""
    _need_cube(project)
    _need(project.workspace.samples, "samples")
    frozen_items.write_resolved(project)
    training.train(project)
    return project.ended([f"models: {storage.join(project.workspace.output, 'models')}"])


@mended
def make_maps(project: Project) -> Outcome:
    """Make the maps."""
    _need_cube(project)
    _need(project.workspace.predictions, "train")
    frozen_items.write_resolved(project)
    mapping.draw_maps(project)
    return project.ended([f"maps: {project.workspace.maps} and {project.workspace.published('catalog.json')}"])


@mended
def report(project: Project) -> Outcome:
    """Make the report."""
    _need_cube(project)
    _need(project.workspace.published("catalog.json"), "map")
    frozen_items.write_resolved(project)
    report_stages.write_report(project)
    return project.ended([f"report: {project.workspace.report('index.html')}", *accuracy_lines(project)])


def _need_cube(project: Project) -> None:
    """Refuse to go on from a cube of which units are neither complete nor found to be unusable."""
    cube_stages = {cube_regions.CUBE, gap_filling.GAPS, derived_features.DERIVE, harmonise_units.HARMONISE}
    # What has failed is no reason to wait: its region is blank, and goes on as missing values.
    failed = {failure.name for failure in failures(project.workspace) if failure.stage in cube_stages}
    standing = project.standing
    waiting = [
        unit.name
        for unit in (*project.cube_units, *project.derive_units.derive)
        if standing.units[unit.name] == cube_state.MISSING and unit.name not in failed
    ]
    complete = markers(project.workspace, harmonise_units.HARMONISE)
    waiting += [
        unit.name
        for unit in harmonise_units.harmonise_units(project.plan, standing)
        if unit.marker not in complete and unit.name not in failed
    ]
    if waiting:
        count = f"{len(waiting)} of its {len(project.cube_units)} units"
        raise DataError(f"the cube lacks {count}, the first: {waiting[0]}; run `soilscale cube` first")


def _need(url: str, command: str) -> None:
    """Refuse to go on without a product of the command before."""
    if not storage.exists(url):
        raise DataError(f"there is no {url} yet; run `soilscale {command}` first")


def _places(project: Project) -> list[str]:
    workspace = project.workspace
    return [
        f"maps:   {workspace.maps}",
        f"COGs:   {workspace.published('catalog.json')}",
        f"report: {workspace.report('index.html')}",
    ]


def accuracy_lines(project: Project) -> list[str]:
    """RMSE of the maps beside what needs no model, by every reference there is."""
    table = tables.read_csv(project.workspace.report("baselines.csv"))
    rows = table[(table["season"] == "all") & (table["metric"] == "rmse")]
    our_method = method({season: model.algorithm for season, model in mapping.choose(project).items()})
    words = {"truth": "against the known truth", "stations": "at the stations", "upscaled": "in the upscaling test"}
    lines = []
    for reference, part in rows.groupby("reference", sort=False):
        methods = part["method"].where(part["method"] != our_method, f"our maps ({our_method})")
        values = ", ".join(f"{name} {value:.5f}" for name, value in zip(methods, part["value"], strict=True))
        lines.append(f"RMSE {words[str(reference)]} (m3 m-3): {values}")
    return lines
