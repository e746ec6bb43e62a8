"""What each command does: the stages it stands for, and what it tells at the end."""

from __future__ import annotations

from soilscale import storage
from soilscale.errors import DataError
from soilscale.flow import deriving, freezing, gaps, learn, mapping, plan, reporting, stages
from soilscale.flow.mending import mended
from soilscale.flow.session import Outcome, Run
from soilscale.flow.units import failures, markers
from soilscale.reports import method


@mended
def run(given: Run, *, searched: bool = False) -> Outcome:
    """Do all stages, in their order; the first is done if the catalogs have been searched."""
    reporting.check_references(given.config)
    stages.search(given, searched=searched)
    stages.fill_cube(given)
    stages.draw_samples(given)
    stages.train(given)
    mapping.draw_maps(given)
    reporting.write_report(given)
    return given.ended([*_places(given), *accuracy_lines(given)])


def search(given: Run) -> Outcome:
    """Freeze the items of every source."""
    stages.search(given)
    counts = (f"{name}: {len(scenes)} items" for name, scenes in given.plan.scenes.items())
    return Outcome(list(counts), ())


@mended
def cube(given: Run) -> Outcome:
    """Fill the cube."""
    freezing.write_resolved(given)
    stages.fill_cube(given)
    return given.ended([f"cube: {given.workspace.cube}"])


@mended
def samples(given: Run) -> Outcome:
    """Build the training table."""
    _need_cube(given)
    freezing.write_resolved(given)
    stages.draw_samples(given)
    count = learn.count(given.workspace.samples)
    return given.ended([f"training table: {given.workspace.samples}, {count} rows"])


@mended
def train(given: Run) -> Outcome:
    """Fit and judge the models."""
    _need_cube(given)
    _need(given.workspace.samples, "samples")
    freezing.write_resolved(given)
    stages.train(given)
    return given.ended([f"models: {storage.join(given.workspace.output, 'models')}"])


@mended
def make_maps(given: Run) -> Outcome:
    """Make the maps."""
    _need_cube(given)
    _need(given.workspace.predictions, "train")
    freezing.write_resolved(given)
    mapping.draw_maps(given)
    return given.ended([f"maps: {given.workspace.maps} and {given.workspace.published('catalog.json')}"])


@mended
def report(given: Run) -> Outcome:
    """Make the report."""
    _need_cube(given)
    _need(given.workspace.published("catalog.json"), "map")
    freezing.write_resolved(given)
    reporting.write_report(given)
    return given.ended([f"report: {given.workspace.report('index.html')}", *accuracy_lines(given)])


def _need_cube(given: Run) -> None:
    """Refuse to go on from a cube of which units are neither complete nor found to be unusable."""
    made = {plan.CUBE, gaps.GAPS, deriving.DERIVE, plan.HARMONISE}
    failed = {failure.name for failure in failures(given.workspace) if failure.stage in made}
    standing = given.standing
    waiting = [
        unit.name
        for unit in (*given.cube_units, *given.derive_units[deriving.DERIVE])
        if standing.units[unit.name] == plan.MISSING and unit.name not in failed
    ]
    found = markers(given.workspace, plan.HARMONISE)
    waiting += [
        unit.name
        for unit in plan.harmonise_units(given.plan, standing)
        if unit.marker not in found and unit.name not in failed
    ]
    if waiting:
        count = f"{len(waiting)} of its {len(given.cube_units)} units"
        raise DataError(f"the cube lacks {count}, the first: {waiting[0]}; run `soilscale cube` first")


def _need(url: str, command: str) -> None:
    """Refuse to go on without a product of the command before."""
    if not storage.exists(url):
        raise DataError(f"there is no {url} yet; run `soilscale {command}` first")


def _places(given: Run) -> list[str]:
    workspace = given.workspace
    return [
        f"maps:   {workspace.maps}",
        f"COGs:   {workspace.published('catalog.json')}",
        f"report: {workspace.report('index.html')}",
    ]


def accuracy_lines(given: Run) -> list[str]:
    """RMSE of the maps beside what needs no model, by every reference there is."""
    table = learn.read_csv(given.workspace.report("baselines.csv"))
    rows = table[(table["season"] == "all") & (table["metric"] == "rmse")]
    own = method({season: model.algorithm for season, model in mapping.choose(given).items()})
    words = {"truth": "against the known truth", "stations": "at the stations", "upscaled": "one scale up"}
    lines = []
    for reference, part in rows.groupby("reference", sort=False):
        told = part["method"].where(part["method"] != own, f"our maps ({own})")
        values = ", ".join(f"{name} {value:.5f}" for name, value in zip(told, part["value"], strict=True))
        lines.append(f"RMSE {words[str(reference)]} (m3 m-3): {values}")
    return lines
