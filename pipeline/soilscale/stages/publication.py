"""How the maps are published: the units that write their files, their publisher and licence, and their inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from soilscale import __version__, cube, maps, publish, storage
from soilscale.config import Config
from soilscale.config.publication import Publication
from soilscale.engine.output import digest
from soilscale.engine.units import Unit
from soilscale.seasons import Months, Seasons
from soilscale.sources import Source, facts, presets, profiles
from soilscale.stages import uncertainty
from soilscale.stages.project import Project
from soilscale.tasks import training_table
from soilscale.tasks.map_making import Chosen
from soilscale.tasks.published_maps import PUBLISH, Edition, PublishMap

SPDX = "https://spdx.org/licenses/{}.html"
"""Text of a licence by its SPDX identifier."""

LINEAGE = "{target} downscaled by {model}, one model a season; conserved to the coarse observation where there is one"
"""How a map was made, for a reader of its item."""

Planned = Mapping[str, Sequence[tuple[int, np.datetime64, Months]]]
"""Kind of map -> its maps, each by its place in the store, first month, and months."""


def about(run: Project) -> publish.About:
    """Whose the maps of a run are, and what they are made from."""
    section, made_from = run.config.publication, inputs(run.config)
    if section is None:
        return publish.About(inputs=made_from)
    spdx = section.license if section.license not in (None, "other") else None
    return publish.About(
        title=section.title,
        description=section.description,
        license=section.license or "other",
        license_url=section.license_url or (SPDX.format(spdx) if spdx else None),
        providers=[provider.model_dump(mode="json", exclude_none=True) for provider in section.providers],
        keywords=section.keywords,
        citation=section.citation,
        doi=section.doi,
        contact=section.contact,
        root=section.root,
        log=section.log,
        inputs=made_from,
    )


def lacks(config: Config) -> list[str]:
    """What whoever publishes the maps of a configuration should know beforehand, a line for each."""
    if config.publication is None:
        return ["publication: the configuration has no such section, so the maps carry no licence, maker or citation"]
    lines = [f"publication lacks {key}" for key in config.publication.lacks()]
    unknown = [entry.name for entry in inputs(config) if entry.license is None]
    if unknown:
        names = ", ".join(unknown)
        lines.append(f"publication: no licence is known of {names}; see that you may publish what is made from it")
    return lines


def inputs(config: Config) -> tuple[publish.Input, ...]:
    """Products that the maps of a configuration are made from, with licence and citation where they are known."""
    return tuple(_input(config, source) for source in config.source_list)


def credits_of(config: Config) -> list[dict[str, str]]:
    """Licence and citation of every input, as the page shows them."""
    return [
        {
            "source": entry.name,
            "product": entry.product,
            "license": entry.license or "unknown",
            "citation": entry.citation or "",
        }
        for entry in inputs(config)
    ]


def cited(config: Config) -> str:
    """How to cite the maps, with their DOI, as the report page shows it; empty where neither is given."""
    section = config.publication
    if section is None:
        return ""
    sentences = [] if section.citation is None else [section.citation.rstrip(".") + "."]
    if section.doi is not None and section.doi not in (section.citation or ""):
        sentences.append(f"https://doi.org/{section.doi}.")
    return " ".join(sentences)


def licensed(config: Config) -> str:
    """Licence of the maps by its identifier, or else the address of its text; empty where neither is given."""
    section = config.publication
    if section is None:
        return ""
    return section.license if section.license not in (None, "other") else section.license_url or ""


def _input(config: Config, source: Source) -> publish.Input:
    """A source's product: what its profile says of it, else what the preset of its catalog says."""
    preset = config.catalog(source).preset
    profile = facts(source.profile, preset) if source.profile is not None else {}
    host = presets()[preset] if preset is not None else {}
    about = profiles()[source.profile]["about"] if source.profile is not None else None
    return publish.Input(
        name=source.name,
        product=about or f"{source.collection or source.name} of the catalog {source.catalog}",
        license=profile.get("license") or host.get("license"),
        citation=profile.get("citation") or host.get("citation"),
    )


def units(
    run: Project,
    chosen: Mapping[str, Chosen],
    map_digests: Mapping[str, str],
    planned: Planned,
    optional: Sequence[str],
) -> list[Unit[PublishMap]]:
    """One unit for each map that is published.

    Parameters
    ----------
    chosen
        Model of each season.
    map_digests
        Map, such as ``month-2005-01`` -> digest of what it is made from.
    optional
        Layers that the maps have beside their values and quality.
    """
    settings, seasons = run.config, run.config.season_scheme
    scale = training_table.scale(run.workspace.samples)
    public = settings.publication or Publication()
    accuracy = {season: _accuracy(run, model, season) for season, model in chosen.items()}
    skill = {
        season: {"soilscale:upscaled_rmse": rmse, "soilscale:beats_bilinear": rmse["maps"] < rmse["bilinear"]}
        for season, rmse in uncertainty.skill(run).items()
    }
    work = []
    for every in settings.maps.every:
        for index, start, members in planned[every]:
            model = chosen[seasons.name(start)]
            edition = Edition(
                every=every,
                identifier=f"{settings.name}-{every}-{start}",
                collection=f"{settings.name}-{every}",
                span=(start, members[-1] + np.timedelta64(1, "M")),
                properties={
                    "title": f"Soil moisture, {every} of {start}",
                    "soilscale:season": seasons.name(start),
                    "soilscale:algorithm": model.algorithm,
                    "soilscale:model": f"models/{model.season}/{model.algorithm}",
                    "soilscale:model_hash": model.version,
                    "soilscale:accuracy": accuracy[seasons.name(start)],
                    "soilscale:version": __version__,
                    "processing:level": "L4",
                    "processing:software": {"soilscale": __version__},
                    "processing:lineage": LINEAGE.format(target=run.plan.target.source.name, model=model.algorithm),
                    **skill.get(seasons.name(start), {}),
                },
                sources=_origins(run, members),
                optional=optional,
                stem=f"{settings.name}_{label(seasons, every, start)}",
                scale=scale,
                root=public.root,
                log=public.log,
            )
            # The digest is of the edition without its version, since it becomes the version.
            made_from = digest(map_digests[f"{every}-{start}"], edition, run.plan.grid)
            versioned = replace(edition, version=made_from)
            work.append(
                Unit(
                    PUBLISH,
                    f"{every}-{start}",
                    made_from,
                    PublishMap(fine=run.plan.grid, edition=versioned, index=index),
                )
            )
    return work


def label(seasons: Seasons, every: str, start: np.datetime64) -> str:
    """Month, or season and the year in which it ends, as file names have it: ``200507``, ``winter2005``."""
    if every == maps.MONTH:
        return str(start).replace("-", "")
    return f"{seasons.name(start)}{str(seasons.members(start)[-1])[:4]}"


def _accuracy(run: Project, model: Chosen, season: str) -> dict[str, float]:
    """RMSE and R2 of a model in a season, random and blocked, as its description tells them."""
    description = storage.read_json(run.workspace.model(model.season, model.algorithm, "model.json"))
    return {
        f"{row['metric']}_{row['split']}": row["value"]
        for row in description["accuracy"]
        if row["metric"] in {"rmse", "r2"} and row["season"] == season
    }


def _origins(run: Project, months: Months) -> list[dict[str, str]]:
    """Items that the maps of some months are made from, those that lags reach back to among them."""
    origins = {}
    for source_input in run.plan.inputs:
        scenes = run.plan.scenes.get(source_input.source.name, ())
        back = [np.timedelta64(step, "M") for step in source_input.source.steps]
        reached = [month - lag for month in months for lag in back]
        least = source_input.source.least_coverage
        used = (
            scenes
            if source_input.static
            else [scene for month in reached for scene in cube.select(scenes, month, least)]
        )
        for scene in used:
            # The query of a URL may be a signature that ends within hours; published items keep the address alone.
            href = run.plan.hrefs[source_input.source.name][scene.item].partition("?")[0]
            title = f"{source_input.source.name}: {scene.item}"
            origins[href, title] = {"href": storage.as_href(href), "title": title}
    return list(origins.values())
