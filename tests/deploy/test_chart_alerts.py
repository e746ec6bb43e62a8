"""What Prometheus makes of the chart's alerts: when each fires, and when not."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

import charts
from charts import MOSELLE

pytestmark = pytest.mark.deploy

RUN = 'namespace="default", pod="moselle-soilscale-1-x"'
SCHEDULE = 'namespace="default", cronjob="moselle-soilscale-monthly"'
UNITS = f'soilscale_units_planned{{{RUN}, stage="cube"}}', f'soilscale_units_complete{{{RUN}, stage="cube"}}'
FINISHED = f'soilscale_unit_seconds_count{{{RUN}, stage="cube"}}'
FAILED = f'soilscale_units_total{{{RUN}, stage="cube", outcome="failed"}}'
RETRIES = f'soilscale_retries_total{{{RUN}, stage="cube"}}'


def job(name: str) -> str:
    """Labels of a Job of the release."""
    return f'namespace="default", job_name="moselle-soilscale-{name}"'


Series = Sequence[tuple[str, str]]

CASES: dict[str, tuple[Series, str, dict[str, bool]]] = {
    "a job has failed": (
        [('kube_job_failed{namespace="default", job_name="moselle-soilscale-1", condition="true"}', "0 1x10")],
        "SoilscaleRunFailed",
        {"0m": False, "2m": True},
    ),
    "a job of another release has failed": (
        [('kube_job_failed{namespace="default", job_name="loire-soilscale-1", condition="true"}', "1x10")],
        "SoilscaleRunFailed",
        {"2m": False},
    ),
    "a later run of the schedule succeeds": (
        [
            (f'kube_job_failed{{{job("monthly-28")}, condition="true"}}', "1x30"),
            (f"kube_job_status_start_time{{{job('monthly-28')}}}", "100x30"),
            (f"kube_job_status_start_time{{{job('monthly-29')}}}", "_x4 200x26"),
            (f"kube_job_status_completion_time{{{job('monthly-29')}}}", "_x9 300x20"),
        ],
        "SoilscaleRunFailed",
        {"5m": True, "15m": False},
    ),
    "another schedule succeeds, and an earlier run of this one has": (
        [
            (f'kube_job_failed{{{job("monthly-28")}, condition="true"}}', "1x30"),
            (f"kube_job_status_start_time{{{job('monthly-28')}}}", "100x30"),
            (f"kube_job_status_completion_time{{{job('monthly-27')}}}", "50x30"),
            (f"kube_job_status_completion_time{{{job('yearly-29')}}}", "300x30"),
        ],
        "SoilscaleRunFailed",
        {"15m": True},
    ),
    "an image cannot be pulled": (
        [(f'kube_pod_container_status_waiting_reason{{{RUN}, reason="ImagePullBackOff"}}', "1x60")],
        "SoilscaleCannotStart",
        {"5m": False, "20m": True},
    ),
    "a pod is slow": (
        [(f'kube_pod_container_status_waiting_reason{{{RUN}, reason="ContainerCreating"}}', "1x60")],
        "SoilscaleCannotStart",
        {"20m": False},
    ),
    "one unit fails": ([(FAILED, "0x9 1x60")], "SoilscaleUnitsMissing", {"5m": False, "15m": True, "55m": False}),
    "a store is away": ([(RETRIES, "0x9 0+2x60")], "SoilscaleServiceAway", {"9m": False, "50m": True}),
    "a unit is tried again": ([(RETRIES, "0x9 3x60")], "SoilscaleServiceAway", {"50m": False}),
    "no worker comes": (
        [(UNITS[0], "10x200"), (UNITS[1], "3x200"), (FINISHED, "0x200")],
        "SoilscaleStalled",
        {"50m": False, "130m": True},
    ),
    "units go on": (
        [(UNITS[0], "1000x200"), (UNITS[1], "0+1x200"), (FINISHED, "0+1x200")],
        "SoilscaleStalled",
        {"130m": False},
    ),
    "a stage is complete": (
        [(UNITS[0], "10x200"), (UNITS[1], "10x200"), (FINISHED, "7x200")],
        "SoilscaleStalled",
        {"130m": False},
    ),
    "a schedule succeeded": (
        [(f"kube_cronjob_status_last_successful_time{{{SCHEDULE}}}", "0x1000")],
        "SoilscaleScheduleLate",
        {"839h": False, "841h": True},
    ),
    "a schedule that is old succeeded again": (
        [
            (f"kube_cronjob_status_last_successful_time{{{SCHEDULE}}}", "0x700 2520000x300"),
            (f"kube_cronjob_created{{{SCHEDULE}}}", "0x1000"),
        ],
        "SoilscaleScheduleLate",
        {"841h": False},
    ),
    "a schedule has never succeeded": (
        [(f"kube_cronjob_created{{{SCHEDULE}}}", "0x1000")],
        "SoilscaleScheduleLate",
        {"839h": False, "841h": True},
    ),
}
"""What happens -> series from minute to minute (of a schedule, from hour to hour), the alert, when it fires."""


@pytest.fixture(scope="module")
def promtool() -> str:
    found, apt = shutil.which("promtool"), shutil.which("apt-get")
    if found is None and apt is not None and os.geteuid() == 0:
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        for words in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", "prometheus"]):
            subprocess.run([apt, *words], env=quiet, capture_output=True, check=False)
        found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is needed: apt-get install prometheus")
    return found


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rules") / "rules.yaml"
    rule = charts.one(charts.render([MOSELLE]), "PrometheusRule")
    path.write_text(yaml.safe_dump(rule["spec"]), encoding="utf-8")
    return path


def fires(promtool: str, rules: Path, series: Series, alert: str, when: dict[str, bool]) -> str:
    """What promtool finds wrong with when an alert fires; nothing if it is right."""
    step = "1h" if any(time.endswith("h") for time in when) else "1m"
    query = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)'
    samples = [
        {"expr": query, "eval_time": time, "exp_samples": [{"labels": "{}", "value": int(fired)}]}
        for time, fired in when.items()
    ]
    given = [{"series": name, "values": values} for name, values in series]
    tests = [{"interval": step, "input_series": given, "promql_expr_test": samples}]
    told = {"rule_files": [str(rules)], "evaluation_interval": step, "tests": tests}
    path = rules.with_name("test.yaml")
    path.write_text(yaml.safe_dump(told), encoding="utf-8")
    done = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_promtool_takes_the_rules(promtool: str, rules: Path) -> None:
    done = subprocess.run(
        [promtool, "check", "rules", "--lint=all", rules], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES)
def test_an_alert_fires_when_it_is_so_and_not_before(case: str, promtool: str, rules: Path) -> None:
    assert fires(promtool, rules, *CASES[case]) == ""


def test_every_alert_is_tried(rules: Path) -> None:
    (group,) = yaml.safe_load(rules.read_text(encoding="utf-8"))["groups"]
    assert {one["alert"] for one in group["rules"]} == {alert for _, alert, _ in CASES.values()}
