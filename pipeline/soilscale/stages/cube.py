"""The cube stage: classes, the template, every source, tile and month, gaps, coarse cells, harmonisation."""

from __future__ import annotations

from soilscale import cube, storage
from soilscale.engine.output import digest
from soilscale.engine.units import Unit, raise_failed
from soilscale.engine.zarr_layout import Layout, lay
from soilscale.errors import DataError
from soilscale.stages import derived_units, gap_units, harmonise_units, inputs, inventory, store_metadata
from soilscale.stages.project import Project
from soilscale.tasks import cube_regions


def fill_cube(run: Project) -> None:
    """Stream the items into the cube: classes looked up, the template laid, then every source, tile and month."""
    _find_classes(run)
    templates = cube.template(run.plan.inputs, run.plan.grid, run.plan.months, filled=bool(run.plan.filled))
    lay(
        Layout(
            run.workspace, run.workspace.cube, "layout.json", run.plan.layout, run.plan.months[-1], inventory.remove
        ),
        templates,
        (
            cube_regions.CUBE,
            *gap_units.STAGES,
            *derived_units.STAGES,
            cube_regions.GATHER,
            harmonise_units.RELATE,
            harmonise_units.HARMONISE,
            harmonise_units.MERGE,
        ),
    )
    run.do(run.cube_units, "cube")
    _fill_gaps(run)
    _derive(run)
    run.do(run.gather_units, "cube: coarse cells")
    if run.plan.target.source.harmonise is not None:
        _harmonise(run)
    store_metadata.describe_cube(run, templates)


def _fill_gaps(run: Project) -> None:
    """Fill the gaps of predictors, by levels and cycles that are learned from what was read."""
    # Levels and cycles serve a whole source or tile, so a missing one stops the run; a gap that cannot be filled costs
    # its own tile and month alone.
    work = run.gaps_units
    raise_failed(run.do(work.levels, "cube: levels of months"))
    raise_failed(run.do(work.cycles, "cube: annual cycles"))
    run.do(work.gaps, "cube: gaps")


def _derive(run: Project) -> None:
    """Derive predictors from others month by month."""
    if run.config.derived_list:
        # The units are planned anew for each step: what one takes in are the markers that the step before has left.
        raise_failed(run.do(run.derive_units.scatter, "cube: temperature and vegetation"))
        raise_failed(run.do(run.derive_units.edges, "cube: dry and wet edges"))
        run.do(run.derive_units.derive, "cube: derived predictors")


def _harmonise(run: Project) -> None:
    """Bring the parts of the target to one level."""
    relate = harmonise_units.relate_units(run.plan, run.standing)
    # With method `none` there is no relation; the marker of an earlier method would stand for one that nobody uses.
    if not relate:
        inventory.remove(run.workspace, "state", harmonise_units.RELATE)
    raise_failed(run.do(relate, "cube: relate sensors"))
    run.do(harmonise_units.harmonise_units(run.plan, run.standing), "cube: harmonise")
    run.do(run.merge_units, "cube: coarse target")


def _find_classes(run: Project) -> None:
    """Look up the classes of categorical sources of which neither the configuration nor a profile names them."""
    for source in run.config.source_list:
        if source.kind != "categorical" or source.classes:
            continue
        scenes, read = run.plan.scenes[source.name], inputs.reading(run.config, source)
        made_from = digest([scene.digest for scene in scenes], source, run.plan.grid)
        work = [
            Unit(
                f"classes/{source.name}",
                tile.name,
                made_from,
                cube_regions.FindClasses(reading=read, scenes=scenes, grid=run.plan.grid, tile=tile),
            )
            for tile in run.plan.grid.tiles()
        ]
        run.do(work, f"cube: classes of {source.name}")
        parts = [
            storage.read_json(url)
            for tile in run.plan.grid.tiles()
            if storage.exists(url := run.workspace.state("classes", source.name, f"{tile.name}.codes.json"))
        ]
        codes = sorted({code for part in parts for code in part})
        if not codes:
            raise DataError(f"source {source.name}: no class found in any of its {len(scenes)} items")
        storage.write_json(run.workspace.state("classes", f"{source.name}.json"), {"classes": codes})
    # Plan anew before the store is laid: each class is a variable of its own, which the plan so far does not know.
    run.forget()
