"""The report stage: tables, figures and the page from what the other stages wrote."""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
import xarray as xr

from soilscale import __version__, publish, reports, storage
from soilscale.config import Config
from soilscale.cube import FRACTION
from soilscale.engine.causes import causes
from soilscale.engine.output import digest
from soilscale.engine.units import FAILED, Receipt, failures, markers
from soilscale.maps import SEASON
from soilscale.reports import shortfalls
from soilscale.reports.summaries import OURS
from soilscale.schema import Quality
from soilscale.stages import (
    area_words,
    class_names,
    detail,
    evaluation,
    input_audit,
    inventory,
    model_analysis,
    publication,
    releases,
    report_figures,
    samples,
    training,
)
from soilscale.stages.mapping import CONSERVE, MAPS, MAPS_MEAN, PREDICTORS
from soilscale.stages.project import Project
from soilscale.stages.references import check_stations, stations_digest, stations_stamps, truth_stamp
from soilscale.stages.report_inputs import Material
from soilscale.tasks import algorithm_maps, detail_shares
from soilscale.tasks.map_summaries import SUMMARISE
from soilscale.tasks.pictures import PICTURES
from soilscale.tasks.reference_data import truth

logger = logging.getLogger(__name__)

REPORT = "report"

VALUED = (Quality.OBSERVED, Quality.PREDICTED, Quality.OUTSIDE)
"""Flags of which a cell inside the maps carries one, if it has a value or needs none."""

SEASONAL: Mapping[str, str] = {
    MAPS_MEAN: "the means of the monthly maps",
    PREDICTORS: "predicted from the means of the season's predictors",
}
"""How seasonal maps are made -> in words."""

RAIN = "mm month-1"
"""Unit by which the time series finds precipitation among the features."""


def check_references(settings: Config) -> None:
    """Read what the maps will be judged by, so that a wrong path is known before a long run.

    Raises
    ------
    ConfigurationError
        If the stations or the truth that the configuration names are not there.
    DataError
        If the table of stations cannot be used.
    """
    check_stations(settings)
    if settings.validation.truth is not None:
        truth(settings.validation.truth)


def write_report(run: Project) -> None:
    """Write every table, every figure and the page; nothing happens if they stand for the same inputs."""
    if stands(run):
        run.progress("report", 1, 1)
        return
    earlier = inventory.reported(run.workspace)
    material = Material(run)
    judges = evaluation.judge_units(material, material.conserved) if evaluation.can_judge(run) else []
    run.do(judges, "report: every algorithm")
    details = detail.detail_units(run, material.chosen)
    run.do(details, "report: detail within cells")
    run.do(material.summary_units, "report: summaries of the maps")
    run.do([*material.feature_units, *material.algorithm_units], "report: pictures")
    _record_broken(material)
    run.progress("report", 0, 3)
    tables = _tables(material, evaluation.judged(material, judges))
    if len(within := detail.table(run, details)):
        tables["within"] = within
    written = _put(run, earlier, {f"{name}.csv": table.to_csv(index=False) for name, table in tables.items()})
    run.progress("report", 1, 3)
    labels = class_names.labels(run)
    figures = report_figures.draw(material, reports.named(tables, labels), material.places)
    written |= _put(run, earlier | written, {f"{name}.png": image for name, image in figures.items()})
    run.progress("report", 2, 3)
    page = reports.page(_context(material, tables, figures, labels))
    written |= _put(run, earlier | written, {"index.html": page})
    storage.remove(run.workspace.report(""), sorted(earlier - written))
    stations = stations_digest(run.config)
    record = {
        "made_from": _made_from(run, stations, failures(run.workspace)),
        "stations": stations,
        "stamps": stations_stamps(run.config),
        "files": sorted(written),
    }
    storage.write_json(_marker(run), record)
    run.progress("report", 3, 3)


def _put(run: Project, earlier: Collection[str], contents: Mapping[str, str | bytes]) -> set[str]:
    """Write files of the report, once they are listed beside those before them: a run removes what is listed alone."""
    # Before the files are written: a run that is killed between them leaves none that the next does not know as its
    # own.
    storage.write_json(_marker(run), {"files": sorted({*earlier, *contents})})
    for name, content in contents.items():
        storage.write_bytes(run.workspace.report(name), content.encode() if isinstance(content, str) else content)
    return set(contents)


def stands(run: Project, failed: Sequence[Receipt] | None = None, *, by_stamps: bool = False) -> bool:
    """Whether the report is whole, and was made from what the other stages hold and from the same stations.

    Parameters
    ----------
    failed
        Units that are missing, where the caller has read them.
    by_stamps
        Whether files of stations are not read if their sizes and dates are those of then.
    """
    if not storage.exists(_marker(run)):
        return False
    record = storage.read_json(_marker(run))
    if not isinstance(record, dict) or "made_from" not in record:
        return False
    if not set(record["files"]) <= set(storage.names_below(run.workspace.report(""))):
        return False
    # As JSON gives them back: lists for tuples.
    stamps = [list(pair) for pair in stations_stamps(run.config)] if by_stamps else []
    # An empty stamp is of a store that tells no time, and proves nothing.
    unchanged = by_stamps and stamps == record["stamps"] and all(stamp for _, stamp in stamps)
    stations = [(name, checksum) for name, checksum in record["stations"]] if unchanged else stations_digest(run.config)
    missing = failures(run.workspace) if failed is None else failed
    return bool(record["made_from"] == _made_from(run, stations, missing))


def _marker(run: Project) -> str:
    return run.workspace.state(REPORT, "report.json")


def _made_from(run: Project, stations: Sequence[tuple[str, str]], failed: Sequence[Receipt]) -> str:
    return digest(
        run.standing.units,
        stations,
        truth_stamp(run.config),
        sorted(markers(run.workspace, CONSERVE)),
        sorted(markers(run.workspace, MAPS)),
        sorted(markers(run.workspace, algorithm_maps.JUDGE)),
        sorted(markers(run.workspace, detail_shares.WITHIN)),
        [sorted(markers(run.workspace, stage)) for stage in (SUMMARISE, PICTURES)],
        [sorted(markers(run.workspace, stage)) for stage in (samples.TRAIN, *model_analysis.STAGES)],
        [(failure.name, failure.message) for failure in failed],
        run.config_hash,
        _findings(run).to_numpy().tolist(),
        __version__,
    )


def _tables(material: Material, judged: evaluation.Judged) -> dict[str, pd.DataFrame]:
    """Every table of the report, by the name of its file."""
    run, seasons = material.run, material.run.config.season_scheme
    grid, summaries = run.plan.grid, material.summaries
    algorithm = material.algorithm
    none = dict.fromkeys(summaries.months, (0.0, 0.0))
    means = none | {month: (float(weight), float(total)) for month, (weight, total) in summaries.part("area").items()}
    common = {month: (float(w), float(c), float(f)) for month, (w, c, f) in summaries.part("common").items()}
    differences = {month: float(value) for month, value in summaries.part("difference").items()}
    tables = {
        "accuracy": reports.accuracy(material.predictions, seasons.names),
        "consistency": reports.consistency(summaries.moments(), differences, seasons, algorithm),
        "time_series": reports.area_means(means, common, grid.crs, _rain(material)),
    }
    trained = training.trained_seasons(run)
    tables |= model_analysis.tables(
        run, trained, training.train_units(run, trained), samples.samples_digest(run), material.predictions
    )
    how = run.plan.target.source.harmonise
    if how is not None:
        levelled = reports.level({name: material.coarse[name].load() for name in how.needs}, how)
        tables["sensors"] = reports.sensors(levelled, how.reference, seasons)
        tables["sensor_series"] = reports.sensor_series(levelled, material.observed, grid.crs)
        if material.paired is not None:
            read = {name: material.observed.copy(data=sensor.before) for name, sensor in levelled.items()}
            read |= {how.through: material.coarse[how.through].load()} if how.through else {}
            tables["station_collocation"] = reports.insitu.collocation(material.paired, read, grid.ratio)
    limits = run.config.maps.valid_range
    references = {
        "upscaled": reports.upscaled(
            material.observed, material.predictions, seasons, algorithm=algorithm, limits=limits
        )
    }
    if run.config.maps.applicability:
        tables["extrapolation"] = reports.applicability.shares(summaries.part("index"), seasons)
    if material.truth_months is not None:
        ours = reports.method(algorithm)
        ground_truth = [
            (month, ours if name == OURS else name, part)
            for month, name, part in summaries.truth()
            if month in material.truth_months
        ]
        tables["truth"] = reports.truth([*ground_truth, *judged.truth], seasons)
        references["truth"] = tables["truth"]
        if run.config.maps.interval is not None:
            tables["intervals"] = reports.coverage(summaries.part("intervals"), run.config.maps.interval, seasons)
        if run.config.maps.applicability:
            tables["applicability"] = reports.applicability.errors(summaries.part("errors"), seasons)
    if material.paired is not None:
        if (level := run.config.maps.interval) is not None:
            pairs, places = material.paired.pairs, material.paired.places
            tables["station_intervals"] = reports.station_coverage(pairs, places, summaries.at, level, seasons)
        tables["station_places"] = reports.insitu.places(material.paired)
        tables |= reports.insitu.tables(material.paired, seasons, min_years=run.config.validation.min_years)
        station_scores = evaluation.at_stations(material, judged)
        references["stations"] = reports.insitu.station_baselines(
            material.paired.pairs, algorithm, seasons, station_scores
        )
    return tables | {"baselines": reports.baselines(references)}


def _rain(material: Material) -> xr.DataArray | None:
    """First feature whose unit is that of monthly precipitation, and whose name says so."""
    # Lags and sums over several months have the same unit, and would shift the curve against the others.
    derived = {source.name for source in material.run.config.derived_list}
    for name, feature in material.fine.data_vars.items():
        if (
            feature.attrs.get("units") == RAIN
            and "precip" in str(name)
            and "_lag" not in str(name)
            and name not in derived
        ):
            return material.coarse[name]
    return None


def _context(
    material: Material, tables: Mapping[str, pd.DataFrame], figures: Mapping[str, bytes], labels: Mapping[str, str]
) -> reports.Context:
    run = material.run
    grid, settings = run.plan.grid, run.config
    flags, frozen = _flags(material)
    coarse_cells, fine_cells = material.summaries.covered
    failed = failures(run.workspace)
    valued = flags[Quality.OBSERVED] + flags[Quality.PREDICTED]
    for line in filter(None, (shortfalls.quality_words(flags, valued), shortfalls.frozen_words(frozen, valued))):
        logger.info("%s", line)
    return reports.Context(
        name=settings.name,
        area=area_words.area_words(settings),
        period=settings.span,
        training=None if settings.training == settings.span else settings.training,
        months=len(run.plan.months),
        seasonal_maps=_seasonal_maps(run),
        seasonal=SEASONAL[settings.maps.seasonal],
        coarse_cells=coarse_cells,
        fine_cells=fine_cells,
        cell_sides=(area_words.side(grid, grid.side), area_words.side(grid, grid.side / grid.ratio)),
        algorithm=material.algorithm,
        tables=tables,
        config_hash=run.config_hash,
        figures=figures,
        labels=labels,
        product=run.plan.target.source.collection,
        conserved=settings.maps.conserve,
        failed=[(cause.unit, cause.why(run.items)) for cause in causes(failed)],
        failed_units=len(failed),
        inputs=_inputs(run),
        findings=_findings(run),
        without_input=_without_input(material),
        flags=flags,
        empty=int(np.prod(grid.fine.shape)) * len(run.plan.months) - sum(flags[bit] for bit in VALUED) - frozen,
        frozen=frozen,
        masked=_masked(material),
        items=run.items,
        collections={source.name: source.collection for source in settings.source_list},
        licences=pd.DataFrame(publication.credits_of(settings)),
        links=links(run),
        citation=publication.cited(settings),
        licence=publication.licensed(settings),
        versions=run.versions,
        made_by=_made_by(run),
    )


def _made_by(run: Project) -> reports.Link | None:
    """Number of this run, with the address of its log where the configuration gives one."""
    section, term = run.config.publication, run.workspace.term
    log = None if section is None else section.log
    return None if term is None else reports.Link(publish.run_log(log, term) if log else "", f"run {term}", "")


def links(run: Project) -> list[reports.Link]:
    """What a reader opens from the page."""
    products = (
        (run.workspace.published("index.html"), "Viewer", "the maps in a browser, from a web server or soilscale view"),
        (run.workspace.published("catalog.json"), "STAC catalog", "every map as a Cloud Optimized GeoTIFF"),
        (run.workspace.maps, "maps.zarr", "all maps as arrays in time, for xarray"),
        (run.workspace.cube, "cube.zarr", "the inputs, on the grid of the maps"),
        (run.workspace.resolved, "run.yaml", "the configuration, by which the run can be repeated"),
    )
    page = run.workspace.report("")
    return [reports.Link(posixpath.relpath(path, page), label, note) for path, label, note in products]


def _seasonal_maps(run: Project) -> int:
    """Number of seasonal maps that were published."""
    last = releases.newest(run.workspace)
    return last.maps.get(SEASON, 0) if last is not None else 0


def _inputs(run: Project) -> pd.DataFrame:
    """What the audit has seen of each source."""
    audit = input_audit.stored(run)
    return pd.DataFrame([] if audit is None else input_audit.rows(audit), columns=list(input_audit.COLUMNS))


def _findings(run: Project) -> pd.DataFrame:
    """What does not go together in the inputs."""
    audit = input_audit.stored(run)
    findings = [] if audit is None else [(finding.level, finding.source, finding.text) for finding in audit.findings]
    return pd.DataFrame(findings, columns=["level", "source", "finding"])


def _without_input(material: Material) -> dict[str, list[str]]:
    """Source -> months for which it has no item, or none with a single valid value."""
    run = material.run
    shares = storage.open_group(run.workspace.cube, FRACTION)
    missing = {name: set(months) for name, months in run.plan.gaps().items()}
    for predictor in run.plan.predictors:
        if not predictor.static and predictor.source.name in shares:
            missing.setdefault(predictor.source.name, set()).update(_empty_months(shares[predictor.source.name] > 0))
    observed = material.observed.copy(data=np.isfinite(material.observed.to_numpy()))
    missing.setdefault(run.plan.target.source.name, set()).update(_empty_months(observed))
    return {name: sorted(months) for name, months in missing.items() if months}


def _empty_months(valid: xr.DataArray) -> list[str]:
    """Months, such as 1991-04, in which no cell is valid."""
    empty = ~valid.any(["y", "x"]).to_numpy()
    return [str(month) for month in valid["time"].to_numpy()[empty].astype("datetime64[M]")]


def _record_broken(material: Material) -> None:
    """Keep stations that cannot be read or used among the failed units, so that the run ends telling of them."""
    workspace = material.run.workspace
    for name in storage.names_below(workspace.state(REPORT)):
        if name.endswith(FAILED):
            storage.remove(workspace.state(REPORT, name))
    faults = [(f"stations {name}", reason) for name, reason in material.unreadable]
    if (nothing := material.beside_nothing) is not None:
        faults.append(("stations", nothing))
    for name, reason in faults:
        logger.error("%s: %s", name, reason)
        receipt = Receipt(REPORT, name, "failed", reason, 0.0)
        storage.write_json(workspace.state(REPORT, f"{digest(name)}{FAILED}"), asdict(receipt))


def _masked(material: Material) -> dict[str, float]:
    """Source -> share of the area and months that it leaves out."""
    shares = storage.open_group(material.run.workspace.cube, FRACTION)
    names = [predictor.source.name for predictor in material.run.plan.predictors]
    return {name: float(1 - shares[name].fillna(0).mean()) for name in names if name in shares}


def _flags(material: Material) -> tuple[dict[Quality, int], int]:
    """How many cells and months carry each bit of the quality layer, and how many are left out as frozen."""
    *counts, masked = np.sum([np.zeros(len(Quality) + 1), *material.summaries.part("flags").values()], axis=0)
    return {bit: int(n) for bit, n in zip(Quality, counts, strict=True)}, int(masked)
