"""The report as one self-contained HTML page."""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from io import BytesIO
from itertools import count

import pandas as pd
from jinja2 import Environment, StrictUndefined, Template

from soilscale.reports import contents, layout, reference_sections, sections, shortfalls, summary
from soilscale.reports.insitu import summary as summary_insitu
from soilscale.reports.scores import SCORES
from soilscale.reports.sensors import COUNTS
from soilscale.reports.style import named, words
from soilscale.reports.tables import Algorithm, method
from soilscale.schema import QUALITY_MEANINGS, Quality
from soilscale.seasons import ALL

MOST_ROWS = 2000
"""Rows up to which a table stands on the page; a longer one lies beside it only."""


QUALITY_OF_FIGURES = 75
"""Quality of figures as WebP, of 100."""


@dataclass(frozen=True)
class Link:
    """Something that can be opened from the page."""

    href: str
    """Relative to the page."""
    label: str
    note: str
    """What it is, for whom."""


@dataclass(frozen=True)
class Context:
    """Everything that the page says."""

    name: str
    """Name of the run."""
    area: str
    """Where, in words or as a box in degrees."""
    period: tuple[str, str]
    """First and last month of the maps, such as 1990-01."""
    training: tuple[str, str] | None = field(default=None, kw_only=True)
    """First and last month that the models learned from, where those are others."""
    months: int
    """Number of monthly maps."""
    seasonal_maps: int = field(default=0, kw_only=True)
    """Number of seasonal maps."""
    seasonal: str = field(default="", kw_only=True)
    """How they were made, in words."""
    coarse_cells: int
    """Number of coarse cells in which a map has values."""
    fine_cells: int
    """Number of fine cells that a map covers."""
    cell_sides: tuple[str, str]
    """Sides of a coarse and a fine cell with their unit, such as ``24 km`` and ``1 km``."""
    algorithm: Algorithm
    """With which the maps were made: a name, or season -> name."""
    tables: Mapping[str, pd.DataFrame]
    """Name of a table -> what the functions of `reports` return; `accuracy` and `baselines` make the summary. Where
    they appear, and under what title, stands in `contents.SECTIONS`."""
    config_hash: str
    """Hash of the resolved configuration."""
    figures: Mapping[str, bytes] = field(default_factory=dict)
    """Name of a figure -> PNG; likewise."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Feature -> what a reader calls it, where that is not its name."""
    product: str = ""
    """Name of the coarse product."""
    conserved: bool = True
    """Whether the maps were brought to agree with the coarse product."""
    failed: Sequence[tuple[str, str]] = ()
    """Units of work that could not be made, and why, an entry for each cause."""
    failed_units: int = 0
    """How many units these are."""
    inputs: pd.DataFrame = field(default_factory=pd.DataFrame)
    """A row for each source: what there is of it, and what was seen of items that were opened."""
    findings: pd.DataFrame = field(default_factory=pd.DataFrame)
    """What does not go together in the inputs, a row for each."""
    without_input: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Source -> months for which it has no item."""
    flags: Mapping[Quality, int] = field(default_factory=dict)
    """Bit of the quality layer -> number of fine cells and months that carry it."""
    empty: int = 0
    """Number of fine cells and months inside the area that have no value, for want of a predictor."""
    frozen: int = 0
    """Number of fine cells and months that are left out as frozen."""
    masked: Mapping[str, float] = field(default_factory=dict)
    """Source -> share of the area and months that it leaves out: without data, or masked by quality or valid range."""
    items: Mapping[str, int] = field(default_factory=dict)
    """Source -> number of its items."""
    collections: Mapping[str, str] = field(default_factory=dict)
    """Source -> its collection in the catalog."""
    licences: pd.DataFrame = field(default_factory=pd.DataFrame)
    """A row for each source: its product, and licence and citation where they are known."""
    links: Sequence[Link] = ()
    """Where the maps, and what they were made from, can be opened, as seen from the page."""
    citation: str = ""
    """How the maps are cited, if their publisher says so."""
    licence: str = ""
    """Licence of the maps, if their publisher says so."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Package -> version."""
    made_by: Link | None = None
    """Run that makes the page, and the address of its log if its publisher has one."""
    created: datetime | None = None
    """When the page was made; by default it does not say."""


@dataclass(frozen=True)
class Entry:
    """A figure or a table as it stands on the page."""

    name: str
    label: str
    """Such as ``Figure 3``."""
    title: str
    note: str
    image: str = ""
    """Base64 of a WebP."""
    alt: str = ""
    table: layout.Table | None = None
    folded: bool = False
    data: str = ""
    """Base64 of a CSV, to be saved."""
    elsewhere: int = 0
    """Rows of a table that is too long for the page."""


@dataclass(frozen=True)
class Part:
    """A section as it stands on the page."""

    name: str
    heading: str
    paragraphs: Sequence[str]
    entries: Sequence[Entry]


def page(context: Context) -> str:
    """Render the report: one HTML page with styles, scripts and figures inside, which asks for nothing else.

    Its content security policy allows its own style and script, by their hashes, and images in the page; a browser
    would refuse anything else.

    Parameters
    ----------
    context
        What the page says. Tables that are not there, or empty, and figures that are not there leave their place out.
    """
    tables = _tables(context)
    number = {"Figure": count(1), "Table": count(1)}
    accuracy = _splits(context)
    baselines = context.tables.get("baselines")
    verdicts = [] if baselines is None else summary.verdicts(baselines, method(context.algorithm))
    # At once and not lazily: it stands before the sections, and so takes the first number.
    overview = list(_entries(context, tables, (sections.OVERVIEW,), number))
    html = _template().render(
        context=context,
        cards=list(_cards(context, accuracy, verdicts)),
        seasons=_seasons(context),
        algorithm=summary.algorithm_words(context.algorithm),
        warning=summary.skill_words(accuracy, context.cell_sides[0]),
        verdicts=verdicts,
        overview=overview,
        sure=[sentence for sentence in _findings(context, accuracy, tables) if sentence],
        missing=_missing(context),
        citation=summary.citation_words(context.name, context.product, context.citation, context.licence),
        parts=list(_parts(context, tables, number)),
        created=context.created.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC") if context.created else "",
    )
    return _with_policy(html)


def _cards(context: Context, accuracy: pd.DataFrame, verdicts: Sequence[summary.Verdict]) -> Iterator[tuple[str, str]]:
    """Labels and figures that a reader sees first: how much there is, how good the maps are, and the models."""
    yield "monthly maps", f"{context.months:,}"
    if context.seasonal_maps:
        yield "seasonal maps", f"{context.seasonal_maps:,}"
    yield "fine cells in a map", f"{context.fine_cells:,}"
    yield "coarse cells with a map", f"{context.coarse_cells:,}"
    for verdict in verdicts:
        if verdict.metric == "rmse" and verdict.direct:
            yield f"RMSE of the maps against {verdict.reference}, m³ m⁻³", layout.number("rmse", verdict.own)
    scale = f"at {context.cell_sides[0]} on held-out blocks"
    for key, label in (("rmse_blocked", f"RMSE of the models {scale}, m³ m⁻³"), ("r2_blocked", f"R² {scale}")):
        value = summary.headline(accuracy, key)
        if value:
            yield label, value


def _seasons(context: Context) -> int:
    """Number of seasons that have models."""
    table = context.tables.get("accuracy")
    return 0 if table is None else int(table.loc[table["season"] != ALL, "season"].nunique())


def _findings(context: Context, accuracy: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Further sentences of the summary."""
    return [
        summary.accuracy_words(accuracy, context.cell_sides[0]),
        summary.fallback_words(context.tables["accuracy"]) if "accuracy" in context.tables else "",
        *summary.interval_words(context.tables),
        *_stations(context)[:2],
        summary.season_words(context.tables.get("comparison"), context.algorithm),
        summary.factor_words(tables.get("importance")),
        summary.choice_words(context.tables),
    ]


def _stations(context: Context) -> list[str]:
    """What a reader must know of the stations before their scores."""
    return [
        summary_insitu.stations_words(context.tables),
        summary_insitu.percent_words(context.tables.get("stations_left_out")),
        summary_insitu.unit_words(context.tables.get("station_pairs")),
    ]


def _explained(context: Context) -> list[str]:
    """Whose predictors the section tells of."""
    importance = context.tables.get("importance")
    if importance is None or not len(importance):
        return []
    algorithm = str(importance["algorithm"].iloc[0])
    sentence = f"Importance and ablation are those of the {words(algorithm)}"
    makers = {context.algorithm} if isinstance(context.algorithm, str) else set(context.algorithm.values())
    other_makers = sorted(makers - {algorithm})
    return [
        f"{sentence}, not of the {summary.listed([words(name) for name in other_makers])} of the maps."
        if other_makers
        else f"{sentence}."
    ]


def _tables(context: Context) -> dict[str, pd.DataFrame]:
    """Tables of the page that have rows, by name: those given, and those that the context's other fields make."""
    frames = named(context.tables, context.labels)
    if "sensors" in frames:
        # The counts of cells are told in a sentence (`summary.sensor_words`); here they would be columns of a
        # regression.
        rows = frames["sensors"][~frames["sensors"]["statistic"].isin(COUNTS.values())]
        frames["sensors"] = rows.rename(columns={"statistic": "metric"})
    frames["splits"] = _splits(context)
    frames["failed"] = pd.DataFrame(list(context.failed), columns=["unit", "why"])
    frames |= {"findings": context.findings, "inputs": context.inputs, "licences": context.licences}
    gaps = [(name, len(months), ", ".join(months)) for name, months in context.without_input.items()]
    frames["without_input"] = pd.DataFrame(gaps, columns=["source", "months", "which"])
    frames["flags"] = _flags(context)
    items = [(name, context.collections.get(name, ""), number) for name, number in context.items.items()]
    frames["items"] = pd.DataFrame(items, columns=["source", "collection", "items"])
    metrics = [(layout.heading(name), layout.explanation(name)) for name in SCORES]
    frames["metrics"] = pd.DataFrame(metrics, columns=["metric", "meaning"])
    masked = [(name, 100 * share) for name, share in context.masked.items()]
    frames["masked"] = pd.DataFrame(masked, columns=["source", "share"])
    frames["versions"] = pd.DataFrame(list(context.versions.items()), columns=["package", "version"])
    return {name: frame for name, frame in frames.items() if len(frame)}


def _missing(context: Context) -> str:
    """What is missing, in words."""
    failures = shortfalls.missing_words(context.failed_units, context.without_input)
    empty, masked = shortfalls.empty_words(context.empty, _valued(context)), shortfalls.masked_words(context.masked)
    frozen = shortfalls.frozen_words(context.frozen, _valued(context))
    return " ".join(
        filter(None, (failures, empty, frozen, masked, shortfalls.quality_words(context.flags, _valued(context))))
    )


def _valued(context: Context) -> int:
    """Number of fine cells and months that have a value."""
    return sum(context.flags.get(bit, 0) for bit in (Quality.OBSERVED, Quality.PREDICTED))


def _splits(context: Context) -> pd.DataFrame:
    """Accuracy of the models with which the maps were made, a row for each season."""
    empty = pd.DataFrame(columns=["season", "algorithm", "model", "split", "metric", "value", "n"])
    return summary.splits(context.tables.get("accuracy", empty), context.algorithm)


def _flags(context: Context) -> pd.DataFrame:
    """Flags of the quality layer with their shares, and the cells without a value."""
    total = _valued(context)
    inside = total + context.empty
    rows = [(summary.EMPTY, context.empty, 100 * context.empty / inside)] if inside else []
    if context.frozen:
        rows.append((summary.LEFT_OUT, context.frozen, 100 * context.frozen / (inside + context.frozen)))
    rows += [
        # Cells outside the area have no value, and so no share of those that have one.
        (QUALITY_MEANINGS[bit], cells, math.nan if bit == Quality.OUTSIDE or not total else 100 * cells / total)
        for bit, cells in context.flags.items()
    ]
    return pd.DataFrame(rows, columns=["flag", "cells", "share"])


def _parts(context: Context, tables: Mapping[str, pd.DataFrame], number: Mapping[str, Iterator[int]]) -> Iterator[Part]:
    """Sections that have something to say, and what does not stand in any of them."""
    spoken: Mapping[str, Callable[[], Iterable[str]]] = {
        reference_sections.IN_SITU.name: lambda: filter(None, _stations(context)),
        sections.PREDICTORS.name: lambda: _explained(context),
        reference_sections.SENSORS.name: lambda: summary.sensor_words(context.tables.get("sensors")),
        sections.MISSING.name: lambda: [_missing(context)],
        sections.PROVENANCE.name: lambda: [
            f"Configuration {context.config_hash}. It stands in run.yaml, the items read in items/, above this page."
        ],
    }
    placed = {entry.name for section in sections.SECTIONS for entry in section.entries} | {sections.OVERVIEW.name}
    further = [contents.Table(name, words(name), folded=True) for name in tables if name not in placed]
    further_section = contents.Section("further", "Further tables", "", tuple(further))
    # What no section names stands before the last two, which tell of metrics and of provenance.
    for section in (*sections.SECTIONS[:-2], further_section, *sections.SECTIONS[-2:]):
        entries = list(_entries(context, tables, section.entries, number))
        # These two say something without a table, too: that nothing is missing, and by which configuration.
        if entries or section.name in (sections.MISSING.name, sections.PROVENANCE.name):
            paragraphs = spoken[section.name]() if section.name in spoken else ()
            yield Part(section.name, section.heading, [*paragraphs, *([section.text] if section.text else [])], entries)


def _entries(
    context: Context,
    tables: Mapping[str, pd.DataFrame],
    entries: Sequence[contents.Figure | contents.Table],
    number: Mapping[str, Iterator[int]],
) -> Iterator[Entry]:
    """Figures and tables of a section that there are, numbered."""
    for entry in entries:
        if isinstance(entry, contents.Figure):
            if entry.name in context.figures:
                image = b64encode(webp(context.figures[entry.name])).decode("ascii")
                label = f"Figure {next(number['Figure'])}"
                yield Entry(entry.name, label, entry.title, entry.caption, image=image, alt=entry.alt)
        elif entry.name in tables:
            frame = tables[entry.name]
            label = f"Table {next(number['Table'])}"
            if len(frame) > MOST_ROWS:
                yield Entry(entry.name, label, entry.title, entry.note, elsewhere=len(frame))
                continue
            yield Entry(
                entry.name,
                label,
                entry.title,
                entry.note,
                table=layout.table(frame, entry.keys),
                folded=entry.folded,
                # The table as the run wrote it, not as it is laid out here; those made for the page alone are no file.
                data=_csv(context.tables[entry.name]) if entry.name in context.tables else "",
            )


def webp(png: bytes) -> bytes:
    """Convert a figure to WebP for the page; the files beside it stay PNG.

    A page with stations and a truth is 2.6 MB instead of 9 MB of PNG. Lossless WebP would be smaller for lines, but of
    maps it takes five times as long and is three times as large.
    """
    # Only where a page is written: `soilscale.reports` is imported by commands that write none.
    from PIL import Image

    buffer = BytesIO()
    with Image.open(BytesIO(png)) as image:
        image.convert("RGB").save(buffer, "WEBP", quality=QUALITY_OF_FIGURES, method=2)
    return buffer.getvalue()


def _csv(frame: pd.DataFrame) -> str:
    return b64encode(frame.to_csv(index=False).encode()).decode("ascii")


def _with_policy(html: str) -> str:
    """Page with the hashes of its style and script in its content security policy."""
    for place, tag in (("STYLE-HASH", "style"), ("SCRIPT-HASH", "script")):
        text = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)[-1]
        html = html.replace(place, f"sha256-{b64encode(sha256(text.encode()).digest()).decode('ascii')}", 1)
    return html


@cache
def _template() -> Template:
    """Template of the page, which escapes whatever it is given."""
    # A misspelt name in the template shall fail, and not be an empty place on the page.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = files("soilscale.reports").joinpath("page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text)
