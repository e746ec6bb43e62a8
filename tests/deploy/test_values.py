"""The values for a province and a nation: chart, Kubernetes, the configuration and the sizing all take them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import charts
from charts import CHART, VERSIONS
from soilscale import config
from soilscale.estimate import resources

ROOT = CHART.parents[1]
FILES = {
    "province": ("province", ROOT / "deploy" / "values-province.yaml"),
    "nation": ("national", ROOT / "deploy" / "values-nation.yaml"),
}
"""What the values are for -> the preset that they are made for, and their file."""

NOT_OURS = {"PodMonitor", "PrometheusRule"}
GIB = 2**30

FITS = ("train", "importance", "ablation")
"""Stages of the sizing that the container `train` runs."""

pytestmark = pytest.mark.parametrize("of", FILES)


def paths(of: str) -> list[Path]:
    preset, values = FILES[of]
    return [CHART / "presets" / f"{preset}.yaml", values]


def merged(of: str) -> dict[str, Any]:
    """The preset's values with the file's over them, at the first level."""
    preset, values = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths(of))
    found: dict[str, Any] = preset | {
        key: preset.get(key, {}) | one for key, one in values.items() if key != "schedules"
    }
    return found


def test_helm_finds_nothing_to_say(of: str) -> None:
    values = [word for path in paths(of) for word in ("--values", str(path))]
    told = charts.call("lint", "--strict", CHART, *values)
    assert told.returncode == 0, told.stdout + told.stderr
    assert not re.findall(r"\[(WARNING|ERROR)\].*", told.stdout)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_document_strictly(of: str, version: str) -> None:
    for document in charts.render(paths(of), version=version):
        if document["kind"] not in NOT_OURS:
            kubernetes_validate.validate(document, version, strict=True)


def test_every_configuration_in_it_is_one(of: str, tmp_path: Path) -> None:
    rendered = charts.render(paths(of))
    data = next(one["data"] for one in charts.kind(rendered, "ConfigMap") if "config.yaml" in one["data"])
    for name, text in data.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    jobs = [one["spec"]["jobTemplate"]["spec"] for one in charts.kind(rendered, "CronJob")]
    jobs.append(charts.one(rendered, "Job")["spec"])
    named = {word for job in jobs for one in charts.containers(job["template"]["spec"]) for word in one["args"]}
    used = {Path(word).name for word in named if word.startswith("/etc/soilscale/config/")}
    assert used == set(data)
    for name in used:
        assert config.load(str(tmp_path / name)).output.startswith("s3://maps/")


def test_its_sources_are_those_of_the_example_where_it_names_one(of: str) -> None:
    """Which tests run on miniatures of their catalogs. The nation's are its own: China of 0.1 degrees is too large."""
    text = FILES[of][1].read_text(encoding="utf-8")
    named = re.findall(r"those of examples/(\w+)\.yaml", text)
    assert named == {"province": ["shaanxi"], "nation": []}[of]
    for name in named:
        example = yaml.safe_load((ROOT / "examples" / f"{name}.yaml").read_text(encoding="utf-8"))
        values = yaml.safe_load(text)["config"]
        for key in ("name", "catalogs", "sources", "grid"):
            assert values[key] == example[key], key


def test_no_secret_stands_in_it(of: str) -> None:
    text = FILES[of][1].read_text(encoding="utf-8")
    assert not re.findall(r"(?i)secret_access|password|token", text)
    assert re.search(r"role-arn|existingSecret", text)


def test_its_workers_have_the_memory_that_the_sizing_asks_for(of: str) -> None:
    values = merged(of)
    months = {"period": values["config"]["training"]}
    sizing = resources.foresee(config.validate(values["config"] | months | {"output": "/nonexistent"}))
    for size in sizing.sizes:
        assert size.memory < _memory(values, size.stage), size.stage


def _memory(values: dict[str, Any], stage: str) -> float:
    """Bytes that a stage may take: of a worker, or of the command for the report."""
    override = values.get("stages", {}).get("overrides", {}).get("train" if stage in FITS else stage, {})
    runner = {**values["runner"]["resources"], **override.get("runner", {})}
    if stage == "report":
        return _bytes(runner["memory"])
    if values["mode"] == "local":
        return _bytes(runner["memory"]) / (values["workers"]["maximum"] + 1)
    return 0.9 * _bytes({**values["worker"]["resources"], **override.get("worker", {})}["memory"])


def _bytes(quantity: str) -> float:
    assert quantity.endswith("Gi")
    return float(quantity.removesuffix("Gi")) * GIB


def test_the_command_in_it_installs_it(of: str) -> None:
    (line,) = re.findall(r"^#\s+(helm .+)$", FILES[of][1].read_text(encoding="utf-8"), re.MULTILINE)
    words = [str(ROOT / word) if "/" in word else word for word in shlex.split(line)]
    assert words[:3] == ["helm", "upgrade", "--install"]
    told = charts.call("template", *(word for word in words[3:] if word != "--create-namespace"))
    assert told.returncode == 0, told.stderr
    assert charts.one(charts.documents(told.stdout), "Job")["metadata"]["name"].startswith(words[3])


def test_a_run_that_is_started_again_takes_no_month_out_of_the_newest_release(of: str) -> None:
    """A fixed period beside schedules that go on would, as after an upgrade of the image."""
    values = yaml.safe_load(FILES[of][1].read_text(encoding="utf-8"))
    assert values["config"]["period"] == "since-last-release"
    assert values["config"]["training"]
