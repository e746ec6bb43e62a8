"""Commands that compute: `run`, and each stage alone."""

from __future__ import annotations

from inspect import signature

from soilscale import clusters
from soilscale.access import Access, MissingUnits, Replace, SequenceName, Wait
from soilscale.cli.application import app
from soilscale.cli.execution import ASKING, execute
from soilscale.cli.options import (
    ClusterFile,
    ConfigPath,
    Form,
    Level,
    Metrics,
    MetricsAddress,
    Output,
    Overrides,
    Scheduler,
    Workers,
)


def _command(name: str, work: str, text: str, example: str) -> None:
    def command(
        path: ConfigPath,
        output: Output = None,
        scheduler: Scheduler = None,
        workers: Workers = None,
        cluster_file: ClusterFile = None,
        override: Overrides = None,
        log_level: Level = "info",
        log_format: Form = "text",
        metrics_port: Metrics = None,
        metrics_address: MetricsAddress = "127.0.0.1",
        wait: Wait = 0.0,
        destroy: Replace = False,
        missing: MissingUnits = "fail",
        sequence: SequenceName = "",
    ) -> None:
        metrics = metrics_address, metrics_port
        choice = clusters.Choice(scheduler, cluster_file, workers)
        access = Access(wait, destroy, sequence, missing)
        execute(work, path, output, choice, override, log_level, log_format, metrics, access)

    # Later stages cannot continue from what is left of another configuration's product. All stages together continue
    # past missing units anyway, and end with their status.
    takes = {"destroy": work in ASKING, "missing": work != "run", "sequence": work != "run"}
    absent = {name for name, stands in takes.items() if not stands}
    options = signature(command, eval_str=True)
    options_left = [option for name, option in options.parameters.items() if name not in absent]
    vars(command)["__signature__"] = options.replace(parameters=options_left)
    app.command(name, help=text, epilog=f"Example: soilscale {name} {example}")(command)


_command(
    "run", "run", "All stages, from catalog to report; skips what is already complete.", "moselle.yaml --workers 4"
)
_command(
    "search",
    "search",
    "Find the items of every source and freeze them into the output.",
    "moselle.yaml -o period=[1990-01,1990-12]",
)
_command(
    "cube",
    "cube",
    "Stream the frozen items into the Zarr cube.",
    "moselle.yaml --scheduler tcp://dask-scheduler:8786",
)
_command(
    "samples",
    "samples",
    "Build the training table from the cube's coarse cells.",
    "moselle.yaml -o samples.min_valid_fraction=0.7",
)
_command(
    "train",
    "train",
    "Fit a model per season and algorithm, and evaluate it by random and blocked splits.",
    "moselle.yaml -o models.seed=1",
)
_command("map", "make_maps", "Make the fine maps: Zarr, COGs and STAC items.", "moselle.yaml -o maps.algorithm=best")
_command(
    "report",
    "report",
    "Make the tables, the figures and the HTML page.",
    "moselle.yaml -o validation.stations=stations.csv",
)
