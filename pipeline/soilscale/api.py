"""What a person calls from Python: read a configuration and run it; its JSON Schema."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from soilscale import clusters, config, storage
from soilscale.config import Config
from soilscale.errors import DataError, IncompleteError, SoilscaleError
from soilscale.outputs import Output
from soilscale.outputs import open as open_output

if TYPE_CHECKING:
    from distributed import Client

    from soilscale.stages.context import Outcome


def read_config(path: str | PathLike[str], **overrides: Any) -> Config:
    """Read and check a configuration.

    Parameters
    ----------
    path : str or path
        YAML file, or its URL.
    **overrides
        Any key of the configuration. A mapping is laid over that of the file, so that other keys of a section stay; a
        key within a section can also be written with dots, ``**{"models.seed": 1}``. Relative paths are relative to the
        working directory.

    Returns
    -------
    soilscale.config.Config
        Frozen; every key is an attribute, ``config.models.seed``.

    Raises
    ------
    soilscale.errors.ConfigurationError
        Naming every key that is wrong, and the nearest known one where a key is unknown.

    Examples
    --------
    >>> import soilscale
    >>> config = soilscale.read_config("examples/shaanxi.yaml", output="runs/test", models={"seed": 1})
    >>> config.models.seed, config.grid.ratio
    (1, 20)
    """
    return config.load(fspath(path), keys=overrides)


def run(settings: Config | str | PathLike[str], client: Client | None = None) -> Output:
    """Run all stages of a configuration, from catalogs to report; what is complete is skipped.

    It does what ``soilscale run`` does, without its messages: Python's ``logging`` has them under ``soilscale``.

    Parameters
    ----------
    settings : Config or path
        Of `read_config`, or the file.
    client : distributed.Client, optional
        Dask cluster to run on; by default, processes on this machine, one a core, for the time of the call. A script
        that starts those guards its call with ``if __name__ == "__main__":``.

    Returns
    -------
    Output
        What `open` makes of the output.

    Raises
    ------
    soilscale.errors.SoilscaleError
        If the run is not complete; its ``status`` is the exit status of the command. `DataError` if inputs cannot be
        used, `ServiceError` if a catalog or a store is out of reach, `IncompleteError` if a call with the same
        configuration will go on.
    """
    from soilscale.engine import lease
    from soilscale.engine.output import Workspace
    from soilscale.runs import owner, up_to_date
    from soilscale.stages.context import Run

    written = settings if isinstance(settings, Config) else read_config(settings)
    today = datetime.now(UTC).date()
    # Before the output is held, so that a run that is refused leaves nothing behind.
    owner.claim(written, today, afresh=True).check()
    with ExitStack() as stack:
        lease_workspace = stack.enter_context(lease.held(Workspace(written.output)))
        # Nothing is started before a stage asks for it.
        local_connect = stack.enter_context(clusters.chosen(clusters.Choice())).connect
        connect = local_connect if client is None else lambda: client
        begun = Run(written, connect, _quietly, term=lease_workspace.term)
        outcome = up_to_date.do("run", owner.settled(begun, today, afresh=True, destroy=False))
    if outcome.status:
        raise _failure(outcome, written.output)
    return open_output(written.output)


def _quietly(_doing: str, _count: int, _total: int | None) -> None:
    """Progress that nobody watches."""


def _failure(outcome: Outcome, output: str) -> SoilscaleError:
    """Failure of a run that has ended without some of its units."""
    text = f"{storage.shown(output)} lacks {len(outcome.failures)} units: " + "; ".join(outcome.causes)
    return DataError(text) if outcome.status == DataError.status else IncompleteError(text)


def config_schema() -> dict[str, Any]:
    """JSON Schema of a configuration, by which an editor completes keys and marks what is wrong.

    It is published as ``soilscale.schema.json`` beside the documentation; a file of it is made current by
    ``json.dump(soilscale.config_schema(), file)``, and named in the first line of a configuration:
    ``# yaml-language-server: $schema=soilscale.schema.json``.

    Returns
    -------
    dict
        Draft 2020-12.

    Examples
    --------
    >>> import soilscale
    >>> soilscale.config_schema()["required"]
    ['name', 'output', 'area', 'grid', 'period', 'catalogs', 'sources']
    """
    return config.json_schema()
