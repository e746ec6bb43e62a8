"""Metadata of the Zarr stores of a run once they are filled: publisher, content, and how to open them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import xarray as xr

from soilscale import __version__, maps, storage
from soilscale.publish import acdd
from soilscale.stages import publication
from soilscale.stages.project import Project

Templates = Mapping[str, xr.Dataset]

OPEN = 'import xarray; xarray.open_zarr("<this folder or URL>", group="{group}")'

README = (
    "Zarr version 3, metadata consolidated. Groups: {groups}. Open one in Python: {how}. The grid is that of "
    "spatial_ref, time the first day of a month or season. Documentation: docs/products.md of soilscale {version}."
)


def describe_maps(run: Project, templates: Templates) -> None:
    """Describe and consolidate the store of the maps."""
    title = f"Surface soil moisture of {run.config.name}, monthly and seasonal maps"
    summary = (
        f"{title}: a coarse satellite product downscaled by one model a season, with quality bits and, where measured, "
        "an interval; block means equal the coarse observation where there is one."
    )
    _describe(run, run.workspace.maps, templates, maps.MONTH, title, summary)


def describe_cube(run: Project, templates: Templates) -> None:
    """Describe and consolidate the cube."""
    title = f"Predictors and coarse soil moisture of {run.config.name}, by month"
    summary = f"{title}: what the fine maps of soil moisture are made from, on the fine and on the coarse grid."
    _describe(run, run.workspace.cube, templates, "fine", title, summary)


def _describe(run: Project, url: str, templates: Templates, group: str, title: str, summary: str) -> None:
    how = OPEN.format(group=group)
    common = acdd.attributes(publication.about(run), title, summary) | {
        "source": f"soilscale {__version__}, configuration {run.config.name}",
        "history": f"made by soilscale {__version__}",
        "README": README.format(groups=", ".join(templates), how=how, version=__version__),
        "date_created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    months = run.plan.months
    common |= acdd.coverage(run.plan.grid.fine, months[0], months[-1] + 1)
    storage.describe(url, templates, common)
