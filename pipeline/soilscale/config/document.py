"""The YAML text of a configuration: syntax errors are reported with line and column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from soilscale.errors import ConfigurationError

REMEDIES: Mapping[str, str] = {
    r"found character '\t'": "a tab, which YAML does not allow; indent with spaces",
    "mapping values are not allowed": (
        "a key where none is allowed; indent the keys of one section alike, "
        "and quote a value that contains a colon and a space"
    ),
    "expected ',' or": "a bracket that is not closed, or a comma that is missing",
    "expected the node content": "a bracket that is not closed, or a value that is missing",
    "expected <block end>": "a line that is indented differently from those above it",
    "could not find expected ':'": "a key without a colon, or an unquoted text over several lines",
    "found undefined alias": "a text that begins with *, which denotes an alias in YAML; quote it",
    "found unexpected end of stream": "a quote that is not closed",
    "while scanning a quoted scalar": "a quote that is not closed",
}
"""Part of what the parser says -> what a person does about it."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            # Keys that are lists or mappings are refused below by PyYAML itself.
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in lines:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} a second time; it is already in line {lines[key.value]}",
                    problem_mark=key.start_mark,
                )
            lines[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


def parse(data: bytes | str, name: str) -> Any:
    """Content of a YAML document.

    Parameters
    ----------
    name
        What messages call it.

    Raises
    ------
    ConfigurationError
        If it is not YAML or a key stands twice in one mapping, with the line, the column and the remedy.
    """
    try:
        return yaml.load(data, Loader=_Loader)  # noqa: S506 - a safe loader that refuses more
    except yaml.reader.ReaderError as error:
        unreadable = (
            f"character {error.character:#x}" if isinstance(error.character, int) else f"byte {error.character!r}"
        )
        raise ConfigurationError(
            f"{name} is not YAML: {unreadable} at position {error.position} is not valid text; save the file as UTF-8"
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        raise ConfigurationError(f"{name} is not YAML: {where}{_remedy(error)}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigurationError(f"{name} is not YAML: {error}") from error


def _remedy(error: yaml.MarkedYAMLError) -> str:
    complaint = f"{error.problem or ''} {error.context or ''}"
    return next((remedy for part, remedy in REMEDIES.items() if part in complaint), complaint.strip())
