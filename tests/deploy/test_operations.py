"""The operator's handbook, held to image, chart, compose file and sizing; its commands are given to their programs."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import charts
import soilscale
from charts import CHART
from soilscale import cli, config, errors
from soilscale.estimate import resources
from tools import compose, helm, kubectl

ROOT = CHART.parents[1]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
PROVINCE = [CHART / "presets" / "province.yaml", ROOT / "deploy" / "values-province.yaml"]
NATION = [CHART / "presets" / "national.yaml", ROOT / "deploy" / "values-nation.yaml"]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
CHAPTERS = dict(re.findall(r"^## (.+?)$\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL))


def lines(program: str) -> list[list[str]]:
    """Command lines of a program, without it."""
    shown = [shlex.split(line, comments=True) for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
    return [words[1:] for words in shown if words and words[0] == program]


def rows(chapter: str) -> Iterator[list[str]]:
    """Cells of the rows of a chapter's tables, their heads left out."""
    told = [line for line in CHAPTERS[chapter].splitlines() if line.startswith("|")]
    for i, line in enumerate(told):
        if not line.startswith("|---") and not told[min(i + 1, len(told) - 1)].startswith("|---"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def taken(program: Path, words: list[str]) -> None:
    """Let a program read its words to the end without doing anything."""
    told = subprocess.run([program, *words, "--help"], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert words[0] in told.stdout


def test_commands_of_every_program_are_shown() -> None:
    assert all(len(lines(program)) > 2 for program in ("helm", "kubectl", "docker", "soilscale"))


# Commands


@pytest.mark.parametrize("words", lines("kubectl"), ids=" ".join)
def test_kubectl_takes_what_is_shown(words: list[str]) -> None:
    taken(kubectl(), words)


@pytest.mark.parametrize("words", lines("helm"), ids=" ".join)
def test_helm_takes_what_is_shown(words: list[str]) -> None:
    taken(helm(), words)


OURS = [words for words in lines("helm") if "helm/soilscale" in words]


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_the_chart_is_rendered_by_what_is_shown(words: list[str]) -> None:
    given = [str(ROOT / word) if "/" in word else word for word in words[1:]]
    told = charts.call("template", *(word for word in given if word not in {"--install", "--create-namespace"}))
    assert told.returncode == 0, told.stderr
    assert charts.kind(charts.documents(told.stdout), "Job")


@pytest.mark.parametrize("words", [one for one in lines("docker") if one[0] == "compose"], ids=" ".join)
def test_docker_compose_takes_what_is_shown(words: list[str]) -> None:
    assert words[1:3] == ["--file", "deploy/compose.yaml"]
    services = yaml.safe_load((ROOT / words[2]).read_text(encoding="utf-8"))["services"]
    verb, *rest = words[5:] if words[3:5] == ["--file", "deploy/compose-tls.yaml"] else words[3:]
    if verb == "run":
        service = rest.index("runner")
        taken(compose(), [verb, *rest[:service]])
        own, config = services["runner"]["command"]
        command, *arguments = rest[service + 1 :] or [own, config]
        assert command in {"run", "check", "status"}
        assert arguments == [config]
    else:
        taken(compose(), [verb, *rest])
        assert {word for word in rest if word in services} <= {"runner"}


@pytest.mark.parametrize("words", [one for one in lines("docker") if one[0] == "build"], ids=" ".join)
def test_the_image_is_built_from_what_is_there(words: list[str]) -> None:
    assert words[1:3] == ["--file", "deploy/Dockerfile"]
    assert words[-1] == "."
    dockerfile = (ROOT / words[2]).read_text(encoding="utf-8")
    for name in (words[i + 1].partition("=")[0] for i, word in enumerate(words) if word == "--build-arg"):
        assert f"ARG {name}" in dockerfile
    (tag,) = (words[i + 1] for i, word in enumerate(words) if word == "--tag")
    assert tag.endswith(f"soilscale:{soilscale.__version__}")


@pytest.mark.parametrize("text", [text for kind, text in BLOCKS if kind == "yaml" and "apiVersion:" not in text])
def test_shown_values_are_taken_by_the_chart(text: str) -> None:
    values: Mapping[str, Any] = yaml.safe_load(text)
    assert charts.render(PROVINCE, values)


# What it says


def test_names_in_it_are_those_that_the_chart_gives() -> None:
    accounts = {
        one["metadata"]["name"] for one in charts.kind(charts.render(NATION, release="china"), "ServiceAccount")
    }
    # The scheduler's has no role in a cloud.
    assert {*re.findall(r"system:serviceaccount:maps:([\w-]+)", PAGE), "china-soilscale-scheduler"} == accounts
    schedule = charts.one(charts.render(PROVINCE, release="shaanxi"), "CronJob")
    assert f"cronjob/{schedule['metadata']['name']} " in PAGE
    job = charts.one(charts.render(PROVINCE, release="shaanxi"), "Job")
    assert job["metadata"]["labels"]["app.kubernetes.io/instance"] == "shaanxi"
    assert job["metadata"]["labels"]["app.kubernetes.io/component"] == "runner"


def test_every_alert_of_the_chart_is_told_and_no_other() -> None:
    rule = charts.one(charts.render(NATION, {"metrics": {"prometheusRule": {"enabled": True}}}), "PrometheusRule")
    (group,) = rule["spec"]["groups"]
    told = list(rows("Alerts"))
    assert [name.strip("`") for name, *_ in told] == [one["alert"] for one in group["rules"]]
    assert all(len(cell) > 30 for _, *cells in told for cell in cells)
    assert set(re.findall(r"`(Soilscale\w+)`", PAGE)) == {one["alert"] for one in group["rules"]}


def test_every_value_that_is_named_is_one_of_the_chart() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    own = "|".join(key for key, value in values.items() if isinstance(value, dict) and value and key != "env")
    named = set(re.findall(rf"`((?:{own})\.[\w.]+)`", PAGE))
    assert len(named) >= 20
    for name in named:
        node = values
        for key in name.partition(".overrides.")[0].split("."):
            assert key in node, name
            node = node[key]


def test_every_key_of_the_configuration_that_is_named_is_one() -> None:
    sections = config.Config.model_fields
    named = set(re.findall(r"`(models|maps|grid|samples|validation)\.(\w+)`", PAGE))
    assert named
    for section, key in named:
        assert key in sections[section].annotation.model_fields, (section, key)


def test_every_exit_status_that_is_named_is_one() -> None:
    known = {0, cli.USAGE, *(one.status for one in (errors.SoilscaleError, *errors.SoilscaleError.__subclasses__()))}
    named = {int(one) for one in re.findall(r"\b(0|6[0-9]|7[0-9])\b(?= (?:and|or|counts|once|by itself)|,|\.|;)", PAGE)}
    assert {65, 69, 75} <= named <= known


def sized(values: Path) -> resources.Sizing:
    """What the months of `training` take."""
    content = yaml.safe_load(values.read_text(encoding="utf-8"))["config"]
    return resources.foresee(config.validate(content | {"period": content["training"], "output": "/nonexistent"}))


@pytest.mark.parametrize(("paths", "fits"), [(PROVINCE, "2,552"), (NATION, "1,733")], ids=["province", "nation"])
def test_the_sizing_in_it_is_what_the_command_tells(paths: list[Path], fits: str) -> None:
    total = sized(paths[1]).total
    assert f"{total.memory / 2**20:,.0f}" == fits
    name = paths[1].name
    assert re.search(rf"`deploy/{name}`\s(?:needs\s)?{total.seconds / 3600:.0f} core-hours? and\s{fits} MiB", PAGE)


def test_the_nation_s_cost_in_it_is_what_the_command_tells() -> None:
    sizing = sized(NATION[1])
    told = {one.stage: one for one in sizing.sizes}
    assert f"`models.ablation` is {told['ablation'].units} fits more" in PAGE
    hours = f"{told['cube'].seconds / 3600:.0f} of {sizing.total.seconds / 3600:.0f} core-hours"
    assert all(text in PAGE for text in (hours, f"{sizing.total.objects:,}", f"{sizing.total.read / 1e12:.1f} TB"))


def test_files_that_are_named_are_there() -> None:
    named = set(re.findall(r"\b((?:deploy|helm)/[\w./-]+\.\w+)", PAGE))
    assert len(named) > 6
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_what_can_go_wrong_is_told_with_what_is_seen_and_what_to_do() -> None:
    told = "\n".join(what for what, *_ in rows("What can go wrong"))
    for case in ("operator is missing", "quota", "evicted", "cannot be pulled", "a wrong value", "configuration"):
        assert case in told
    assert all(len(row) == 4 for row in rows("What can go wrong"))
