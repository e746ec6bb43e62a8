"""From a YAML file to a checked configuration, or to a message that names every wrong key."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from soilscale import storage
from soilscale.config import document, faults
from soilscale.config.model_settings import PROVEN
from soilscale.config.sections import Config
from soilscale.config.urls import is_home
from soilscale.errors import ConfigurationError
from soilscale.seasons import METEOROLOGICAL

logger = logging.getLogger(__name__)

NORTHERN_SUMMER = set(METEOROLOGICAL["summer"])

SOUTHERN: Mapping[str, tuple[int, ...]] = {
    "autumn": METEOROLOGICAL["spring"],
    "winter": METEOROLOGICAL["summer"],
    "spring": METEOROLOGICAL["autumn"],
    "summer": METEOROLOGICAL["winter"],
}
"""What the meteorological seasons are called south of the equator."""


def load(
    path: str,
    overrides: Sequence[str] = (),
    output: str | None = None,
    proven: Callable[[str], bool] = lambda _output: False,
    keys: Mapping[str, Any] | None = None,
) -> Config:
    """Read and check a configuration.

    Parameters
    ----------
    path
        YAML file; relative paths in it are relative to its folder.
    overrides
        ``KEY=VALUE``, keys with dots, values in YAML; paths among them are relative to the working directory.
    output
        Overrides the key ``output``; relative to the working directory.
    proven
        Says of an output whether a run of it is complete, perhaps of this configuration: then the parameters of models
        are not checked, and `validate` is to be called with `dump` if it turns out to be another.
    keys
        Values by key, keys with dots; a mapping is laid over the mapping of the file. Paths are resolved as those of
        `overrides`.

    Raises
    ------
    ConfigurationError
        Naming every key that is wrong, and the nearest known one where a key is unknown.
    """
    folder = str(Path.cwd())
    url = storage.resolve(path, folder)
    try:
        data = storage.read_bytes(url)
    except FileNotFoundError as error:
        raise ConfigurationError(f"no configuration at {path}") from error
    content = document.parse(data, path)
    if not isinstance(content, dict):
        fault = "is empty" if content is None else f"is not a mapping of keys, but {type(content).__name__}"
        raise ConfigurationError(f"{path} {fault}; expected keys with their values, such as name: moselle")
    _place(content, url.rpartition("/")[0])
    written = [_override(text) for text in overrides]
    for name, value in (keys or {}).items():
        written += _leaves(content, tuple(name.split(".")), value)
    for place, value in written:
        _set(content, place, value)
    for place, _ in written:
        # An override may set a whole section, so each path below it is resolved against where the command was given.
        for path_keys in _paths(content):
            if path_keys[: len(place)] == place:
                _place_one(content, path_keys, folder)
    if output is not None:
        content["output"] = storage.resolve(output, folder)
    options = "".join(f" -o {'.'.join(place)}" for place, _ in written)
    settings = validate(
        content,
        f"{path} with{options}" if options else path,
        lambda: is_home(content.get("output")) and proven(content["output"]),
    )
    if (note := names_of_the_north(settings)) is not None:
        logger.warning(note)
    return settings


def validate(
    content: Mapping[str, Any], path: str = "the configuration", proven: Callable[[], bool] = lambda: False
) -> Config:
    """Check a configuration that has been read; `proven` and errors as of `load`."""
    try:
        return Config.model_validate(content, context={PROVEN: proven})
    except ValidationError as error:
        lines = "\n".join(f"  {line}" for line in faults.explain(error))
        raise ConfigurationError(f"{path} is wrong:\n{lines}") from error


def names_of_the_north(settings: Config) -> str | None:
    """That an area of the south has a summer of June to August, and how to name seasons there; None if it has not."""
    try:
        box = settings.area.bbox or (None if settings.geometry is None else settings.geometry.bounds)
    except ConfigurationError:
        return None
    if box is None or box[1] + box[3] >= 0 or set(settings.season_scheme.months.get("summer", ())) != NORTHERN_SUMMER:
        return None
    written = ", ".join(f"{name}: {list(months)}" for name, months in SOUTHERN.items())
    return (
        "the area is in the southern hemisphere, but the season called summer is June to August there too. The names "
        "are those of the northern hemisphere; the maps are not affected. For southern names write seasons: "
        f"{{{written}}}"
    )


PATHS = (("output",), ("area", "geometry"), ("validation", "stations"), ("validation", "truth"))
"""Keys that hold a path or URL, besides ``catalogs.<name>.url`` and ``catalogs.<name>.files``."""


def _paths(content: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    yield from PATHS
    catalogs = content.get("catalogs")
    if isinstance(catalogs, dict):
        yield from (("catalogs", name, key) for name in catalogs for key in ("url", "files"))


def _place(content: dict[str, Any], base: str) -> None:
    """Resolve every path of a configuration against its own folder; truth.zarr beside it is the default truth."""
    for keys in _paths(content):
        _place_one(content, keys, base)
    validation = content.setdefault("validation", {})
    beside = storage.join(base, "truth.zarr")
    if isinstance(validation, dict) and validation.get("truth") is None and storage.exists(beside):
        validation["truth"] = beside


def _place_one(content: dict[str, Any], keys: tuple[str, ...], base: str) -> None:
    *outer, last = keys
    node: Any = content
    for key in outer:
        node = node.get(key) if isinstance(node, dict) else None
    # An empty one would be the folder of the configuration itself.
    if isinstance(node, dict) and isinstance(node.get(last), str) and node[last].strip():
        node[last] = storage.resolve(node[last], base)


def _leaves(content: Mapping[str, Any], keys: tuple[str, ...], value: Any) -> list[tuple[tuple[str, ...], Any]]:
    """Keys and values by which a value is laid over what a configuration has under a key."""
    node: Any = content
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    # A season scheme is one value: laid over another it would be no partition of the year.
    if not isinstance(value, Mapping) or not isinstance(node, dict) or keys == ("seasons",):
        return [(keys, _as_written(value))]
    return [leaf for key, inner in value.items() for leaf in _leaves(content, (*keys, str(key)), inner)]


def _as_written(value: Any) -> Any:
    """Value as a file would hold it."""
    if isinstance(value, Mapping):
        return {key: _as_written(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_as_written(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def _override(text: str) -> tuple[tuple[str, ...], Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigurationError(f"-o {text!r} is not KEY=VALUE, such as -o models.seed=1")
    return tuple(key.split(".")), document.parse(value, f"the value of -o {key}")


def _set(content: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    node = content
    for key in keys[:-1]:
        if node.get(key) is None:
            node[key] = {}
        node = node[key]
        if not isinstance(node, dict):
            raise ConfigurationError(f"-o {'.'.join(keys)}: {key!r} holds a value, not a mapping of keys")
    node[keys[-1]] = value


def dump(config: Config) -> dict[str, Any]:
    """Resolved configuration as plain data without secrets: passwords are refused, the queries of URLs left out."""
    return json.loads(config.model_dump_json())
