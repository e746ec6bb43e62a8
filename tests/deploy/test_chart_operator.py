"""What the Dask operator's own code makes of the chart's clusters is what Kubernetes takes and the policies reach."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kubernetes_validate
import pytest
import yaml

import charts
from charts import VERSIONS, Document
from soilscale import manifests
from soilscale.manifests import Owner
from tools import operator

pytestmark = [pytest.mark.deploy, pytest.mark.filterwarnings("default")]  # the operator's warnings are its own

RELEASE = "the-national-maps-of-soil-moisture-of-a-nation-v1"
VALUES = {"mode": "operator", "worker": {"spot": "aks", "podLabels": {"team": "soil"}}}
LONGEST = 63


@pytest.fixture(scope="module")
def controller() -> Any:
    sys.path.append(str(operator()))
    try:
        return importlib.import_module("dask_kubernetes.operator.controller.controller")
    finally:
        sys.path.remove(str(operator()))


@pytest.fixture(scope="module", params=["national", "province"])
def rendered(request: pytest.FixtureRequest) -> list[Document]:
    return charts.render(charts.files(request.param), VALUES, release=RELEASE)


@pytest.fixture(scope="module")
def made(rendered: list[Document], controller: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    """Deployments and Services of every cluster that a runner may ask for."""
    found = []
    for file, documents in charts.clusters(rendered).items():
        path = tmp_path_factory.mktemp("cluster") / file
        path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
        cluster, _ = manifests.documents(path, Owner("a-job", "4f1d", "maps"))
        found += _of(cluster, controller)
    return found


def _of(cluster: Document, controller: Any) -> list[Document]:
    """As the operator's handlers do, step by step."""
    name, spec = cluster["metadata"]["name"], cluster["spec"]
    controller.validate_cluster_name(name)
    own = cluster["metadata"]
    scheduler, worker = spec["scheduler"], spec["worker"]
    annotations, labels = _told(own, scheduler, controller)
    deployment = controller.build_scheduler_deployment_spec(name, scheduler["spec"], annotations, labels)
    service = controller.build_scheduler_service_spec(name, scheduler["service"], annotations, labels)
    group = controller.build_default_worker_group_spec(name, worker, *_told(own, worker, controller))
    annotations, labels = _told(group["metadata"], worker, controller)
    built = controller.build_worker_deployment_spec(
        group["metadata"]["name"], "maps", name, "0123456789", worker["spec"], annotations, labels
    )
    return [deployment, service, built]


def _told(metadata: Document, part: Document, controller: Any) -> tuple[Document, Document]:
    meta = SimpleNamespace(annotations=metadata.get("annotations", {}), labels=metadata.get("labels", {}))
    more = part.get("metadata", {})
    annotations = controller._get_annotations(meta) | more.get("annotations", {})  # noqa: SLF001 - its own step
    return annotations, controller._get_labels(meta) | more.get("labels", {})  # noqa: SLF001 - likewise


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_what_the_operator_makes(version: str, made: list[Document]) -> None:
    assert made
    for document in made:
        kubernetes_validate.validate(document, version, strict=True)
        if document["kind"] == "Service":
            assert len(document["metadata"]["name"]) <= LONGEST
            assert document["metadata"]["name"][0].isalpha()


def test_policies_budgets_and_monitor_reach_the_pods_that_the_operator_makes(
    rendered: list[Document], made: list[Document]
) -> None:
    for document in (one for one in made if one["kind"] == "Deployment"):
        labels = document["spec"]["template"]["metadata"]["labels"]
        assert all(len(value) <= LONGEST for value in labels.values())
        part = labels["dask.org/component"]
        assert labels["app.kubernetes.io/component"] == part
        hits = {
            kind: sum(_selector(one).items() <= labels.items() for one in charts.kind(rendered, kind))
            for kind in ("NetworkPolicy", "PodDisruptionBudget", "PodMonitor")
        }
        assert hits == {"NetworkPolicy": 1, "PodDisruptionBudget": int(part == "scheduler"), "PodMonitor": 1}


def _selector(document: Document) -> dict[str, str]:
    spec = document["spec"]
    found: dict[str, str] = (spec.get("podSelector") or spec["selector"])["matchLabels"]
    return found


def test_the_service_leads_to_the_scheduler_s_pod_and_workers_are_told_their_name(made: list[Document]) -> None:
    for scheduler, service, worker in zip(made[::3], made[1::3], made[2::3], strict=True):
        assert service["spec"]["selector"].items() <= scheduler["spec"]["template"]["metadata"]["labels"].items()
        (container,) = worker["spec"]["template"]["spec"]["containers"]
        told = {entry["name"]: entry.get("value") for entry in container["env"]}
        assert told["DASK_WORKER_NAME"] == worker["metadata"]["name"]
        (process,) = scheduler["spec"]["template"]["spec"]["containers"]
        protocol = "tls" if "tls" in process["args"] else "tcp"
        assert told["DASK_SCHEDULER_ADDRESS"].startswith(f"{protocol}://{service['metadata']['name']}.maps.svc")


def test_the_operator_s_pods_have_the_labels_that_the_policy_admits() -> None:
    """By its own chart, with its name as the name of the release."""
    chart = Path(operator()) / "dask_kubernetes/operator/deployment/helm/dask-kubernetes-operator"
    found = charts.documents(charts.call("template", "dask-operator", chart).stdout)
    labels = charts.one(found, "Deployment")["spec"]["template"]["metadata"]["labels"]
    values = yaml.safe_load((charts.CHART / "values.yaml").read_text(encoding="utf-8"))
    assert values["operator"]["podLabels"].items() <= labels.items()
