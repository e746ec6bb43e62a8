"""What the chart's README, comments and presets tell, held to the chart."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import charts
from charts import CHART, MOSELLE
from soilscale import config

README = (CHART / "README.md").read_text(encoding="utf-8")
ROOT = CHART.parents[1]
BLOCKS = dict(re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL))


def document() -> ModuleType:
    spec = importlib.util.spec_from_file_location("document", ROOT / "helm" / "document.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_values_is_what_make_chart_writes() -> None:
    assert document().written(README) == README, "run `make chart`"


def test_the_schema_takes_the_sections_that_the_package_takes() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    assert document().with_sections(schema) == schema, "run `make chart`"


def test_every_value_is_told_with_a_meaning() -> None:
    table = document().table().splitlines()[2:]
    assert len(table) > 60
    assert [line for line in table if not re.fullmatch(r"\| `[\w.]+` \| `.*` \| .+ \| [A-Z`].{8,}[.)] \|", line)] == []


def shown() -> list[list[str]]:
    """Helm's command lines of the README and of the presets' comments."""
    presets = "\n".join(path.read_text(encoding="utf-8") for path in sorted((CHART / "presets").glob("*.yaml")))
    lines = [*BLOCKS["sh"].splitlines(), *re.findall(r"^#\s+(helm .+)$", presets, flags=re.MULTILINE)]
    return [shlex.split(line, comments=True) for line in lines]


def test_commands_are_shown_for_each_preset() -> None:
    words = {word for line in shown() for word in line}
    assert {f"helm/soilscale/presets/{preset}.yaml" for preset in charts.PRESETS} <= words


@pytest.mark.parametrize("words", [line for line in shown() if line[1] != "test"], ids=" ".join)
def test_a_shown_command_renders(words: list[str]) -> None:
    assert words[0] == "helm"
    assert words[1] in {"install", "upgrade"}
    places = {"helm/soilscale": str(CHART)} | {
        f"{name}-values.yaml": str(MOSELLE) for name in ("moselle", "shaanxi", "china")
    }
    given = [places.get(word, word.replace("helm/soilscale/", f"{CHART}/")) for word in words[2:]]
    told = charts.call("template", *(word for word in given if word != "--create-namespace"))
    assert told.returncode == 0, told.stderr
    assert charts.kind(charts.documents(told.stdout), "Job")


def test_the_shown_values_are_accepted_by_chart_and_package(tmp_path: Path) -> None:
    values = tmp_path / "moselle-values.yaml"
    values.write_text(BLOCKS["yaml"], encoding="utf-8")
    found = charts.render([CHART / "presets" / "province.yaml", values])
    data = charts.one(found, "ConfigMap")["data"]
    assert config.validate(yaml.safe_load(data["config.yaml"])).name == "moselle"
    assert charts.one(found, "CronJob")["spec"]["timeZone"] == "Europe/Paris"


def test_a_file_is_given_as_the_table_tells(tmp_path: Path) -> None:
    area = tmp_path / "province.geojson"
    area.write_text('{"type": "Polygon"}', encoding="utf-8")
    told = charts.call("template", "moselle", CHART, "--set-file", rf"files.province\.geojson={area}")
    assert charts.one(charts.documents(told.stdout), "ConfigMap")["data"] == {"province.geojson": '{"type": "Polygon"}'}


def test_a_platform_may_choose_the_user() -> None:
    for _, pod in charts.pods(charts.render([MOSELLE], {"user": None, "mode": "operator"})):
        assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_every_alert_that_is_told_exists() -> None:
    rendered = charts.golden("national").read_text(encoding="utf-8")
    told = set(re.findall(r"`(Soilscale[A-Z]\w+)`", README))
    assert told
    assert told <= set(re.findall(r"alert: (\w+)", rendered))


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#\s]+)\)", README))
def test_a_link_leads_somewhere(target: str) -> None:
    assert "://" in target or (CHART / target).exists()
