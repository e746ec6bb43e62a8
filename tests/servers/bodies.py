"""Bodies of requests to Kubernetes: JSON, YAML, and what helm sends in protobuf."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import yaml

PROTOBUF = b"k8s\0"
"""How a body in protobuf begins."""
DATA, LABELS = 2, 11
"""Numbers of fields of a Secret, and of metadata."""


def read(content: bytes) -> Any:
    """Body of a request: JSON, YAML, or a Secret in protobuf, as helm's storage of releases sends it."""
    if not content.startswith(PROTOBUF):
        return yaml.safe_load(content) if content else {}
    envelope = dict(_fields(content.removeprefix(PROTOBUF)))
    if dict(_fields(envelope[1]))[2] != b"Secret":  # of options
        return {}
    fields = list(_fields(envelope[2]))
    body = dict(fields)
    metadata = list(_fields(body[1]))
    labels = dict(_pair(value) for number, value in metadata if number == LABELS)
    data = [_pair(value) for number, value in fields if number == DATA]
    named = {"name": dict(metadata)[1].decode(), "labels": {name: text.decode() for name, text in labels.items()}}
    coded = {name: base64.b64encode(value).decode() for name, value in data}
    return {"metadata": named, "data": coded, "type": body[3].decode()}


def _pair(entry: bytes) -> tuple[str, bytes]:
    """Entry of a map in protobuf."""
    pair = dict(_fields(entry))
    return pair[1].decode(), pair.get(2, b"")


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Number and content of every field of a message in protobuf that is a number or has a length."""
    place = 0

    def number() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(message):
        tag = number()
        if tag & 7 == 0:
            yield tag >> 3, number()
        else:
            length = number()
            yield tag >> 3, message[place : place + length]
            place += length
