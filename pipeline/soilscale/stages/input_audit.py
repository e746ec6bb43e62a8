"""Audit of the inputs: what is available of every source, and conflicts in it; stored beside the items.

It is taken once after a search, when the items or the sources are others than before, and by `check`, which keeps
nothing. docs/audit.md explains it, with the table of rules.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from soilscale import __version__, catalog, cube, storage
from soilscale.catalog import Relations, Scene
from soilscale.config import Config
from soilscale.engine.output import digest
from soilscale.errors import ServiceError
from soilscale.sources import Source
from soilscale.stages import frozen_items, grid_fit, probing
from soilscale.stages import inputs as inputs_stages
from soilscale.stages.probing import Looked
from soilscale.stages.project import Project

logger = logging.getLogger(__name__)

Level = Literal["error", "warning", "note"]

TYPE = "soilscale:audit"
"""Type of the document: nothing that reads STAC takes it for items."""

COLUMNS = ("source", "items", "left out", "files", "unit", "sampled values", "missing of them")
"""Columns of the table that the page shows."""

MONTH = np.timedelta64(31, "D")

SHOWN = 6
"""Months that a finding names at most."""


@dataclass(frozen=True)
class Rule:
    """How grave it is when something does not go together, and what that is."""

    level: Level
    text: str


RULES: Mapping[str, Rule] = {
    "unreachable": Rule("error", "an asset cannot be reached: its store, the signing service or the network is down"),
    "unreadable": Rule("error", "an asset cannot be read, or statements about it conflict"),
    "implausible": Rule("error", "most sampled values of the target lie outside `maps.valid_range`"),
    "contradiction": Rule("warning", "configuration, profile, item and file state different things; one is used"),
    "unlike": Rule("warning", "items of one source differ in scale, offset or unit; each is read as it states"),
    "empty": Rule("warning", "every sampled value is missing"),
    "grid": Rule("warning", "coarse cells mix parts of several pixels of the observation, though another grid fits"),
    "received": Rule("warning", "the server sent a different number of items than it states"),
    "documents": Rule("warning", "documents of the catalog cannot be used"),
    "assets": Rule("warning", "items lack an asset that the source needs"),
    "selection": Rule("warning", "several items show one place and time: versions, platforms, duplicates, or unclear"),
    "held": Rule("warning", "a source has one date, of a part of the period, which therefore holds for all of it"),
    "months": Rule("warning", "no item in some months of the period"),
    "days": Rule("warning", "items cover too few days of some months (`min_coverage`)"),
    "other grid": Rule("note", "the observation is on another grid: coarse cells are means of its pixels"),
    "query": Rule("note", "items of the area do not match the query of the source"),
    "pruned": Rule("note", "parts of a static catalog were not read, since they lie outside the area or period"),
}
"""Rules of the audit, the gravest first."""


GRID = {True: "grid", False: "other grid"}
"""Whether another grid would fit -> rule."""


@dataclass(frozen=True)
class Finding:
    """What does not go together in a source."""

    rule: str
    source: str
    text: str

    @property
    def level(self) -> Level:
        """How grave it is."""
        return RULES[self.rule].level

    def __str__(self) -> str:
        """Line for a person."""
        text = self.text if self.text.startswith(f"source {self.source}") else f"source {self.source}: {self.text}"
        return f"{self.level}: {text}"


@dataclass(frozen=True)
class Inputs:
    """What is known of one source before its items are opened."""

    source: Source
    scenes: Sequence[Scene]
    relations: Relations
    counts: Mapping[str, Any]
    """What the catalog gave, see `frozen_items.counts`."""


@dataclass(frozen=True)
class Audit:
    """What there is of every source, and what does not go together."""

    sources: Mapping[str, Mapping[str, Any]]
    findings: Sequence[Finding]

    @property
    def lines(self) -> list[str]:
        """Errors and warnings, the gravest first."""
        return [str(finding) for finding in self.findings if finding.level != "note"]


def make(config: Config, inputs: Sequence[Inputs], looked: Sequence[Looked]) -> Audit:
    """Bring together what is known of all sources.

    Parameters
    ----------
    inputs
        Of each source that has items.
    looked
        What came of opening some of them.
    """
    grid = grid_fit.grid_advice(config, {source_inputs.source.name: source_inputs.scenes for source_inputs in inputs})
    sources: dict[str, dict[str, Any]] = {}
    findings: list[Finding] = []
    for source_inputs in inputs:
        opened = [probed for probed in looked if probed.source.name == source_inputs.source.name]
        sources[source_inputs.source.name] = _described(config, source_inputs, opened)
        findings += [
            Finding(rule, source_inputs.source.name, text) for rule, text in _findings(config, source_inputs, opened)
        ]
        grid_advice = grid.get(source_inputs.source.name)
        findings += (
            []
            if grid_advice is None
            else [Finding(GRID[grid_advice.misfit], source_inputs.source.name, grid_advice.text)]
        )
    order = list(RULES)
    return Audit(sources, sorted(findings, key=lambda finding: order.index(finding.rule)))


def _described(config: Config, source_inputs: Inputs, looked: Sequence[Looked]) -> dict[str, Any]:
    """What there is of a source."""
    relations = source_inputs.relations
    intervals = Counter((str(scene.start), str(scene.end)) for scene in source_inputs.scenes)
    static = _static(config, source_inputs)
    return {
        "collection": source_inputs.source.collection,
        "items": len(relations.verdicts),
        "used": len(source_inputs.scenes),
        "standing": dict(Counter(verdict.standing for verdict in relations.verdicts)),
        # Catalogs draw the box of one tile with small differences from item to item.
        "places": len({tuple(round(side, 3) for side in scene.bbox) for scene in source_inputs.scenes}),
        "intervals": len(intervals),
        "items per interval": [min(intervals.values(), default=0), max(intervals.values(), default=0)],
        "days of an interval": {f"{days:g}": count for days, count in sorted(relations.lengths.items())},
        "platforms": dict(relations.platforms),
        "versions": dict(relations.versions),
        "items with an id of another": relations.same_ids,
        "static": static,
        "days covered": {}
        if static
        else {str(month): round(days, 2) for month, days in _days(config, source_inputs).items()},
        "catalog": dict(source_inputs.counts),
        "opened": [_opened(probed) for probed in looked],
    }


def _opened(looked: Looked) -> dict[str, Any]:
    """One item that was opened, as plain data."""
    if looked.probe is None:
        return {"item": looked.scene.item, "error": str(looked.error)}
    return {"item": looked.scene.item, **probing.described(looked)}


def _static(config: Config, source_inputs: Inputs) -> bool:
    return source_inputs.source.role == "predictor" and catalog.is_static(
        source_inputs.scenes, source_inputs.source, inputs_stages.period(config)
    )


def _days(config: Config, source_inputs: Inputs) -> dict[np.datetime64, float]:
    return {month: cube.covered_days(source_inputs.scenes, month) for month in config.months}


def _findings(config: Config, source_inputs: Inputs, looked: Sequence[Looked]) -> Iterator[tuple[str, str]]:
    """What does not go together in a source, and by which rule."""
    for error in probing.errors(looked):
        yield "unreachable" if isinstance(error, ServiceError) else "unreadable", str(error)
    for text in probing.warnings(looked):
        yield "contradiction", text
    yield from _of_values(config, source_inputs.source, looked)
    yield from of_catalog(source_inputs.counts)
    lacking = [scene for scene in source_inputs.scenes if scene.missing]
    if lacking:
        missing = ", ".join(lacking[0].missing)
        yield "assets", f"{len(lacking)} of {len(source_inputs.scenes)} items lack {missing}, such as {lacking[0].item}"
    for line in catalog.account(source_inputs.source, source_inputs.relations):
        yield "selection", line
    # What follows is of dates, and what covers no month of the period is no fault of a static source.
    if _static(config, source_inputs):
        yield from _of_held(config, source_inputs)
        return
    if source_inputs.counts.get("pruned"):
        parts, first = source_inputs.counts["parts pruned"], source_inputs.counts["pruned"][0]
        yield "pruned", f"{parts} part{'s' if parts > 1 else ''} of the catalog not read, the first: {first}"
    yield from _of_months(config, source_inputs)


def _of_values(config: Config, source: Source, looked: Sequence[Looked]) -> Iterator[tuple[str, str]]:
    described = [(opened, probing.described(opened)) for opened in looked if opened.probe is not None]
    for key in ("scale", "offset", "unit"):
        variants = {str(entry[key]): opened.scene.item for opened, entry in described}
        if len(variants) > 1:
            listed = "; ".join(f"{value} ({item})" for value, item in variants.items())
            yield "unlike", f"items differ in {key}: {listed}"
    values = probing.samples(looked)
    valid = values[np.isfinite(values)]
    if values.size and not valid.size:
        causes = Counter(cause for opened, _ in described if opened.probe is not None for cause in opened.probe.missing)
        yield "empty", f"every value of the {len(described)} items opened is missing ({', '.join(causes)})"
    low, high = config.maps.valid_range
    if source.role == "target" and valid.size and float(((valid < low) | (valid > high)).mean()) > 0.5:  # noqa: PLR2004
        text = f"most sampled values lie outside maps.valid_range [{low:g}, {high:g}] m3 m-3, their median is "
        yield "implausible", f"{text}{np.median(valid):.4g}; give its scale or unit, or another valid_range"


def of_catalog(counts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Find what a catalog says that it has and has not given; rule and text of each."""
    matched, received = counts.get("matched"), counts.get("received", 0)
    if matched is not None and matched != received:
        yield "received", f"the server states {matched} items, but sent {received}"
    if counts.get("broken"):
        yield (
            "documents",
            f"{counts['broken']} documents of the catalog cannot be used; they are listed as missing units",
        )
    if counts.get("refused"):
        yield "query", f"{counts['refused']} items of the area do not match the query"


def _of_held(config: Config, source_inputs: Inputs) -> Iterator[tuple[str, str]]:
    """A month that holds for the whole period, which may be all that is left of a series."""
    first, after = inputs_stages.period(config)
    start, end = source_inputs.scenes[0].start, source_inputs.scenes[0].end
    within = start < np.datetime64(after.replace(tzinfo=None)) and end > np.datetime64(first.replace(tzinfo=None))
    short = np.timedelta64(0) < end - start <= MONTH and len(config.months) > 1
    if source_inputs.source.static is None and within and short:
        days = f"{str(start)[:10]} to {str(end)[:10]}"
        reason = f"its only date or interval, {days}, holds for all {len(config.months)} months"
        yield "held", f"{reason}; write static: true if that is meant, static: false if its other months are missing"


def _of_months(config: Config, source_inputs: Inputs) -> Iterator[tuple[str, str]]:
    least = source_inputs.source.least_coverage
    days = _days(config, source_inputs)
    missing = [month for month in config.months if not cube.select(source_inputs.scenes, month, least)]
    none = [str(month) for month in missing if not days[month]]
    partial = [f"{month} ({days[month]:g} days)" for month in missing if days[month]]
    if none:
        yield "months", f"no item in {_brief(none)}"
    if partial:
        yield "days", f"items cover less than {least:g} of the days of {_brief(partial)} (min_coverage)"


def _brief(months: Sequence[str]) -> str:
    remainder = f" and {len(months) - SHOWN} more months" if len(months) > SHOWN else ""
    return ", ".join(months[:SHOWN]) + remainder


def take(run: Project) -> None:
    """Audit the frozen items and keep that beside them, unless it stands; tell what the log does not know yet.

    Where an asset could not be reached, the next search audits them again.
    """
    url, made_from = run.workspace.audit, _made_from(run)
    if storage.exists(url) and storage.read_json(url).get("made_from") == made_from:
        return
    counts = {
        name: storage.read_json(run.workspace.items(name)).get(frozen_items.FOUND, {}) for name in run.plan.relations
    }
    inputs = [
        Inputs(source, run.plan.scenes[source.name], run.plan.relations[source.name], counts[source.name])
        for source in run.config.source_list
    ]
    audit = make(run.config, inputs, probing.look(run.config, run.plan.scenes))
    for finding in audit.findings:
        # The search has logged these four already.
        if finding.rule not in ("selection", "months", "days", "grid") and finding.level != "note":
            logger.warning("%s", str(finding).partition(": ")[2])
    away = any(finding.rule == "unreachable" for finding in audit.findings)
    findings = [
        {"rule": finding.rule, "level": finding.level, "source": finding.source, "text": finding.text}
        for finding in audit.findings
    ]
    content = {"type": TYPE, "made_from": None if away else made_from, "sources": audit.sources, "findings": findings}
    storage.write_json(url, content)


def _made_from(run: Project) -> str:
    scenes = {name: [scene.digest for scene in scenes] for name, scenes in run.plan.scenes.items()}
    # With the version, since another one may have other rules.
    return digest(__version__, run.config.source_list, run.config.span, run.config.nested_grid, scenes)


def rows(audit: Audit) -> list[tuple[str, ...]]:
    """What there is of each source, and what was seen of the items opened, for the page; as `COLUMNS`."""
    table: list[tuple[str, ...]] = []
    for name, entry in audit.sources.items():
        readable = [opened for opened in entry["opened"] if "format" in opened]
        limits = [opened["least, median, greatest"] for opened in readable if opened["least, median, greatest"]]
        spread = (min(limit[0] for limit in limits), max(limit[2] for limit in limits)) if limits else ()
        shares = Counter(cause for opened in readable for cause in opened["missing"])
        missing = {
            cause: sum(opened["missing"].get(cause, 0) for opened in readable) / len(readable) for cause in shares
        }
        counts = {kind: count for kind, count in entry["standing"].items() if kind not in ("counts", "unclear")}
        table.append(
            (
                name,
                str(entry["items"]),
                ", ".join(f"{count} {kind}" for kind, count in counts.items()),
                "; ".join(dict.fromkeys(f"{opened['format']}, {opened['crs']}" for opened in readable)),
                "; ".join(dict.fromkeys(str(opened["cube unit"] or "classes") for opened in readable)),
                " to ".join(f"{value:.4g}" for value in spread),
                ", ".join(f"{cause} {100 * share:.2g} %" for cause, share in missing.items()),
            )
        )
    return table


def stored(run: Project) -> Audit | None:
    """Audit of the last search, None if there is none."""
    if not storage.exists(run.workspace.audit):
        return None
    content = storage.read_json(run.workspace.audit)
    findings = [Finding(entry["rule"], entry["source"], entry["text"]) for entry in content["findings"]]
    # An earlier version may have kept findings by rules that are gone, whose level nobody knows.
    return Audit(content["sources"], [finding for finding in findings if finding.rule in RULES])
