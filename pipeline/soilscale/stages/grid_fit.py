"""The coarse grid compared with the observation's own pixels, from one file of each sensor."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from soilscale import cube
from soilscale.catalog import Scene
from soilscale.config import Config
from soilscale.cube.fit import Advice, advice
from soilscale.errors import SoilscaleError
from soilscale.stages import inputs

logger = logging.getLogger(__name__)


def grid_advice(config: Config, scenes: Mapping[str, Sequence[Scene]]) -> dict[str, Advice]:
    """What to say of the grid, by the source that is observed on it; nothing of files that cannot be read."""
    by_source: dict[str, Advice] = {}
    for source in config.source_list:
        near = [scene for scene in scenes.get(source.name, ()) if cube.meets(scene, config.nested_grid.coarse)]
        if not source.on_coarse or not near:
            continue
        try:
            header = inputs.reading(config, source).header(near[0], source.data)
        except SoilscaleError:  # said where it is read
            continue
        source_advice = advice(header, config.nested_grid)
        if source_advice is not None:
            by_source[source.name] = source_advice
    return by_source


def tell(config: Config, scenes: Mapping[str, Sequence[Scene]]) -> None:
    """The same in the log."""
    for name, source_advice in grid_advice(config, scenes).items():
        logger.log(logging.WARNING if source_advice.misfit else logging.INFO, "source %s: %s", name, source_advice.text)
