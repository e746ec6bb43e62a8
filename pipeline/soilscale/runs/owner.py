"""The owner of an output: what a run of another name, area, grid or first month, or a shorter period, would destroy.

An output holds one product: its name, its place, and an unbroken run of months. What makes another one of it, and not
more of the same, is refused unless the user says that the earlier one is to go.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date

import shapely
import yaml
from pyproj import CRS

from soilscale import config, storage
from soilscale.config import Config
from soilscale.engine.lease import TERMS
from soilscale.engine.output import Workspace, digest
from soilscale.errors import ConfigurationError
from soilscale.runs import period as period_runs
from soilscale.runs.period import LOADER
from soilscale.stages import inventory
from soilscale.stages.context import Renewal, Run, Span

logger = logging.getLogger(__name__)

OWNER = "owner.json"
"""Name, below `state/`, of the record of whose an output is."""

NEAR = 1e-6
"""Share of a coarse cell within which two corners are one."""

LEASES = f"state/{TERMS}/"

RECORDS = "state/releases/"
"""Where the records of releases lie."""

RECORD = re.compile(rf"{RECORDS}\d+\.json")
"""Name of one."""

UNKNOWN = "owner: the output has no valid owner record, since state/owner.json and run.yaml are missing or damaged"


@dataclass(frozen=True)
class Owner:
    """What an output is the output of."""

    name: str
    area: str
    """As messages show it."""
    polygon: str
    """Digest of the polygon to which the maps are masked; empty if the area is a box."""
    crs: str
    coarse: float
    ratio: int
    corner: tuple[float, float]
    """Left and top of the coarse grid, in units of the CRS."""
    shape: tuple[int, int]
    """Rows and columns of coarse cells."""
    period: Span
    """First and last month."""

    @property
    def grid(self) -> str:
        """The grid in words."""
        left, top = self.corner
        return f"{self.crs}, coarse {self.coarse:g}, ratio {self.ratio}, a corner at [{left:.10g}, {top:.10g}]"


def described(settings: Config, period: Span) -> Owner:
    """Owner that a configuration makes of an output, with the months of its period."""
    grid, polygon = settings.nested_grid, settings.geometry
    return Owner(
        name=settings.name,
        area=settings.area.geometry or str(list(settings.area.bbox or ())),
        polygon="" if polygon is None else digest(shapely.normalize(polygon).wkb_hex),
        crs=grid.crs,
        coarse=grid.side,
        ratio=grid.ratio,
        corner=(grid.left, grid.top),
        shape=grid.shape,
        period=period,
    )


def recorded(workspace: Workspace) -> Owner | None:
    """Owner of an output by its record; None if there is none that can be read.

    Raises
    ------
    ServiceError
        If the store cannot be reached.
    """
    try:
        content = storage.read_json(workspace.state(OWNER))
        return Owner(**content | {key: tuple(content[key]) for key in ("corner", "shape", "period")})
    except (FileNotFoundError, storage.DamagedError, LookupError, TypeError):
        return None


def _resolved(workspace: Workspace) -> Owner | None:
    """Owner by the resolved configuration of the last run, where there is no record."""
    try:
        content = yaml.load(storage.read_bytes(workspace.resolved), Loader=LOADER)  # noqa: S506 - a safe one
        settings = config.validate(content["config"])
        return described(settings, settings.span)
    except (FileNotFoundError, yaml.YAMLError, ConfigurationError, LookupError, TypeError):
        return None


@dataclass(frozen=True)
class Claim:
    """A configuration beside what its output holds."""

    settings: Config
    """With the months that a relative period means."""
    renewal: Renewal | None
    stored: Owner | None
    """Owner by the output's record."""
    differences: tuple[str, ...] = ()
    """Facts in which the output is another one's, each with both values; none if a run goes on with what it holds."""
    lost: Mapping[str, int] = field(default_factory=dict)
    """Objects that would be deleted, and their bytes."""

    @property
    def loss(self) -> str:
        """What would be deleted, in words."""
        releases = sum(RECORD.fullmatch(name) is not None for name in self.lost)
        return f"{len(self.lost)} objects, {sum(self.lost.values()) / 2**20:.1f} MiB, {releases} releases"

    @property
    def notes(self) -> list[str]:
        """The differences, as lines that say what they are."""
        if not self.differences:
            return []
        return [
            f"{self.settings.output} holds the product of another configuration:",
            *(f"  {line}" for line in self.differences),
        ]

    def check(self) -> None:
        """Refuse what would destroy the product of another configuration.

        Raises
        ------
        ConfigurationError
            If the output is that of another name, area, grid or first month, or holds later months.
        """
        if self.differences:
            remedy = (
                f"continuing would delete {self.loss}; choose another output, or add --replace to `soilscale run` or "
                "`soilscale search` to delete it"
            )
            raise ConfigurationError("\n".join([*self.notes, remedy]))


def claim(settings: Config, today: date, *, afresh: bool) -> Claim:
    """Hold a configuration against what its output holds; nothing is changed, and nothing listed unless they differ.

    Parameters
    ----------
    today, afresh
        As `period.resolve` takes them.

    Raises
    ------
    ConfigurationError, DataError
        If a relative period cannot be resolved.
    ServiceError
        If the store cannot be reached.
    """
    workspace = Workspace(settings.output)
    stored = recorded(workspace)
    before = stored or _resolved(workspace)
    # With the earlier months on both sides: the months are compared below, when a relative period is resolved.
    place = [] if before is None else list(_foreign(before, described(settings, before.period)))
    try:
        resolved, renewal = period_runs.resolve(settings, today, afresh=afresh, anew=bool(place))
    except ConfigurationError:
        if place:
            Claim(settings, None, stored, tuple(place), _deletable(workspace, releases=True)).check()
        raise
    first, last = resolved.span
    differences = [UNKNOWN] if before is None else place
    if before is not None and before.period[0] != first:
        differences.append(_difference("first month", before.period[0], first))
    shorter = before is not None and last < before.period[1]
    if not differences and not shorter:
        return Claim(resolved, renewal, stored)
    deletable = _deletable(workspace, releases=bool(differences))
    if shorter and before is not None:
        differences.append(_difference("last month, an earlier one", before.period[1], last))
    return Claim(resolved, renewal, stored, tuple(differences) if deletable else (), deletable)


def _foreign(before: Owner, now: Owner) -> Iterator[str]:
    """Facts but for the months in which two owners differ."""
    if before.name != now.name:
        yield _difference("name", before.name, now.name)
    # In cells, since an origin may be stated by any corner of the grid; whole numbers are one and the same grid.
    away = [(earlier - later) / now.coarse for earlier, later in zip(before.corner, now.corner, strict=True)]
    aligned = all(abs(cells - round(cells)) < NEAR for cells in away)
    alike = (before.coarse, before.ratio) == (now.coarse, now.ratio) and CRS(before.crs) == CRS(now.crs)
    is_same = before.shape == now.shape and all(abs(cells) < NEAR for cells in away)
    if not (alike and aligned):
        yield _difference("grid", before.grid, now.grid)
        # Cells of two different grids cannot be compared, so the area counts as it was written.
        is_same = before.area == now.area
    # A polygon is compared by its shape; the extent of cells around it follows from that.
    if before.polygon != now.polygon or not (is_same or before.polygon):
        yield _difference("area", before.area, now.area)


def _difference(fact: str, before: object, now: object) -> str:
    return f"{fact}: the output has {before}, the configuration {now}"


def _deletable(workspace: Workspace, *, releases: bool) -> dict[str, int]:
    """Objects of runs, and their bytes, that would be deleted; none if there is no product among them.

    Parameters
    ----------
    releases
        Whether the releases go too; those of a shorter period stay, as earlier releases do.
    """
    is_ours = inventory.ours(workspace)
    # Never the leases: their last term is what fences other writers, and this run holds it.
    stays = (LEASES,) if releases else (LEASES, "maps/", RECORDS)
    sizes = {name: size for name, size in storage.sizes(workspace.output).items() if is_ours(name)}
    has_products = any(inventory.PRODUCT.fullmatch(name) for name in sizes)
    return {name: size for name, size in sizes.items() if not name.startswith(stays)} if has_products else {}


def settled(run: Run, today: date, *, afresh: bool, destroy: bool) -> Run:
    """Run whose output is its own, with the months that a relative period means; under the lease.

    Parameters
    ----------
    today, afresh
        As `period.resolve` takes them.
    destroy
        Whether the product of another configuration is deleted.

    Raises
    ------
    ConfigurationError
        If the output holds that, and it is not to be deleted.
    """
    ownership = claim(run.config, today, afresh=afresh)
    if not destroy:
        ownership.check()
    workspace, record = Workspace(ownership.settings.output), f"state/{OWNER}"
    if ownership.differences:
        logger.warning("%s\n--replace: %s are deleted", "\n".join(ownership.notes), ownership.loss)
        names = [name for name in ownership.lost if name not in {record, "run.yaml"}]
        storage.remove(workspace.output, names)
        # The records last: a run that is killed before still finds whose the rest is, and refuses it without --replace.
        storage.remove(workspace.output, ["run.yaml", record])
    if ownership.stored is not None and not ownership.differences:
        for line in period_runs.learned_anew(ownership.settings, ownership.stored.period):
            logger.info(line)
    if ownership.renewal is not None:
        logger.info(period_runs.describe(ownership.settings, ownership.renewal))
    now = described(ownership.settings, ownership.settings.span)
    if now != ownership.stored or ownership.differences:
        storage.write_json(workspace.state(OWNER), asdict(now))
    return dataclasses.replace(run, config=ownership.settings, renewal=ownership.renewal)
