"""Names of the classes of categorical sources, by which a reader knows their features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from soilscale import cube, storage
from soilscale.cube import lagged
from soilscale.reports.style import words
from soilscale.sources import Source, profiles
from soilscale.stages import input_audit
from soilscale.stages.project import Project


def labels(run: Project) -> dict[str, str]:
    """Feature that is the share of a class -> what a reader calls it."""
    sources = [predictor.source for predictor in run.plan.predictors if predictor.source.kind == "categorical"]
    return {feature: label for source in sources for feature, label in of_source(source, by_code(run, source)).items()}


def of_source(source: Source, names: Mapping[int, str]) -> dict[str, str]:
    """Feature of each class of a source -> the class by its name, and the source: grassland (land cover).

    Parameters
    ----------
    names
        Of each code. Where two classes have the same, their codes stand behind it.
    """
    repeated = Counter(names.values())
    labelled = {}
    for feature, code in codes(source).items():
        name = names[code] if repeated[names[code]] == 1 else f"{names[code]} {code}"
        for lag in (0, *source.lags):
            after = f", lag {lag}" if lag else ""
            labelled[lagged(feature, lag)] = f"{name} ({words(source.name)}{after})"
    return labelled


def codes(source: Source) -> dict[str, int]:
    """Feature of each class of a categorical source -> the class's code."""
    return dict(zip(cube.feature_names(source), source.classes or (), strict=True))


def by_code(run: Project, source: Source) -> dict[int, str]:
    """Code of each class -> its name: by the configuration, else by items, files, the profile, or the code alone."""
    section = run.config.sources[source.name]
    profile = profiles().get(getattr(section, "profile", None) or "", {})
    names: dict[int, str] = dict(zip(profile.get("classes", ()), profile.get("class_names", ()), strict=True))
    names |= of_files(input_audit.stored(run), source.name)
    names |= of_items(storage.read_json(run.workspace.items(source.name))["features"], source.asset)
    names |= getattr(section, "class_names", {})
    return {code: names.get(code, f"class {code}") for code in source.classes or ()}


def of_files(audit: input_audit.Audit | None, source: str) -> dict[int, str]:
    """Names of classes in the files of a source that the audit opened; of two names of a class the first counts."""
    opened = [] if audit is None else audit.sources.get(source, {}).get("opened", [])
    names = [entry.get("classes", {}) for entry in reversed(opened)]
    return {int(code): name for classes in names for code, name in classes.items()}


def of_items(items: Sequence[Mapping[str, object]], asset: str) -> dict[int, str]:
    """Names of classes in items, by STAC's classification extension, of the asset or its first band."""
    for item in items[:1]:
        assets = item.get("assets")
        asset_record = assets.get(asset, {}) if isinstance(assets, Mapping) else {}
        bands = [asset_record, *asset_record.get("bands", ()), *asset_record.get("raster:bands", ())]
        classes = next((band["classification:classes"] for band in bands if band.get("classification:classes")), ())
        return {
            int(class_record["value"]): str(
                class_record.get("title") or class_record.get("name") or class_record["value"]
            )
            for class_record in classes
        }
    return {}
