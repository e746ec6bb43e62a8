"""A small release: maps of three months with a gap, published as a run does, without the run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import box

from soilscale import publish, storage
from soilscale.engine.output import Workspace
from soilscale.engine.units import Unit
from soilscale.grid import Grid, cover
from soilscale.maps import template
from soilscale.publish import acdd
from soilscale.schema import LOWER, MAP, QUALITY, UPPER, Quality
from soilscale.seasons import METEOROLOGICAL, Seasons, month_range
from soilscale.stages import releases
from soilscale.tasks.published_maps import Edition, PublishMap
from soilscale.viewer.index import Viewed

RUN = 7
"""Number of the run that makes the release."""

LOG = "https://logs.example.org/explore?query=app%3Dsoilscale+run%3D{run}"

MONTHS = month_range(np.datetime64("2004-12"), np.datetime64("2005-02"))
ABOUT = publish.About(
    title="Soil moisture of the lab",
    license="CC-BY-4.0",
    license_url="https://spdx.org/licenses/CC-BY-4.0.html",
    providers=[{"name": "The lab", "roles": ["producer"], "url": "https://lab.example.org"}],
    keywords=["soil moisture"],
    citation="The lab (2026)",
    doi="10.1234/lab.5",
    contact="maps@lab.example.org",
    inputs=[publish.Input("rain", "Rain of somewhere", "CC-BY-4.0", "Rainer, R. (2020)")],
)


def grid(crs: str = "EPSG:3035") -> Grid:
    """Grid of 2 by 3 coarse cells of 10 by 10."""
    if crs == "EPSG:3035":
        return cover(box(6.0, 48.0, 6.6, 48.3), crs, 24_000, 10)
    return cover(box(108.3, 35.1, 108.8, 35.4), crs, 0.25, 10)


def layers(shape: tuple[int, int, int]) -> dict[str, NDArray[Any]]:
    """Maps with a gap, their interval and quality."""
    values = np.random.default_rng(4).uniform(0.1, 0.4, shape).astype("float32")
    values[0, :3, :4] = np.nan
    quality = np.where(np.isfinite(values), Quality.OBSERVED | Quality.GAP_FILLED, 0).astype("uint8")
    return {MAP: values, QUALITY: quality, LOWER: values - np.float32(0.02), UPPER: values + np.float32(0.02)}


def viewed(fine: Grid) -> Viewed:
    """What the viewer shows of it."""
    return Viewed(fine, "sm", "lab-sm", Seasons(METEOROLOGICAL), (0.0, 0.6), 0.9, None, stations=False)


def release(output: str, fine: Grid, root: str | None = None) -> dict[str, NDArray[Any]]:
    """Write maps of three months, publish them as a run does, and give what they hold."""
    workspace = Workspace(output, term=RUN)
    seasons = Seasons(METEOROLOGICAL)
    written = template(fine, MONTHS, MONTHS[:1], seasons, optional=(LOWER, UPPER), valid_range=(0.0, 0.6))
    values = layers((len(MONTHS), *fine.fine.shape))
    for group, dataset in written.items():
        storage.create(workspace.maps, group, dataset)
    for name, stack in values.items():
        for index in range(len(MONTHS)):
            for tile in fine.tiles():
                storage.write_region(workspace.maps, "month", name, stack[index][tile.fine], (index, *tile.fine))
    work = []
    for index, month in enumerate(MONTHS):
        edition = Edition(
            every="month",
            identifier=f"lab-month-{month}",
            collection="lab-month",
            span=(month, month + 1),
            properties={"title": "A map", "soilscale:algorithm": "knn", "processing:level": "L4"},
            sources=[{"href": "https://example.org/rain.json", "title": "rain"}],
            optional=(LOWER, UPPER),
            stem=f"lab_{str(month).replace('-', '')}",
            scale=(0.05, 0.45),
            root=root,
            log=LOG,
            version=f"{index:016x}",
        )
        task = PublishMap(fine=fine, edition=edition, index=index)
        task.run(workspace)
        work.append(Unit("publish", f"month-{month}", edition.version, task))
        storage.write_json(workspace.state("publish", work[-1].marker), {})
    storage.describe(workspace.maps, written, acdd.attributes(ABOUT, "Soil moisture", "Maps of the lab"))
    releases.release(workspace, "lab", "hash", work, None, viewed(fine), replace(ABOUT, root=root, log=LOG))
    return values
