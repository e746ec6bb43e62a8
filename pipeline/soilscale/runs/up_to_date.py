"""A complete run is sealed; a rerun without any change since then ends at once.

The seal holds a digest of all that lies in the output, as its store lists it, and of what the output hangs on beside:
the configuration, this version, the files that the maps are judged by. It says nothing that the units' markers do not
say; it saves planning them, and importing what they are planned with. Beside it lies an inventory of the output, by
which the next run that the seal does not fit sees what is lost (`repair.restore`).
"""

from __future__ import annotations

from soilscale import __version__, config, storage
from soilscale.engine.output import Workspace, digest
from soilscale.errors import IncompleteError, ServiceError
from soilscale.stages import frozen_items, inventory
from soilscale.stages.context import Outcome, Run
from soilscale.stages.inventory import SEAL, Stamps

FORMAT = 2
"""Version of what a complete run leaves; one that an earlier version sealed is brought up to date."""

ROUNDS = 3
"""How often a run makes again what another writer replaced while it was at work."""


def do(command: str, run: Run) -> Outcome:
    """Do a command of `runs.commands`; `run` only if the output is not up to date."""
    if command == "run":
        return renew(run)
    from soilscale.runs import commands

    outcome: Outcome = getattr(commands, command)(run)
    return outcome


def renew(run: Run) -> Outcome:
    """Do all stages, in their order, or none where the catalogs have nothing new for an output that is sealed.

    Raises
    ------
    ConfigurationError
        If the configuration, taken for that of the sealed output (`is_sealed`), is another and wrong.
    IncompleteError
        If another writer replaces what is made, again and again.
    """
    lines = _unbroken(run)
    searched = lines is not None
    if lines is not None and not frozen_items.freeze(run):
        return Outcome(lines, ())
    # A sealed output lets the parameters of models pass unchecked, which saves importing them; now they are needed.
    config.validate(config.dump(run.config))
    from soilscale.runs import commands

    for _ in range(ROUNDS):
        outcome = commands.run(run, searched=searched)
        # A run that is not complete is never sealed: the next one is to try its missing units again.
        if outcome.status or _seal(run, outcome):
            return outcome
        searched = True
    raise IncompleteError(
        f"{run.workspace.output}: another writer replaced what this run wrote, {ROUNDS} times; make sure that no "
        "other run or tool writes there, then run the same command again"
    )


def is_sealed(output: str) -> bool:
    """Whether a run of an output is known to have been complete; what its store does not tell, the run will meet."""
    try:
        return storage.exists(Workspace(output).state(SEAL))
    except ServiceError:
        return False


def _seal(run: Run, outcome: Outcome) -> bool:
    """Seal the output, unless something of it does not stand as it was written; then that is to be made again."""
    from soilscale.runs import repair
    from soilscale.stages.project import Project

    # Listed once for both: what is verified must be what is sealed.
    standing = inventory.take(run.workspace)
    if not repair.verify(Project.of(run), standing, begun=True):
        return False
    made_from = _made_from(run, standing)
    if made_from is not None:
        inventory.write(run.workspace, standing)
        content = {"made_from": made_from, "lines": list(outcome.lines), "term": run.term}
        storage.write_json(run.workspace.state(SEAL), content)
    return True


def _unbroken(run: Run) -> list[str] | None:
    """What the run told that sealed the output; None if it is not sealed, or something has changed."""
    try:
        seal = storage.read_json(run.workspace.state(SEAL))
        lines: list[str] = seal["lines"]
        made_from = seal["made_from"]
    except (FileNotFoundError, storage.DamagedError, LookupError, TypeError):
        return None
    return lines if made_from == _made_from(run, inventory.take(run.workspace)) else None


def _made_from(run: Run, standing: Stamps) -> str | None:
    """Digest of the output and of what it hangs on; None if a store does not tell when an object was written."""
    judges = [run.config.validation.stations, run.config.validation.truth]
    beside = [storage.stamps(url) for url in judges if url is not None]
    # Without a time, an object that was replaced by another of its size would look the same.
    if not all(stamp for stamps in (standing, *beside) for stamp in stamps.values()) or not all(beside):
        return None
    return digest(FORMAT, __version__, run.config_hash, standing, beside)
