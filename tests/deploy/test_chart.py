"""What the chart renders is what it was, what Kubernetes takes, and what the Dask operator takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

import charts
from charts import CHART, MOSELLE, PRESETS, VERSIONS
from soilscale import __version__

NOT_OURS = {"PodMonitor", "PrometheusRule"}
"""Kinds of other operators, of which Kubernetes has no schema."""

MODES: dict[str, dict[str, Any]] = {
    "local": {"mode": "local"},
    "operator": {"mode": "operator"},
    "external": {"mode": "external", "external": {"scheduler": "tcp://dask.science.svc:8786"}},
    "operator, stages": {"mode": "operator", "stages": {"separate": True}, "worker": {"spot": "gke"}},
}


@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_helm_finds_nothing_to_say(preset: str | None) -> None:
    values = [word for path in (charts.files(preset) if preset else []) for word in ("--values", str(path))]
    told = charts.call("lint", "--strict", CHART, *values)
    assert told.returncode == 0, told.stdout + told.stderr
    assert not re.findall(r"\[(WARNING|ERROR)\].*", told.stdout)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_renders_as_it_did(preset: str, version: str) -> None:
    told = charts.template(charts.files(preset), version=version)
    assert told.stdout == charts.golden(preset).read_text(encoding="utf-8"), (
        "the render has changed: look at it with `make chart` and git diff, and commit it if it is meant"
    )


def test_an_older_kubernetes_is_refused() -> None:
    assert ">=1.31.0" in charts.template(version="1.30").stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_kubernetes_takes_every_document_strictly(preset: str | None, version: str) -> None:
    found = charts.render(charts.files(preset) if preset else [], version=version)
    checked = [document for document in found if document["kind"] not in NOT_OURS]
    assert len(checked) >= (3 if preset is None else 6)
    for document in checked:
        kubernetes_validate.validate(document, version, strict=True)


def test_a_field_that_kubernetes_does_not_know_would_be_found() -> None:
    (job,) = charts.kind(charts.render([MOSELLE]), "Job")
    job["spec"]["template"]["spec"]["containers"][0]["memory"] = "1Gi"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, "1.34", strict=True)


# The Dask operator's definitions


@pytest.fixture(scope="module")
def validators() -> dict[str, Draft202012Validator]:
    return {kind: charts.definition(kind) for kind in ("DaskCluster", "DaskAutoscaler")}


@pytest.mark.parametrize("preset", ["national", None])
def test_the_operators_definitions_take_every_field_of_a_cluster(
    preset: str | None, validators: dict[str, Draft202012Validator]
) -> None:
    found = charts.clusters(charts.render(charts.files(preset), {"mode": "operator", "worker": {"spot": "aks"}}))
    assert len(found) == (6 if preset else 1)
    for file, documents in found.items():
        assert [document["kind"] for document in documents] == ["DaskCluster", "DaskAutoscaler"], file
        for document in documents:
            assert [fault.message for fault in validators[document["kind"]].iter_errors(document)] == []


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        (("worker", "spec", "containers", 0, "lifecycle", "preStop"), "sleep", {"seconds": 30}),
        (("worker", "spec", "containers", 0), "restartPolicy", "Always"),
        (("worker", "spec", "topologySpreadConstraints"), "matchLabelKeys", ["pod-template-hash"]),
        (("scheduler", "service"), "trafficDistribution", "PreferClose"),
    ],
)
def test_a_field_newer_than_the_definitions_would_be_found(
    validators: dict[str, Draft202012Validator], path: tuple[str | int, ...], name: str, value: Any
) -> None:
    (cluster, _) = charts.clusters(charts.render([MOSELLE], {"mode": "operator"}))["cluster.yaml"]
    spread = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}
    cluster["spec"]["worker"]["spec"]["topologySpreadConstraints"] = [spread]
    assert validators["DaskCluster"].is_valid(cluster)
    node = cluster["spec"]
    for step in path:
        node = node[step]
    (node[0] if isinstance(node, list) else node)[name] = value
    assert not validators["DaskCluster"].is_valid(cluster)


# What an operator relies on


@pytest.mark.parametrize("mode", MODES)
def test_names_are_short_enough_for_what_is_made_of_them(mode: str) -> None:
    found = charts.render([MOSELLE], MODES[mode], release="a-release-with-the-longest-name-that-helm-takes-there")
    assert all(len(document["metadata"]["name"]) <= 63 for document in found)
    assert all(len(document["metadata"]["name"]) <= 52 for document in charts.kind(found, "CronJob"))
    for documents in charts.clusters(found).values():
        assert all(len(document["metadata"]["name"]) <= 42 for document in documents)
    assert len({(document["kind"], document["metadata"]["name"]) for document in found}) == len(found)


def test_two_releases_with_long_names_have_names_of_their_own() -> None:
    releases = ("the-national-maps-of-soil-moisture-v1", "the-national-maps-of-soil-moisture-v2")
    first, second = (
        {document["metadata"]["name"] for document in charts.render([MOSELLE], {"mode": "operator"}, release=release)}
        for release in releases
    )
    assert not first & second


@pytest.mark.parametrize("mode", MODES)
def test_the_job_and_every_schedule_share_one_pod_template(mode: str) -> None:
    found = charts.render([MOSELLE], MODES[mode] | {"schedules": [{"name": "monthly", "cron": "@monthly"}]})
    job, cron = charts.one(found, "Job")["spec"], charts.one(found, "CronJob")["spec"]["jobTemplate"]["spec"]
    assert cron["template"]["metadata"]["labels"].pop("soilscale/run") == "monthly"
    assert job["template"]["metadata"]["labels"].pop("soilscale/run") == "once"
    assert job == cron


@pytest.mark.parametrize("mode", MODES)
def test_failures_are_told_apart_by_the_exit_status(mode: str) -> None:
    for document in charts.render([MOSELLE], MODES[mode]):
        if document["kind"] not in {"Job", "CronJob"}:
            continue
        job = document["spec"] if document["kind"] == "Job" else document["spec"]["jobTemplate"]["spec"]
        disrupted, final = job["podFailurePolicy"]["rules"]
        assert disrupted == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
        assert final == {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [64, 65, 78]}}
        assert job["template"]["spec"]["restartPolicy"] == "Never"
        assert min(job["activeDeadlineSeconds"], job["backoffLimit"]) > 0


def test_schedules_do_not_overlap_and_pass_their_period_and_configuration() -> None:
    found = charts.render([MOSELLE])
    monthly, yearly = (document["spec"] for document in charts.kind(found, "CronJob"))
    assert [monthly[key] for key in ("schedule", "timeZone", "suspend", "concurrencyPolicy")] == [
        "0 3 15 * *", "Europe/Paris", False, "Forbid",
    ]  # fmt: skip
    assert [yearly["timeZone"], yearly["suspend"]] == ["Etc/UTC", True]
    assert monthly["startingDeadlineSeconds"] == 86400, "better hours late than a month"
    first, second = (
        spec["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"] for spec in (monthly, yearly)
    )
    assert first[:4] == ["run", "/etc/soilscale/config/config.yaml", "-o", "period=last-3-months"]
    assert second[:4] == ["run", "/etc/soilscale/config/config-yearly.yaml", "-o", 'period=["2000-01","2025-12"]']
    data = {document["metadata"]["name"]: document for document in charts.kind(found, "ConfigMap")}
    files = {name: yaml.safe_load(text) for name, text in data["moselle-soilscale-config"]["data"].items()}
    changed = {"output": "s3://maps/moselle-yearly", "models": {"algorithms": ["trend_forest"]}}
    assert files["config-yearly.yaml"] == files["config.yaml"] | changed


def test_stages_run_one_after_another_with_resources_and_clusters_of_their_own() -> None:
    larger = {"train": {"worker": {"memory": "12Gi"}}, "report": {"runner": {"memory": "16Gi"}}}
    found = charts.render(charts.files("national"), {"stages": {"overrides": larger}})
    pod = charts.one(found, "Job")["spec"]["template"]["spec"]
    stages = [*pod["initContainers"], *pod["containers"]]
    assert [stage["name"] for stage in stages] == ["search", "cube", "samples", "train", "map", "report"]
    assert [stage["args"][0] for stage in stages] == [stage["name"] for stage in stages]
    assert all(f"/etc/soilscale/cluster/{stage['name']}.yaml" == stage["args"][-1] for stage in stages)
    assert [stage["resources"]["limits"]["memory"] for stage in stages] == ["8Gi"] * 5 + ["16Gi"]
    clusters = charts.clusters(found)
    names = [clusters[f"{stage['name']}.yaml"][0]["metadata"]["name"] for stage in stages]
    assert len(set(names)) == 6
    memory = [
        clusters[f"{stage['name']}.yaml"][0]["spec"]["worker"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
        for stage in stages
    ]
    assert memory == ["4Gi", "4Gi", "4Gi", "12Gi", "4Gi", "4Gi"]
    assert [clusters[f"{stage['name']}.yaml"][1]["spec"]["maximum"] for stage in stages] == [2, 60, 10, 30, 60, 10]


@pytest.mark.parametrize(
    ("mode", "last"),
    [
        ("local", ["--workers", "2"]),
        ("operator", ["--cluster", "/etc/soilscale/cluster/cluster.yaml"]),
        ("external", ["--metrics-address", "0.0.0.0"]),  # noqa: S104 - of a pod
    ],
)
def test_the_runner_is_told_where_the_work_is_done(mode: str, last: list[str]) -> None:
    (container,) = charts.one(charts.render([MOSELLE], MODES[mode]), "Job")["spec"]["template"]["spec"]["containers"]
    assert container["args"][-2:] == last
    environment = {entry["name"]: entry for entry in container["env"]}
    assert ("DASK_SCHEDULER_ADDRESS" in environment) == (mode == "external")
    assert ("SOILSCALE_OWNER_UID" in environment) == (mode == "operator")


def test_without_a_configuration_the_embedded_world_is_run() -> None:
    found = charts.render()
    assert charts.one(found, "Job")["spec"]["template"]["spec"]["containers"][0]["args"][:2] == ["demo", "/tmp/demo"]  # noqa: S108
    assert charts.kind(found, "Pod") == []


def test_what_is_known_of_the_cluster_is_told_after_installing() -> None:
    def notes(*more: str | Path) -> str:
        words = ["install", "moselle", CHART, "--namespace", "maps", "--dry-run=client", *more]
        return charts.call(*words).stdout.partition("NOTES:\n")[2]

    national = notes(*(word for path in charts.files("national") for word in ("--values", str(path))))
    job = charts.one(charts.render(charts.files("national")), "Job")["metadata"]["name"]
    assert "The Dask operator is not installed" in national
    assert f"kubectl logs --namespace maps --follow job/{job}" in national
    assert "helm test moselle --namespace maps --logs" in national
    again = "--from=cronjob/moselle-soilscale-monthly moselle-soilscale-monthly-$(date +%s)"
    assert again in national, "a name that is given once could not be given again"
    assert "`stages.overrides` is not used" not in national
    assert "`stages.overrides` is not used" in notes(
        *(word for path in charts.files("national") for word in ("--values", str(path))),
        "--set",
        "stages.separate=false",
    )
    demo = notes()
    assert "`config` is empty" in demo
    assert "helm upgrade moselle helm/soilscale --namespace maps" in demo
    assert "operator" not in demo


def test_the_chart_carries_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["version"] == chart["appVersion"] == __version__
