"""What a worker does for a stack: weigh the predictions of its members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from soilscale import models, storage
from soilscale.engine.output import Workspace
from soilscale.engine.units import Cost, Task
from soilscale.models import FOLD, Job
from soilscale.seasons import ALL
from soilscale.storage import tables as tables_storage
from soilscale.tasks import model_store, single_fits
from soilscale.tasks.costs import MODELS, REPORTED, Scale

STACK = "stack"
"""Stage that comes after the fits."""


Parts = Mapping[str, Sequence[tuple[str, str, int]]]
"""Member -> stage and name of each table of its predictions, and the fold that it is of, -1 of the random split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeighMembers(Task):
    """Weigh the members of a stack."""

    job: Job
    seasons: tuple[str, ...]
    parts: Parts
    columns: Mapping[str, Mapping[str, Sequence[str]]]
    """Season -> member -> features that it takes."""
    features: tuple[str, ...]
    units: Mapping[str, str]
    """Feature -> its unit."""
    weights: str
    """How members are weighed, see `models.stack.Stack`."""
    seed: int
    folds: int

    @classmethod
    def cost(cls, scale: Scale, *, seasons: int, rows: float) -> Cost:
        """Cost of a stack, which holds all rows that its members predicted. Work: these, in millions."""
        return Cost(
            units=1,
            read=rows * REPORTED + seasons * scale.table,
            written=rows * REPORTED,
            objects=2 + 3 * seasons,
            work=rows / 1e6,
            load=3 * rows * REPORTED + scale.row * scale.rows,
            grows=MODELS,
        )

    def run(self, workspace: Workspace) -> None:
        """Keep the predictions, and of each model its members, weights and description."""
        table = models.stack.together({member: _predictions(workspace, parts) for member, parts in self.parts.items()})
        judged = models.stack.judge(table, list(self.parts), self.job.algorithm, self.seasons, self.weights)
        del table
        tables_storage.write_table(workspace.state(STACK, f"{self.job.name}.parquet"), judged.predictions)
        for model in models.stored_models(self.job, self.seasons):
            shares = dict(zip(self.parts, judged.stacks[model.season].weights_.tolist(), strict=True))
            members = {
                member: {"weight": weight, "features": list(self.columns[model.season][member])}
                for member, weight in shares.items()
            }
            description = {"members": members, "features": list(self.features)}
            storage.write_json(workspace.model(model.season, model.algorithm, model_store.MEMBERS), description)
            rows = single_fits.all_rows(workspace, model, self.seed, self.folds)
            scored = judged.predictions["model"] == model.model
            if model.season != ALL:
                scored &= judged.predictions["season"] == model.season
            estimator = judged.stacks[model.season]
            about = models.describe(model, estimator, rows, self.features, self.units, judged.predictions[scored])
            held_out = int((judged.predictions[scored]["split"] == "random").sum())
            about["rows"] = {**about["rows"], "validation": held_out}
            storage.write_json(workspace.state(STACK, f"{model.name}.about.json"), about | {"members": shares})


def _predictions(workspace: Workspace, parts: Sequence[tuple[str, str, int]]) -> pd.DataFrame:
    """Predictions of one member, with the fold that each row was held out in."""
    tables = [tables_storage.read_table(workspace.state(stage, f"{name}.parquet")) for stage, name, _ in parts]
    marked = [table.assign(**{FOLD: fold}) for table, (_, _, fold) in zip(tables, parts, strict=True)]
    # Of empty tables the first stays, so that the columns are there.
    return pd.concat([table for table in marked if len(table)] or marked[:1], ignore_index=True)
