"""What values the chart takes, what it refuses in which words, and that whatever it takes renders well."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis_jsonschema import from_schema
from jsonschema import Draft7Validator

import charts
from charts import CHART, MOSELLE
from soilscale.config import sections

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
CONFIG: dict[str, Any] = yaml.safe_load(MOSELLE.read_text(encoding="utf-8"))["config"]
TEXT = re.compile(SCHEMA["definitions"]["text"]["pattern"], flags=re.ASCII)
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

ERRORS: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"mod": "local"}, ("mod",)),
    ({"mode": "cluster"}, ("/mode", "local", "operator", "external")),
    ({"mode": "external"}, ("/external/scheduler",)),
    ({"external": {"scheduler": "dask:8786"}}, ("/external/scheduler",)),
    ({"workers": {"maximum": 0}}, ("/workers/maximum", "minimum")),
    ({"workers": {"maximum": "many"}}, ("/workers/maximum", "integer")),
    ({"workers": {"minimum": 5}}, ("workers.minimum 5", "workers.maximum 2")),
    ({"worker": {"memory": "4Gi"}}, ("/worker", "memory")),
    ({"worker": {"resources": {"memory": "4 GB"}}}, ("/worker/resources/memory",)),
    ({"worker": {"resources": {"memory": 4}}}, ("/worker/resources/memory", "string")),
    ({"worker": {"spot": True}}, ("/worker/spot", "karpenter")),
    ({"worker": {"memoryFraction": 1.5}}, ("/worker/memoryFraction",)),
    ({"runner": {"podLabels": {"app.kubernetes.io/name": "mine"}}}, ("/runner/podLabels", "app.kubernetes.io~1name")),
    ({"image": {"tag": "a b"}}, ("/image/tag",)),
    ({"image": {"digest": "sha256:abc"}}, ("/image/digest",)),
    ({"env": {"AWS_SECRET_ACCESS_KEY": "hunter2"}}, ("/env", "AWS_SECRET_ACCESS_KEY")),
    ({"env": {"EARTHDATA_TOKEN": "hunter2"}}, ("/env", "EARTHDATA_TOKEN")),
    ({"env": {"AWS_REGION": 1}}, ("/env/AWS_REGION", "string")),
    ({"credentials": {"accessKey": "AKIA"}}, ("/credentials", "accessKey")),
    ({"credentials": {"existingSecret": "Not A Name"}}, ("/credentials/existingSecret",)),
    ({"schedules": [{"name": "monthly"}]}, ("/schedules/0", "cron")),
    ({"schedules": [{"name": "monthly", "cron": "every month"}]}, ("/schedules/0/cron",)),
    ({"schedules": [{"name": "monthly", "cron": "0 24 1 * *"}]}, ("/schedules/0/cron",)),
    ({"schedules": [{"name": "Monthly", "cron": "@monthly"}]}, ("/schedules/0/name",)),
    ({"schedules": [{"name": "a-name-that-is-far-too-long", "cron": "@monthly"}]}, ("/schedules/0/name", "17")),
    ({"schedules": [{"name": "a", "cron": "@daily", "period": "last-0-months"}]}, ("/schedules/0/period",)),
    ({"schedules": [{"name": "a", "cron": "@daily", "config": {"modles": {}}}]}, ("/schedules/0/config", "modles")),
    ({"schedules": [{"name": "a", "cron": "@daily"}] * 2}, ("schedules", '"a" occurs twice')),
    ({"stages": {"overrides": {"predict": {}}}}, ("/stages/overrides", "predict")),
    ({"stages": {"overrides": {"train": {"workers": {"minimum": 9}}}}}, ("stages.overrides.train.workers", "9")),
    ({"files": {"config.yaml": "x"}}, ("/files", "config.yaml")),
    ({"files": {"a.geojson": "\x88"}}, ("/files/a.geojson",)),
    ({"config": {"seasons": "\x88"}}, ("control characters",)),
    ({"files": {"large.geojson": "x" * 1_000_000}}, ("1000000", "data.existingClaim")),
    ({"data": {"mountPath": "/etc/soilscale"}}, ("/data/mountPath",)),
    ({"config": {"output": "runs/moselle"}}, ("/config/output",)),
    ({"config": {"output": "/data/moselle"}}, ("config.output", "lost", "data.existingClaim")),
    ({"config": {"output": "/maps/moselle"}, "data": {"existingClaim": "maps"}}, ("config.output", "mountPath /data")),
    ({"config": {"output": "/data/moselle"}, "data": {"existingClaim": "maps", "readOnly": True}}, ("data.readOnly",)),
    (
        {"schedules": [{"name": "a", "cron": "@daily", "config": {"output": "/tmp/a"}}]},  # noqa: S108
        ("schedules, a: config.output", "lost"),
    ),
    ({"config": {"area": {"bbox": [1, 2, 3]}}}, ("/config/area",)),
    ({"config": {"grid": {"ratio": 1}}}, ("/config/grid/ratio",)),
    ({"config": {"period": ["1990", "1993"]}}, ("/config/period",)),
    ({"config": {"seesons": "annual"}}, ("/config", "seesons")),
    ({"config": {"sources": None}}, ("/config", "sources")),
    ({"config": {"sources": {"soil_moisture": {"rol": "target"}}}}, ("/config/sources/soil_moisture", "rol")),
    ({"config": {"sources": {"elevation": {"lags": [0]}}}}, ("/config/sources/elevation/lags/0", "minimum")),
    ({"config": {"sources": {"a": {"quality": {"bit": [0, 1]}}}}}, ("/config/sources/a/quality", "bit")),
    ({"config": {"sources": {"a": {"parts": ["b", "c"], "asset": "d"}}}}, ("/config/sources/a", "asset")),
    ({"config": {"models": {"seeds": 1}}}, ("/config/models", "seeds")),
    ({"config": {"maps": {"releases": 0}}}, ("/config/maps/releases",)),
    ({"config": {"validation": {"depht": [0, 1]}}}, ("/config/validation", "depht")),
    ({"config": {"samples": {"min_valid_fraction": 2}}}, ("/config/samples/min_valid_fraction",)),
    ({"config": {"seasons": {"wet": [13]}}}, ("/config/seasons/wet/0",)),
    ({"runner": {"resources": {"memory": None}}}, ("/runner/resources", "memory")),
    ({"job": {"activeDeadlineSeconds": None}}, ("/job", "activeDeadlineSeconds")),
    ({"networkPolicy": {"egressPorts": ["https"]}}, ("/networkPolicy/egressPorts/0", "integer")),
    ({"schedules": [{"name": "a", "cron": "@daily", "lateHours": 0}]}, ("/schedules/0/lateHours",)),
    ({"metrics": {"port": 80}}, ("/metrics/port",)),
    ({"user": 0}, ("/user",)),
]  # fmt: skip


@pytest.mark.parametrize(("values", "words"), ERRORS, ids=lambda one: json.dumps(one)[:60])
def test_a_wrong_value_is_refused_by_its_key(values: dict[str, Any], words: tuple[str, ...]) -> None:
    told = charts.refusal(values)
    assert [word for word in words if word not in told.replace("\\", "")] == [], told


@pytest.mark.parametrize(
    "values",
    [{"mode": "operator"}, {"stages": {"separate": True}}, {"schedules": [{"name": "a", "cron": "@daily"}]}],
    ids=str,
)
def test_what_needs_a_configuration_is_refused_without_one(values: dict[str, Any]) -> None:
    told = charts.refusal(values, paths=[])
    assert "/config" in told
    assert "sources" in told


# The schema is strict, complete and right


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = SCHEMA["definitions"][node["$ref"].rpartition("/")[2]]
    return node


def objects(node: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every object of the schema whose keys are the chart's own, with its path."""
    node = resolved(node)
    if "properties" in node:
        yield path, node
        for key, child in node["properties"].items():
            # What is passed through to pods has Kubernetes' keys: test_chart_pods.py.
            if key != "pod":
                yield from objects(child, (*path, key))


def test_the_schema_is_one() -> None:
    Draft7Validator.check_schema(SCHEMA)


def test_every_object_of_ours_takes_no_other_key() -> None:
    def described(node: Any) -> Iterator[dict[str, Any]]:
        if isinstance(node, dict):
            if {"properties", "patternProperties"} & set(node) and node.get("type") == "object":
                yield node
            node = list(node.values())
        if isinstance(node, list):
            for one in node:
                yield from described(one)

    definitions = {name: node for name, node in SCHEMA["definitions"].items() if name != "pod"}
    found = list(described(SCHEMA | {"definitions": definitions}))
    assert len(found) > 35
    assert [node for node in found if node.get("additionalProperties") is not False] == []


@pytest.mark.parametrize("path", [path for path, _ in objects(SCHEMA)], ids=".".join)
def test_a_key_that_is_not_ours_is_refused_wherever_it_stands(path: tuple[str, ...]) -> None:
    values: dict[str, Any] = {"surprise": 1}
    for key in reversed(path):
        values = {key: values}
    told = charts.refusal(values, paths=[])
    assert "surprise" in told
    assert f"'/{'/'.join(path)}'" in told or not path


def test_every_value_has_a_default_and_every_default_is_in_the_schema() -> None:
    def keys(values: dict[str, Any], node: dict[str, Any], path: str = "") -> Iterator[str]:
        known = resolved(node).get("properties")
        if known is None or path in {".stages.overrides", ".config"} or path.endswith(".pod"):
            return
        assert set(values) == set(known), path
        for key, child in known.items():
            yield f"{path}.{key}"
            if isinstance(values[key], dict):
                yield from keys(values[key], child, f"{path}.{key}")

    assert len(list(keys(VALUES, SCHEMA))) > 70
    assert list(Draft7Validator(SCHEMA).iter_errors(VALUES)) == []


def test_a_value_that_is_taken_away_is_refused_by_its_key() -> None:
    """`null` takes a default away: a limit of memory without one would be none."""

    def kept(values: dict[str, Any], node: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        for key, value in values.items():
            below = resolved(resolved(node)["properties"][key])
            if isinstance(value, dict) and "properties" in below and key not in {"config", "overrides"}:
                yield from kept(value, below, (*path, key))
            elif value is not None and not isinstance(value, (dict, list)) and key != "user":
                yield (*path, key)

    paths = list(kept(VALUES, SCHEMA))
    assert len(paths) > 50
    for path in paths:
        values = copy.deepcopy(VALUES)
        node = values
        for key in path[:-1]:
            node = node[key]
        del node[path[-1]]
        (fault,) = Draft7Validator(SCHEMA).iter_errors(values)
        assert (list(fault.path), path[-1] in fault.message) == ([*path[:-1]], True)


NOTHING: list[dict[str, Any]] = [
    {key: None} for key in ("files", "env", "schedules", "user")
] + [
    {"stages": {"separate": True, "overrides": None}},
    {"networkPolicy": {"metricsFrom": None, "egressPorts": None}},
    {"runner": dict.fromkeys(("nodeSelector", "tolerations", "podLabels", "podAnnotations"))},
    {"worker": dict.fromkeys(("nodeSelector", "tolerations", "podLabels", "podAnnotations"))},
    {"scheduler": dict.fromkeys(("nodeSelector", "tolerations", "podLabels", "podAnnotations"))},
    {"job": {"labels": None}, "image": {"pullSecrets": None}},
    {"serviceAccount": {"runner": {"annotations": None}, "worker": {"annotations": None}}},
    {"metrics": {"podMonitor": {"labels": None}, "prometheusRule": {"labels": None}}},
]  # fmt: skip


@pytest.mark.parametrize("values", NOTHING, ids=lambda one: json.dumps(one)[:60])
@pytest.mark.parametrize("mode", ["local", "operator"])
def test_lists_and_mappings_may_be_taken_away(mode: str, values: dict[str, Any]) -> None:
    for document in charts.render(charts.files(None), {"mode": mode} | values):
        if document["kind"] not in OTHERS:
            kubernetes_validate.validate(document, "1.34", strict=True)


@pytest.mark.parametrize(
    "values",
    [
        {"image": {"repository": "registry.example.org:5000/a__b/c--d.e_f", "pullSecrets": ["quay.io-pull"]}},
        {"mode": "external", "external": {"scheduler": "tcp://[fd00::1]:8786"}},
        {"config": {"sources": {"elevation": {"nodata": -9999}, "land": {"profile": "MOD11A2", "catalog": "moselle"}}}},
        {"config": {"validation": {"outliers": None}, "models": {"ablation": ["sand"]}}},
    ],
    ids=lambda one: json.dumps(one)[:60],
)
def test_what_is_unusual_and_right_is_taken(values: dict[str, Any]) -> None:
    found = charts.render([MOSELLE], values)
    if "config" in values:
        data = yaml.safe_load(charts.kind(found, "ConfigMap")[0]["data"]["config.yaml"])
        for section, changed in values["config"].items():
            assert changed.items() <= data[section].items() or section == "sources"


def test_a_tag_that_is_no_label_becomes_one() -> None:
    labels = charts.one(charts.render([MOSELLE], {"image": {"tag": "_" + "a" * 61 + "-z."}}), "Job")["metadata"][
        "labels"
    ]
    assert labels["app.kubernetes.io/version"] == "a" * 61


def test_a_name_that_no_service_may_have_is_refused_where_there_would_be_one() -> None:
    for release, mode, refused in (("1km", "operator", True), ("1km", "local", False), ("km", "operator", False)):
        told = charts.template([MOSELLE], {"mode": mode}, release=release)
        assert (told.returncode != 0) == refused
        assert ("set fullnameOverride" in told.stderr) == refused
    assert charts.template([MOSELLE], {"mode": "operator", "fullnameOverride": "km"}, release="1km").returncode == 0


def test_the_configuration_has_the_keys_that_the_package_takes() -> None:
    known = SCHEMA["definitions"]["configuration"]
    fields = sections.Config.model_fields
    assert set(known["properties"]) == set(SCHEMA["definitions"]["configurationChange"]["properties"]) == set(fields)
    assert set(known["required"]) == {key for key, field in fields.items() if field.is_required()}
    parts = {"area": sections.Area, "grid": sections.GridSection}
    for key, section in parts.items():
        assert set(known["properties"][key]["properties"]) == set(section.model_fields)
    catalogs = resolved(known["properties"]["catalogs"]["additionalProperties"])
    assert set(catalogs["properties"]) == set(sections.CatalogSection.model_fields)


# Whatever the schema takes


def amended(values: dict[str, Any]) -> dict[str, Any]:
    """Values with what hangs on several keys put right."""
    if values.get("mode") == "external":
        values = values | {"external": {"scheduler": "tcp://dask:8786"}}
    names: set[str] = set()
    schedules = []
    for schedule in values.get("schedules", []):
        if schedule["name"] not in names:
            names.add(schedule["name"])
            config = {key: value for key, value in schedule.get("config", {}).items() if key != "output"}
            config = config if TEXT.fullmatch(json.dumps(config, ensure_ascii=False)) else {}
            schedules.append(schedule | {"config": config})
    stages = copy.deepcopy(values.get("stages", {}))
    for override in stages.get("overrides", {}).values():
        override.get("workers", {}).pop("minimum", None)
    return values | {"schedules": schedules, "config": CONFIG, "stages": stages}


def partial(node: Any) -> Any:
    """A schema of values as a person writes them: what is left out has its default."""
    if isinstance(node, list):
        return [partial(one) for one in node]
    if not isinstance(node, dict):
        return node
    left = {"required"} if "cron" not in node.get("properties", {}) else set()
    return {key: partial(value) for key, value in node.items() if key not in left}


# What is passed through to pods is Kubernetes' to refuse: test_chart_pods.py.
DEFINITIONS = partial(SCHEMA["definitions"]) | {"pod": {"type": "object", "maxProperties": 0}}

# from_schema writes into the schema that it is given
PARTS = {
    key: from_schema(copy.deepcopy(partial(resolved(node)) | {"definitions": DEFINITIONS}))
    for key, node in SCHEMA["properties"].items()
    if key not in {"config", "workers"}
}


@st.composite
def chosen(draw: st.DrawFn) -> dict[str, Any]:
    """Values of one to three keys of the first level, as the schema describes them, in any mode."""
    keys = draw(st.sets(st.sampled_from(sorted(PARTS)), min_size=1, max_size=3))
    values = {key: draw(PARTS[key]) for key in sorted(keys)}
    return amended({"mode": draw(st.sampled_from(["local", "operator", "external"]))} | values)


OTHERS = {"JobSet", "PodMonitor", "PrometheusRule", "Workflow"}
"""Kinds that are not Kubernetes' own, which has no schema of them."""


def check(values: dict[str, Any]) -> None:
    """Hold a render to Kubernetes' schemas, and every pod to the least that the policies ask for."""
    found = charts.render([], values)
    for document in found:
        if document["kind"] not in OTHERS:
            kubernetes_validate.validate(document, "1.34", strict=True)
    for name, pod in charts.pods(found):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        for container in charts.containers(pod):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name


@given(values=chosen())
@settings(max_examples=40, suppress_health_check=SLOW)
def test_whatever_the_schema_takes_renders_to_what_kubernetes_takes(values: dict[str, Any]) -> None:
    check(values)


@pytest.mark.deploy
@given(values=chosen())
@settings(max_examples=300, suppress_health_check=SLOW, phases=[Phase.explicit, Phase.generate])
def test_many_values_that_the_schema_takes_render_to_what_kubernetes_takes(values: dict[str, Any]) -> None:
    check(values)


@given(data=st.data())
@settings(max_examples=40, suppress_health_check=SLOW)
def test_a_value_of_another_type_is_refused_by_its_key(data: st.DataObject) -> None:
    """Each key of the chart in turn is given what no key takes: a list of a list."""
    path, node = data.draw(st.sampled_from([*objects(SCHEMA)]))
    key = data.draw(st.sampled_from(sorted(node["properties"])))
    values: dict[str, Any] = {key: [[1]]}
    for step in reversed(path):
        values = {step: values}
    told = charts.refusal(copy.deepcopy(values), paths=[])
    assert f"/{'/'.join((*path, key))}" in told
