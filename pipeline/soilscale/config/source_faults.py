"""Conflicts between the sources of a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from soilscale.config.inputs import HarmonisedSection
from soilscale.errors import nearest
from soilscale.sources import Source


def faults(targets: Mapping[str, HarmonisedSection], sources: Sequence[Source]) -> Iterator[tuple[str, str]]:
    """Key and what is wrong there, between targets of several parts and the other sources."""
    by_name = {source.name: source for source in sources}
    used: set[str] = set()
    for name, target in targets.items():
        used |= {*target.parts, target.through or ""}
        yield from ((f"sources.{name}.parts", fault) for fault in _part_faults(target, by_name))
        if target.reference is not None and target.reference not in target.parts:
            fault = f"{target.reference!r} is not among parts{nearest(target.reference, target.parts)}"
            yield f"sources.{name}.reference", fault
        if target.through is not None and (wrong := _through_fault(target, by_name)):
            yield f"sources.{name}.through", wrong
    for source in sources:
        if source.role == "part" and source.name not in used:
            yield f"sources.{source.name}.role", "got 'part', but no target names this source among its parts"


def derived_faults(sources: Sequence[Source], derived: Sequence[Source]) -> Iterator[tuple[str, str]]:
    """Key and what is wrong there, of sources that something is made from beside the one whose key says so."""
    by_name = {source.name: source for source in sources if source.role == "predictor"}
    keys = {"range": "night", "tvdi": "tvdi"}
    for how in filter(None, (source.derivation for source in derived)):
        first, *partners = how.of
        for partner in partners:
            key = f"sources.{first}.{keys[how.kind]}"
            if partner not in by_name or partner == first:
                yield key, f"there is no other predictor {partner!r}{nearest(partner, by_name)}"
            elif by_name[partner].kind == "categorical" or by_name[partner].static or by_name[partner].derive:
                yield key, f"{partner!r} must be continuous and change from month to month"


def _part_faults(target: HarmonisedSection, by_name: Mapping[str, Source]) -> Iterator[str]:
    if len(set(target.parts)) < len(target.parts):
        yield f"{list(target.parts)} lists a source twice"
    for part in target.parts:
        if part not in by_name:
            yield f"there is no source {part!r}{nearest(part, by_name)}"
        elif by_name[part].role != "part":
            yield f"{part!r} has role: {by_name[part].role}; a part has role: part"


def _through_fault(target: HarmonisedSection, by_name: Mapping[str, Source]) -> str | None:
    name = str(target.through)
    if name in target.parts:
        return f"{name!r} is one of the parts; it must be another source that covers them all"
    if name not in by_name:
        return f"there is no source {name!r}{nearest(name, by_name)}"
    if by_name[name].static or by_name[name].kind == "categorical":
        return f"{name!r} is {'static' if by_name[name].static else 'categorical'}; it must change from month to month"
    return None
