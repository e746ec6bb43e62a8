"""A run's files in an output: by name, the only rule for removal; and the record of a complete run.

By the list that a complete run leaves the next one sees what another hand has taken or altered since.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache, partial

from soilscale import storage, viewer
from soilscale.engine.lease import TERMS
from soilscale.engine.output import Workspace
from soilscale.schema import APPLICABILITY, LOWER, MAP, QUALITY, RESIDUAL, UPPER

NAME, SEAL = "inventory.json", "seal.json"
"""Names of the inventory and of the seal below `state/`."""

PASSING = ("run.yaml", f"state/{NAME}", f"state/{SEAL}", f"state/{TERMS}/")
"""Names, or how they begin, of what every run writes anew."""

METADATA = "/zarr.json"
"""End of the name of what describes a Zarr group or array."""

LAYERS = f"{MAP}|{QUALITY}|{LOWER}|{UPPER}|{APPLICABILITY}|{RESIDUAL}"
"""Names of the layers that are published, as a pattern."""

MAP_FILES = rf"({LAYERS})\.tif|(?P=name)_[^/]+_(({LAYERS})\.tif|(thumbnail|overview)\.png)"
"""Names of the files of a map, as a pattern; the first are those of releases before the name and date stood in them."""

PRODUCT = re.compile(
    r"(cube|maps)\.zarr/zarr\.json"
    r"|(cube\.zarr/(fine|coarse|fraction|observed|level|cycle|filled)|maps\.zarr/(month|season|coarse|coarse_season))"
    r"/(zarr\.json|[^/]+/(zarr\.json|c(/\d+)*))"
    r"|(samples|predictions)\.parquet"
    r"|models/[^/]+/[^/]+/(model\.skops|(model|members)\.json|trees\.npz)"
    r"|maps/(releases/\d+/)?(((month|season)/)?(catalog|collection)|viewer)\.json"
    rf"|maps/(month|season)/(?P<map>(?P<name>[^/]+)-(month|season)-\d{{4}}-\d\d)/[0-9a-f]{{16}}/({MAP_FILES}|(?P=map)\.json)"
)
"""Name of a product, but for those of the report, which lists its own."""

RECORD = re.compile(r"run\.yaml|items/[^/]+\.json|state/([^/]+\.json|[^/]+/.+\.(json|parquet|npz))")
"""Name of what a run writes down for the next one."""

DRAFT = re.compile(
    r"(?P<folder>(.*/)?)(\.(?P<name>[^/]+)\.([a-z0-9_]{8}|\d+\.\d+)|(?P<stem>[^/]+)\.[0-9a-f]{32}\.partial)"
)
"""Name of an object that was being written when its writer was killed: `storage`'s own, or Zarr's."""

REPORT = "report/"

PAGE = f"maps/{viewer.PAGE}"
"""Name of the viewer's page, which by its name alone could be a user's."""

Stamps = Mapping[str, str]
"""Name of each object, and its `storage.stamp`."""


def reported(workspace: Workspace) -> set[str]:
    """Names of the files that the report, or one that was begun after it, has written, below `report/`."""
    try:
        # Without its list nothing below `report/` is known to be ours, and so nothing of it is removed: better litter
        # than a user's file.
        return set(storage.read_json(workspace.state("report", "report.json"))["files"])
    except (FileNotFoundError, storage.DamagedError, LookupError, TypeError):
        return set()


def _is_page(workspace: Workspace) -> bool:
    """Whether the page beside the published maps is the viewer's, as its first line says; one that is lost was ours."""
    try:
        return viewer.is_page(storage.read_head(workspace.published(viewer.PAGE), viewer.HEAD))
    except FileNotFoundError:
        return True


def ours(workspace: Workspace) -> Callable[[str], bool]:
    """Tell of a name below the output whether a run has written the object; all else is a user's, and is left alone."""
    report, is_page = cache(partial(reported, workspace)), cache(partial(_is_page, workspace))

    def is_ours(name: str) -> bool:
        if (
            PRODUCT.fullmatch(name)
            or RECORD.fullmatch(name)
            or (name == PAGE and is_page())
            or (name.startswith(REPORT) and name.removeprefix(REPORT) in report())
        ):
            return True
        draft = DRAFT.fullmatch(name)
        if draft is None:
            return False
        folder, full_name, stem = draft["folder"], draft["name"], draft["stem"]
        # A draft is ours if the object is that it was to become; of some drafts the name lacks the ending.
        return any(
            is_ours(f"{folder}{candidate}") for candidate in (full_name, stem, stem and f"{stem}.json") if candidate
        )

    return is_ours


def remove(workspace: Workspace, *below: str, but: Callable[[str], bool] = lambda _name: False) -> None:
    """Remove what runs have written below a part of the output.

    Parameters
    ----------
    below
        Parts of the name of a folder of the output; none for all of it.
    but
        Tells of a name, relative to the output, whether it stays.
    """
    is_ours, folder = ours(workspace), "".join(f"{part}/" for part in below)
    # By the names of objects and never by the folder: files of a user may lie in it.
    names = (f"{folder}{name}" for name in storage.names_below(storage.join(workspace.output, *below)))
    storage.remove(workspace.output, [name for name in names if is_ours(name) and not but(name)])


def take(workspace: Workspace) -> dict[str, str]:
    """List what lies in an output, but for what every run writes anew."""
    stamps = storage.stamps(workspace.output)
    return {name: stamp for name, stamp in stamps.items() if not name.startswith(PASSING)}


def write(workspace: Workspace, standing: Stamps) -> None:
    """Write down what a complete run left."""
    storage.write_json(workspace.state(NAME), standing)


def left(workspace: Workspace) -> Stamps:
    """What the last complete run left, as it was written down; nothing if there was none."""
    try:
        content = storage.read_json(workspace.state(NAME))
    except (FileNotFoundError, storage.DamagedError):
        return {}
    return content if isinstance(content, dict) else {}


def term(workspace: Workspace) -> int:
    """Term of the last complete run, 0 if it is not known."""
    try:
        return int(storage.read_json(workspace.state(SEAL))["term"] or 0)
    except (FileNotFoundError, storage.DamagedError, LookupError, TypeError, ValueError):
        return 0


def altered(workspace: Workspace, now: Stamps) -> list[str]:
    """Names of the products that are gone, or not what a complete run left, sorted.

    Metadata of a Zarr store may have been consolidated: they are told only if they are gone. None is told where markers
    have come or gone since: then a run has been at work, and has made products anew; nor where items are gone, without
    which nobody can tell what a product was made from. Records are no products: a search that finds something new has
    just written them.
    """
    then = left(workspace)
    changed = {name for name in {*then, *now} if then.get(name) != now.get(name)} if then else set()
    if any(name.startswith("state/") or (name.startswith("items/") and name not in now) for name in changed):
        return []
    # A tool that consolidates metadata rewrites these; taken for altered, they would have the whole store made again.
    described = {name for name in changed & now.keys() if name.endswith(METADATA)}
    is_ours = ours(workspace)
    products = (name for name in changed & then.keys() - described if not RECORD.fullmatch(name))
    return sorted(name for name in products if is_ours(name))
