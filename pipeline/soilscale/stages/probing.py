"""A few assets of every source opened before a run, in parallel: what `check` shows of them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soilscale import cube
from soilscale.catalog import Scene
from soilscale.config import Config
from soilscale.cube import Probe
from soilscale.errors import DataError, ServiceError, SoilscaleError
from soilscale.grid import lonlat_bounds
from soilscale.sources import Source
from soilscale.stages import frozen_items, inputs

SAMPLED = 3
"""Items of a source that are opened: the first, the middle and the last of the period."""

READERS = 8
"""Threads that open assets; they mostly wait for stores."""

PATIENCE = 60.0
"""Seconds after the last answer until which the next one is waited for."""


CLASSES = 8
"""Codes of classes that are shown at most."""

CAUSES = ("mask", "fill", "range", "quality")
"""Why values are missing, in the order in which they are looked at."""


@dataclass(frozen=True)
class Looked:
    """What came of opening an asset."""

    source: Source
    scene: Scene
    unit: str | None
    """Unit of the source in the cube; None of classes, or if it is not known."""
    probe: Probe | None
    error: SoilscaleError | None


def look(config: Config, scenes: Mapping[str, Sequence[Scene]]) -> list[Looked]:
    """Open assets of every source that has items, and read a window of each.

    If nothing has come of distant ones for `PATIENCE`, the rest counts as a service that does not answer.

    Parameters
    ----------
    scenes
        Source -> its scenes.
    """
    west, south, east, north = lonlat_bounds(config.nested_grid.bounds, config.nested_grid.crs)
    # A box across 180 degrees has its east below its west.
    middle = (west + (east + 360 * (west > east))) / 2, (south + north) / 2
    jobs = [(source, scene) for source in config.source_list for scene in sampled(config, scenes.get(source.name, ()))]
    todo: SimpleQueue[int] = SimpleQueue()
    ended: SimpleQueue[tuple[int, Looked]] = SimpleQueue()
    # Files of this machine first: they need no patience, and must not wait for threads that servers hold.
    distant = {number for number, (source, scene) in enumerate(jobs) if _is_distant(config, source, scene)}
    for number in sorted(range(len(jobs)), key=lambda number: number in distant):
        todo.put(number)

    def work() -> None:
        while True:
            try:
                number = todo.get_nowait()
            except Empty:
                return
            source, scene = jobs[number]
            ended.put((number, _looked(config, source, scenes[source.name], scene, middle)))

    # Daemons, since a server that never answers must not keep the command from ending.
    for number in range(min(READERS, len(jobs))):
        threading.Thread(target=work, name=f"check-{number}", daemon=True).start()
    answers = _collect(ended, set(range(len(jobs))), distant)
    return [
        answers[number] if number in answers else Looked(source, scene, None, None, _silent(source, scene))
        for number, (source, scene) in enumerate(jobs)
    ]


def _is_distant(config: Config, source: Source, scene: Scene) -> bool:
    read = inputs.reading(config, source)
    return config.catalog(source).sign != "none" or read.distant([scene])


def _collect(ended: SimpleQueue[tuple[int, Looked]], waiting: set[int], distant: set[int]) -> dict[int, Looked]:
    """Collect what comes of the jobs, by their numbers, until no distant one has come for `PATIENCE`."""
    answers: dict[int, Looked] = {}
    while waiting:
        try:
            number, looked = ended.get(timeout=PATIENCE)
        except Empty:
            # Files of this machine are waited for however long they take.
            waiting = waiting - distant
            continue
        waiting = waiting - {number}
        answers[number] = looked
    return answers


def sampled(config: Config, scenes: Sequence[Scene]) -> list[Scene]:
    """Items to open: the first, the middle and the last of the period, or of all where none lies in it."""
    first, after = config.months[0], config.months[-1] + np.timedelta64(1, "M")
    within = [scene for scene in scenes if scene.start < after and scene.end > first] or list(scenes)
    places = np.unique(np.linspace(0, len(within) - 1, min(SAMPLED, len(within))).round().astype(int))
    return [within[place] for place in places]


def _looked(config: Config, source: Source, scenes: Sequence[Scene], scene: Scene, place: cube.Place) -> Looked:
    try:
        units_of_files = {inputs.UNIT: frozen_items.unit_of_file(config, source, scenes)}
        unit = inputs.unit(source, scenes, units_of_files) if source.kind == "continuous" else None
        return Looked(source, scene, unit, cube.probe(inputs.reading(config, source, unit), scene, place), None)
    except SoilscaleError as error:
        return Looked(source, scene, None, None, _located(source, scene, error))
    except Exception as error:  # noqa: BLE001 - whatever an odd file makes a library raise is told as a fault of that file
        return Looked(source, scene, None, None, _located(source, scene, DataError(f"{type(error).__name__}: {error}")))


def _located(source: Source, scene: Scene, error: SoilscaleError) -> SoilscaleError:
    """Error whose message names source and item."""
    text = str(error)
    item = "" if f"item {scene.item}" in text else f", item {scene.item}"
    kind = ServiceError if isinstance(error, ServiceError) else type(error)
    return error if text.startswith(f"source {source.name}") else kind(f"source {source.name}{item}: {text}")


def _silent(source: Source, scene: Scene) -> ServiceError:
    where = scene.hrefs.get(source.asset, "its asset").partition("?")[0]
    return ServiceError(
        f"source {source.name}, item {scene.item}: {where} could not be read within {PATIENCE:g} s; check that its "
        "store and its signing service respond"
    )


def errors(looked: Sequence[Looked]) -> list[SoilscaleError]:
    """What is wrong, once for each source and cause."""
    by_cause: dict[tuple[str, type[SoilscaleError], str], SoilscaleError] = {}
    for opened in looked:
        if opened.error is not None:
            cause = str(opened.error).replace(opened.scene.item, "")
            for href in opened.scene.hrefs.values():
                cause = cause.replace(href.partition("?")[0], "")
            by_cause.setdefault((opened.source.name, type(opened.error), cause), opened.error)
    return list(by_cause.values())


def warnings(looked: Sequence[Looked]) -> list[str]:
    """What does not go together in what is stated of the items that were opened, once for each kind."""
    kinds: dict[str, str] = {}
    for opened in looked:
        for text in opened.probe.warnings if opened.probe is not None else ():
            kinds.setdefault(text.replace(opened.scene.item, ""), text)
    return list(kinds.values())


def samples(looked: Sequence[Looked]) -> NDArray[np.float64]:
    """Decoded values of all windows that were read, NaN where missing, in one dimension."""
    parts = [opened.probe.values.astype("float64").ravel() for opened in looked if opened.probe is not None]
    return np.concatenate([np.empty(0), *parts])


def described(looked: Looked) -> dict[str, Any]:
    """What was seen of an item, as plain data.

    Raises
    ------
    ValueError
        If it could not be read.
    """
    probe = looked.probe
    if probe is None:
        raise ValueError(f"{looked.scene.item} was not read")
    header, how = probe.header, probe.decoding
    code = header.crs.to_epsg()
    valid = probe.values[np.isfinite(probe.values)]
    return {
        "format": probe.driver,
        "crs": f"EPSG:{code}" if code else cube.crs_name(header),
        "pixel": [float(f"{side:.6g}") for side in header.pixel],
        "pixel unit": "degrees" if header.crs.is_geographic else header.crs.linear_units,
        "dtype": header.dtype,
        "missing codes": list(how.fills),
        "valid range": how.valid_range and list(how.valid_range),
        "scale": how.scale,
        "offset": how.offset,
        "unit": probe.unit,
        "cube unit": looked.unit,
        "conversion": [how.conversion.factor, how.conversion.offset],
        "least, median, greatest": [float(f"{f(valid):.6g}") for f in (np.min, np.median, np.max)]
        if valid.size
        else None,
        "missing": {cause: round(share, 4) for cause, share in probe.missing.items()},
        **({"classes": {str(code): name for code, name in probe.class_names.items()}} if probe.class_names else {}),
    }


def row(looked: Sequence[Looked]) -> tuple[str, ...] | None:
    """What will be read of a source: file, stored values, unit, and decoded values of all items that were opened.

    None if none could be.
    """
    probed = [(opened.unit, opened.probe) for opened in looked if opened.probe is not None]
    if not probed:
        return None
    entries = [described(opened) for opened in looked if opened.probe is not None]
    return (
        "; ".join(dict.fromkeys(map(_file, entries))),
        "; ".join(dict.fromkeys(map(_stored, entries))),
        "; ".join(dict.fromkeys(_unit(unit, probe) for unit, probe in probed)),
        _values(looked),
    )


def _file(entry: Mapping[str, Any]) -> str:
    width, height = entry["pixel"]
    return f"{entry['format']}, {entry['crs']}, {width:g} x {height:g} {entry['pixel unit']}"


def _stored(entry: Mapping[str, Any]) -> str:
    codes, limits = entry["missing codes"], entry["valid range"]
    parts = [entry["dtype"]]
    parts += [f"missing {', '.join(f'{code:g}' for code in codes)}" if codes else "no fill"]
    parts += [f"valid {limits[0]:g}..{limits[1]:g}"] if limits else []
    parts += [f"x {entry['scale']:g}"] if entry["scale"] != 1 else []
    parts += [f"{entry['offset']:+g}"] if entry["offset"] else []
    return ", ".join(parts)


def _unit(cube_unit: str | None, probe: Probe) -> str:
    """Unit in the cube, and how what is stated is brought to it."""
    if cube_unit is None:
        return "classes"
    way = probe.decoding.conversion
    offset = f" {way.offset:+g}" if way.offset else ""
    converted = f" (x {way.factor:g}{offset})" if (way.factor, way.offset) != (1, 0) else ""
    return (
        f"{probe.unit} -> {cube_unit}{converted}"
        if probe.unit and (converted or probe.unit != cube_unit)
        else cube_unit
    )


def _values(looked: Sequence[Looked]) -> str:
    """Least, median and greatest decoded value, and the share missing by cause."""
    values = samples(looked)
    valid = values[np.isfinite(values)]
    shares = [opened.probe.missing for opened in looked if opened.probe is not None]
    causes = {cause: float(np.mean([share.get(cause, 0.0) for share in shares])) for cause in CAUSES}
    causes_text = ", ".join(f"{cause} {100 * share:.2g} %" for cause, share in causes.items() if share)
    missing = f"{100 * (1 - valid.size / values.size):.3g} % missing{f' ({causes_text})' if causes_text else ''}"
    if not valid.size:
        return f"none, {missing}"
    if looked[0].source.kind == "categorical":
        codes = np.unique(valid)
        remainder = f" and {len(codes) - CLASSES} more" if len(codes) > CLASSES else ""
        return f"classes {', '.join(f'{code:g}' for code in codes[:CLASSES])}{remainder}; {missing}"
    return f"{valid.min():.4g} .. {np.median(valid):.4g} .. {valid.max():.4g}, {missing}"
