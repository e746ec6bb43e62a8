"""The search stage: freeze the items of every source, and report what they do not cover."""

from __future__ import annotations

from collections.abc import Sequence

from soilscale import catalog
from soilscale.stages import frozen_items, grid_fit, input_audit, plan
from soilscale.stages.project import Project
from soilscale.stages.training import logger


def search(run: Project, *, searched: bool = False) -> None:
    """Freeze the items of every source, and tell of the months that none covers; errors as `frozen_items.freeze`."""
    new = True if searched else frozen_items.freeze(run)
    # The plan may have been made from the items of before.
    run.forget()
    if new:
        grid_fit.tell(run.config, run.plan.scenes)
    sources = {source.name: source for source in run.config.source_list}
    for name, relations in run.plan.relations.items():
        for line in catalog.account(sources[name], relations):
            logger.warning("%s", line)
    for line in gap_lines(run.plan):
        logger.warning("%s", line)
    input_audit.take(run)


def gap_lines(planned: plan.Plan) -> list[str]:
    """What months sources lack, because no item covers them or items cover too few of their days."""
    short, lines = planned.short(), []
    for name, months in planned.gaps().items():
        without = [month for month in months if month not in short.get(name, {})]
        lines += [f"source {name}: no item in {brief(without)}"] if without else []
    for name, covered in short.items():
        least = next(
            source_input.source.least_coverage for source_input in planned.inputs if source_input.source.name == name
        )
        listed = [f"{month} ({days:g} days)" for month, days in covered.items()]
        lines.append(
            f"source {name}: {len(covered)} of {len(planned.months)} months are missing, because items cover less than "
            f"{least:g} of their days (min_coverage): {brief(listed)}"
        )
    return lines


def brief(names: Sequence[str], noun: str = "months", most: int = 6) -> str:
    """Names as text, the first few of many."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more {noun}" if len(names) > most else shown
