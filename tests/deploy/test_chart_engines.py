"""Runs by workflow engines: the same containers as those of the Job, in their order, owned by what started them."""

from __future__ import annotations

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

import charts
from charts import CHART, VERSIONS, Document
from checkout import ROOT
from soilscale import manifests, preflight
from soilscale.errors import ConfigurationError
from soilscale.manifests import Owner

EXAMPLES = ROOT / "examples" / "kubernetes"
NATION = [CHART / "presets" / "national.yaml", ROOT / "deploy" / "values-nation.yaml"]
STAGES = ["search", "cube", "samples", "train", "map", "report"]
OF_THE_ENGINE = {"SOILSCALE_SEQUENCE", "SOILSCALE_OWNER_KIND", "SOILSCALE_OWNER_NAME", "SOILSCALE_OWNER_UID"}


def rendered(example: str, values: dict[str, Any] | None = None) -> list[Document]:
    return charts.render([*NATION, EXAMPLES / f"{example}.yaml"], values)


@pytest.fixture(scope="module")
def job() -> Document:
    """Pod of the Job, whose containers are the stages."""
    pod: Document = charts.one(charts.render(NATION), "Job")["spec"]["template"]["spec"]
    return pod


def plain(container: Document) -> Document:
    """A container without what tells engines apart."""
    kept = {key: value for key, value in container.items() if key not in {"name", "command", "env"}}
    return kept | {"env": [one for one in container["env"] if one["name"] not in OF_THE_ENGINE]}


def variables(container: Document) -> dict[str, Any]:
    return {one["name"]: one.get("value") or one["valueFrom"] for one in container["env"]}


def test_a_jobset_runs_a_job_for_each_stage_after_the_one_before(job: Document) -> None:
    jobset = charts.one(rendered("jobset"), "JobSet")
    parts = jobset["spec"]["replicatedJobs"]
    assert [part["name"] for part in parts] == STAGES
    assert [part.get("dependsOn") for part in parts] == [
        None,
        *([{"name": stage, "status": "Complete"}] for stage in STAGES[:-1]),
    ]
    for part, of_the_job in zip(parts, charts.containers(job), strict=True):
        (container,) = part["template"]["spec"]["template"]["spec"]["containers"]
        assert plain(container) == plain(of_the_job)
        sequence = variables(container)["SOILSCALE_SEQUENCE"]["fieldRef"]["fieldPath"]
        assert sequence == "metadata.labels['jobset.sigs.k8s.io/jobset-name']"
        for version in VERSIONS:
            content = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}} | part["template"]
            kubernetes_validate.validate(content, version, strict=True)


def test_a_workflow_runs_a_step_for_each_stage_and_retries_by_exit_status(job: Document) -> None:
    documents = rendered("argo-workflow")
    spec = charts.one(documents, "Workflow")["spec"]
    steps, *stages = spec["templates"]
    assert [[one["template"] for one in group] for group in steps["steps"]] == [[stage] for stage in STAGES]
    codes = charts.one(charts.render(NATION), "Job")["spec"]["podFailurePolicy"]["rules"][1]["onExitCodes"]["values"]
    for stage, of_the_job in zip(stages, charts.containers(job), strict=True):
        container = stage["container"]
        assert plain(container) == plain(of_the_job)
        assert container["command"] == ["/opt/soilscale/bin/soilscale"]
        assert variables(container)["SOILSCALE_SEQUENCE"] == "{{workflow.uid}}"
        expression = stage["retryStrategy"]["expression"]
        assert [int(code) for code in re.findall(r"\d+", expression)] == codes
        # What Kubernetes gets of Argo: the patch over the pod.
        patch = yaml.safe_load(spec["podSpecPatch"])
        pod = patch | {key: spec[key] for key in ("volumes", "securityContext", "serviceAccountName")}
        pod["containers"] = [container | {"name": "main"}]
        content = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"} | spec["podMetadata"], "spec": pod}
        for version in VERSIONS:
            kubernetes_validate.validate(content, version, strict=True)
    rules = charts.one(documents, "Role")["rules"]
    assert {"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]} in rules
    assert {group for rule in rules for group in rule["apiGroups"]} == {"", "argoproj.io", preflight.RIGHTS[0][0]}


@pytest.mark.parametrize("kind", ["JobSet", "Workflow"])
def test_an_engine_also_runs_all_stages_at_once_without_a_dask_operator(kind: str) -> None:
    documents = charts.render(charts.files("province"), {"job": {"kind": kind}})
    spec = charts.one(documents, kind)["spec"]
    if kind == "JobSet":
        (part,) = spec["replicatedJobs"]
        (container,) = part["template"]["spec"]["template"]["spec"]["containers"]
    else:
        container = spec["templates"][1]["container"]
        assert charts.one(documents, "Role")["rules"][0]["resources"] == ["workflowtaskresults"]
    assert container["args"][0] == "run"
    schedules = charts.kind(documents, "CronJob")
    assert schedules
    assert "{{" not in yaml.safe_dump(schedules)


def test_kueue_counts_the_runner_the_scheduler_and_the_workers() -> None:
    documents = rendered("kueue")
    queue = {"kueue.x-k8s.io/queue-name": "maps"}
    assert queue.items() <= charts.one(documents, "Job")["metadata"]["labels"].items()
    need = {"cpu": 2.0, "memory": 8.0, "ephemeral-storage": 20.0}
    cluster, autoscaler = charts.clusters(documents)["cube.yaml"]
    for part, count in (("scheduler", 1), ("worker", autoscaler["spec"]["maximum"])):
        # The operator gives these labels to Deployments and pods, where Kueue looks for them.
        assert queue.items() <= cluster["spec"][part]["metadata"]["labels"].items()
        for name, amount in cluster["spec"][part]["spec"]["containers"][0]["resources"]["requests"].items():
            need[name] += count * float(amount.removesuffix("Gi"))
    queues = list(yaml.safe_load_all((EXAMPLES / "kueue-queues.yaml").read_text(encoding="utf-8")))
    (group,) = charts.one(queues, "ClusterQueue")["spec"]["resourceGroups"]
    quota = {one["name"]: one["nominalQuota"] for one in group["flavors"][0]["resources"]}
    assert all(need[name] <= float(str(amount).removesuffix("Gi")) for name, amount in quota.items())
    assert charts.one(queues, "LocalQueue")["metadata"]["name"] == "maps"


ENVIRONMENT = {"SOILSCALE_OWNER_NAME": "a", "SOILSCALE_OWNER_UID": "1", "SOILSCALE_NAMESPACE": "maps"}


@pytest.mark.parametrize(
    ("more", "api", "kind"),
    [
        ({}, "batch/v1", "Job"),
        ({"SOILSCALE_OWNER_KIND": "Workflow"}, "argoproj.io/v1alpha1", "Workflow"),
        ({"SOILSCALE_OWNER_KIND": "JobSet"}, "jobset.x-k8s.io/v1alpha2", "JobSet"),
        ({"SOILSCALE_OWNER_KIND": "Pod"}, "v1", "Pod"),
        (
            {"SOILSCALE_OWNER_KIND": "PipelineRun", "SOILSCALE_OWNER_API": "tekton.dev/v1"},
            "tekton.dev/v1",
            "PipelineRun",
        ),
    ],
)
def test_a_cluster_belongs_to_whatever_object_the_run_is_for(more: dict[str, str], api: str, kind: str) -> None:
    owner = Owner.of(ENVIRONMENT | more)
    (reference,) = owner.owns()["ownerReferences"]
    assert (reference["apiVersion"], reference["kind"], reference["name"], reference["uid"]) == (api, kind, "a", "1")
    assert owner.owns()["namespace"] == "maps"
    assert set(manifests.APIS) == {"Job", "JobSet", "Pod", "Workflow"}


def test_an_owner_of_an_unknown_kind_needs_its_api() -> None:
    with pytest.raises(ConfigurationError, match=r"got 'PipelineRun'.*SOILSCALE_OWNER_API"):
        Owner.of(ENVIRONMENT | {"SOILSCALE_OWNER_KIND": "PipelineRun"})
