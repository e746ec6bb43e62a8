"""The costs that tasks state."""

import importlib
import inspect
import pkgutil

from soilscale import tasks
from soilscale.engine.units import Cost, Task
from soilscale.tasks import cube_regions, map_summaries, map_tiles
from soilscale.tasks.costs import Scale, Stored

WITH_FILL_MONTH = {"FillStatic", "ObserveMonth", "KeepTarget"}
"""Tasks of the stage whose cost `FillMonth` states."""

WITH_FIT_SINGLE = {"FitJoint"}

WITH_DRAW_ALGORITHM = {"ThinFeatures"}

UNCOUNTED = {"FindClasses", "SelectFactors", "Tune", "MeasureApplicability", "MeasureIntervals"}
"""Small ones."""

SCALE = Scale(
    tiles=4, tile_cells=10_000, tile_coarse=16, cells=40_000, coarse=64, months=24, learned=12, features=5, row=60,
    table=40_000, basis=200_000,
)  # fmt: skip


def _concrete() -> list[type[Task]]:
    modules = [importlib.import_module(f"soilscale.tasks.{each.name}") for each in pkgutil.iter_modules(tasks.__path__)]
    classes = {each for module in modules for _, each in inspect.getmembers(module, inspect.isclass)}
    return sorted(
        (each for each in classes if issubclass(each, Task) and not inspect.isabstract(each)),
        key=lambda each: each.__name__,
    )


def test_every_task_states_its_cost_or_shares_a_stage_with_one_that_does() -> None:
    silent = {each.__name__ for each in _concrete() if not hasattr(each, "cost")}
    assert silent == WITH_FILL_MONTH | WITH_FIT_SINGLE | WITH_DRAW_ALGORITHM | UNCOUNTED


def test_costs_go_with_units_and_with_what_is_stored() -> None:
    one = cube_regions.FillMonth.cost(SCALE, units=8, pixels=1e6, layers=2, stored=Stored(100.0, 3))
    assert one == Cost(
        units=8, read=2e6, written=100.0, objects=11, work=1.0, load=10_000 * 4 * 8
    )  # two bytes a pixel, and a marker for each unit
    solve = map_tiles.SolveResidual.cost(SCALE, count=3, stored=Stored(12.0, 3))
    assert (solve.units, solve.read, solve.objects) == (3, 3 * 2 * 4 * 64, 6)


def test_no_two_arguments_of_a_cost_can_be_swapped_unseen() -> None:
    """Those that are not named have types of their own, so that mypy refuses them in another order."""
    for task in _concrete():
        for name in ("cost", "merging_cost"):
            method = getattr(task, name, None)
            if method is not None:
                parameters = inspect.signature(method).parameters.values()
                types = [each.annotation for each in parameters if each.kind is not inspect.Parameter.KEYWORD_ONLY]
                assert types[0] == "Scale"
                assert len(set(types)) == len(types), f"{task.__name__}.{name}"


def test_summaries_read_ends_of_intervals_only_beside_a_truth() -> None:
    def cost(truth: bool) -> Cost:
        layers = ("prediction", "soil_moisture", "quality", "lower", "upper")
        return map_summaries.SummariseTile.cost(SCALE, layers=layers, seasons=4, shown=100, truth=truth)

    assert cost(False).read == 40_000 * 24 * (4 + 1)
    assert cost(True).read == 40_000 * 24 * (4 + 1 + 4 + 4 + 4)  # both ends, and the truth itself
    assert cost(True).work == 2 * cost(False).work
