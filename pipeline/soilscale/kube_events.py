"""Warnings of Kubernetes: when they happened, and what caused them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from soilscale.manifests import Document


def causes(events: Iterable[Document], prefix: str, since: datetime) -> list[str]:
    """Warnings since a moment about objects whose names have this prefix, the newest first, one for each cause."""
    about = [event for event in events if event.get("involvedObject", {}).get("name", "").startswith(prefix)]
    # An earlier try of the Job had a cluster of the same name, and its warnings stay for an hour.
    dated = sorted(((_happened(event), event) for event in about), key=lambda pair: pair[0], reverse=True)
    causes_by_text: dict[str, str] = {}
    for happened, event in dated:
        if happened >= since:
            text = f"{event.get('reason')}: {event.get('message')}"
            causes_by_text.setdefault(_without_names(text), text)
    return list(causes_by_text.values())


def instant(text: str | None) -> datetime:
    """Moment of a timestamp of Kubernetes; the beginning of time where there is none."""
    return datetime.fromisoformat(text) if text else datetime.min.replace(tzinfo=UTC)


def _happened(event: Document) -> datetime:
    """When an event was last seen."""
    last = event.get("series") or {}
    times = (last.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return instant(next((text for text in times if text), event["metadata"].get("creationTimestamp")))


def _without_names(text: str) -> str:
    """What events of one cause have in common: their words without names of pods and without numbers."""
    plain = re.sub(r"\"[^\"]*\"|'[^']*'", "", text)
    return " ".join(word for word in plain.split() if not re.search(r"\d", word))
