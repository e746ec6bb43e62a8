"""The Grafana dashboard asks only for what runner, scheduler and workers really serve."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import promql_parser
import pytest
from distributed import Client, LocalCluster
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import charts
from charts import MOSELLE
from checkout import ROOT
from soilscale.engine import metrics, units

DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
QUERIES = [one["query"]["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
SELECTOR = re.compile(r"\b((?:soilscale|dask|process)_\w+)(?:\{([^}]*)\})?")
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
WIDE = 24
"""Columns of a dashboard."""


def served(text: str) -> dict[str, set[str]]:
    """Metrics of an answer to Prometheus -> labels that they have."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for suffix in SUFFIXES.get(family.type, ("",)):
            found.setdefault(family.name + suffix, set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.fixture(scope="module")
def known() -> Iterator[Mapping[str, set[str]]]:
    """Metrics that a runner, a scheduler and a worker serve, over HTTP as far as they are Dask's."""
    metrics.planned("cube", 1, 2)
    metrics.tried(units.Receipt("cube", "a", "unreachable", "away", 0.5))
    own = served(generate_latest(REGISTRY).decode())
    where = {"dashboard_address": "127.0.0.1:0", "worker_dashboard_address": "127.0.0.1:0"}
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", **where) as cluster,
        Client(cluster) as client,
    ):
        client.submit(sum, [1, 2]).result()
        (worker,) = client.scheduler_info()["workers"].values()
        for port in (cluster.scheduler.http_server.port, worker["services"]["dashboard"]):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                own |= served(answer.read().decode())
    return own


@pytest.fixture(scope="module")
def of_pods() -> set[str]:
    """Labels that Prometheus gives to whatever it reads of a pod, by the chart's PodMonitor."""
    monitor = charts.one(charts.render([MOSELLE], {"mode": "operator"}), "PodMonitor")
    return {"namespace", "pod", "container", *(re.sub(r"\W", "_", one) for one in monitor["spec"]["podTargetLabels"])}


def plain(expression: str) -> str:
    """An expression as Prometheus gets it from Grafana."""
    return expression.replace("$__rate_interval", "5m").replace("$__range", "5m").replace("$", "")


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
def test_an_expression_is_a_query_of_what_is_served(
    title: str, expression: str, known: Mapping[str, set[str]], of_pods: set[str]
) -> None:
    assert promql_parser.parse(plain(expression)), title
    selectors = SELECTOR.findall(expression)
    assert selectors
    for name, matchers in selectors:
        assert name in known
        assert set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", matchers)) <= known[name] | of_pods
    grouped = {label.strip() for labels in re.findall(r"by \((.*?)\)", expression) for label in labels.split(",")}
    assert grouped <= of_pods.union(*(known[name] for name, _ in selectors))


@pytest.mark.parametrize("query", QUERIES)
def test_a_variable_takes_its_values_from_what_is_served(
    query: str, known: Mapping[str, set[str]], of_pods: set[str]
) -> None:
    found = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", query)
    assert found is not None
    assert found[1] in known
    assert found[2] in of_pods


def test_a_metric_that_is_not_served_would_be_found(known: Mapping[str, set[str]]) -> None:
    assert "soilscale_units_done" not in known
    assert known["soilscale_units_total"] == {"stage", "outcome"}
    assert {"soilscale_unit_seconds_bucket", "dask_scheduler_workers", "dask_worker_memory_bytes"} <= set(known)


def test_every_metric_of_the_runner_is_shown(known: Mapping[str, set[str]]) -> None:
    shown = {
        re.sub(r"_(total|bucket|sum|count)$", "", name) for _, one in EXPRESSIONS for name, _ in SELECTOR.findall(one)
    }
    own = {re.sub(r"_(total|created|bucket|sum|count)$", "", name) for name in known if name.startswith("soilscale_")}
    assert own <= shown


def test_panels_have_a_name_a_meaning_and_a_place_of_their_own() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells
        assert place["x"] + place["w"] <= WIDE
        cells |= own
    for panel in PANELS:
        assert len(panel["description"]) > 30
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert {one["datasource"]["uid"] for one in (panel, *panel["targets"])} == {"${datasource}"}
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]} | {"__rate_interval", "__range"}
    assert {name for _, one in EXPRESSIONS for name in re.findall(r"\$(\w+)", one)} <= variables
