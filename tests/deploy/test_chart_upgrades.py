"""What an upgrade, a rollback or a tool of GitOps does to a run in progress, by renders compared."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

import charts
from charts import CHART, MOSELLE, Document
from checkout import ROOT
from servers import kubernetes_api

SETTINGS: list[dict[str, Any]] = [
    {"runner": {"logLevel": "debug", "logFormat": "text"}},
    {"job": {"ttlSecondsAfterFinished": 60}},
    {"job": {"backoffLimit": 1, "activeDeadlineSeconds": 600}},
    {"job": {"annotations": {"team": "soil"}, "labels": {"team": "soil"}}},
    {"job": {"suspend": True}},
    {"podDisruptionBudget": {"enabled": False}},
    {"networkPolicy": {"enabled": False}},
    {"schedules": []},
    {"worker": {"resources": {"memory": "9Gi"}}},
    {"workers": {"maximum": 9}},
]
"""What is changed and leaves the pods of the Job as they are, by whatever tool it is installed."""

OF_PODS: list[dict[str, Any]] = [
    {"image": {"pullPolicy": "Always"}},
    {"runner": {"resources": {"memory": "7Gi"}}},
    {"runner": {"nodeSelector": {"disk": "ssd"}}},
    {"metrics": {"port": 9191}},
    {"job": {"waitForLeaseSeconds": 60}},
]
"""What is of the pods: a Job that is there keeps its own."""

OTHERS: list[dict[str, Any]] = [
    {"config": {"models": {"seed": 1}}},
    {"files": {"stations.csv": "station,longitude,latitude,time,value\n"}},
    {"image": {"tag": "0.2.0"}},
]
"""What makes another run."""

KINDS = {
    "v1": ["ConfigMap", "Pod", "ServiceAccount"],
    "batch/v1": ["CronJob", "Job"],
    "monitoring.coreos.com/v1": ["PodMonitor", "PrometheusRule"],
    "networking.k8s.io/v1": ["NetworkPolicy"],
    "policy/v1": ["PodDisruptionBudget"],
    "rbac.authorization.k8s.io/v1": ["Role", "RoleBinding"],
}
"""API of Kubernetes -> kinds of it that the chart has."""


def job(documents: list[Document]) -> Document:
    return charts.one(documents, "Job")


def rendered(values: Mapping[str, Any]) -> Document:
    return job(charts.render([MOSELLE], {"mode": "operator", **values}))


def live(document: Document) -> Document:
    """A Job as the server keeps it: with a UID, labels of its own and defaults."""
    kept = deepcopy(document)
    own = {"batch.kubernetes.io/controller-uid": "4f1d", "controller-uid": "4f1d", "job-name": "a"}
    release = {"meta.helm.sh/release-name": "moselle", "meta.helm.sh/release-namespace": "maps"}
    kept["metadata"] |= {"uid": "4f1d", "namespace": "maps", "generation": 1, "annotations": release}
    template = kept["spec"]["template"]
    template["metadata"]["labels"] |= own | {"batch.kubernetes.io/job-name": "a"}
    template["metadata"]["creationTimestamp"] = None
    template["spec"] |= {"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
    return kept


@contextmanager
def api(*jobs: Document) -> Iterator[int]:
    """The part of Kubernetes' API that Helm's `lookup` asks, with these Jobs."""
    groups = {name.rpartition("/")[0] for name in KINDS if "/" in name}
    versions = [{"groupVersion": name, "version": name.rpartition("/")[2]} for name in KINDS if "/" in name]
    answers: dict[str, Document] = {
        "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [
                {"name": name, "versions": [version], "preferredVersion": version}
                for name, version in zip(sorted(groups), sorted(versions, key=str), strict=True)
            ],
        },
    }
    for name, kinds in KINDS.items():
        resources = [
            {
                "name": f"{kind.lower().removesuffix('y')}s",
                "singularName": kind.lower(),
                "namespaced": True,
                "kind": kind,
                "verbs": ["get"],
            }
            for kind in kinds
        ]
        path = f"/apis/{name}" if "/" in name else f"/api/{name}"
        answers[path] = {"kind": "APIResourceList", "groupVersion": name, "resources": resources}
    # Where Helm looks for earlier releases of the name.
    answers["/api/v1/namespaces/maps/secrets"] = {"kind": "SecretList", "apiVersion": "v1", "items": []}
    answers["/api/v1/namespaces/maps/configmaps"] = {"kind": "ConfigMapList", "apiVersion": "v1", "items": [OTHER]}
    answers |= {f"/apis/batch/v1/namespaces/maps/jobs/{one['metadata']['name']}": one for one in jobs}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path.partition("?")[0])
            failure = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            content = json.dumps(answer or failure).encode()
            self.send_response(200 if answer else 404)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


OTHER = {
    "metadata": {
        "name": "china-config",
        "labels": {"app.kubernetes.io/name": "soilscale", "app.kubernetes.io/instance": "china"},
    }
}
"""Of another release in the namespace."""


def upgraded(values: Mapping[str, Any], folder: Path, *jobs: Document) -> tuple[Document, str]:
    """Job of a render with the Jobs that are there, and the notes, as `helm upgrade` makes them."""
    given = json.dumps({"mode": "operator", **values})
    with api(*jobs) as port:
        kube = ["--kubeconfig", kubernetes_api.kubeconfig(folder, port), "--namespace", "maps"]
        words = ["--values", MOSELLE, "--values", "-", "--dry-run=server", "--disable-openapi-validation", *kube]
        done = charts.call("install", "moselle", CHART, *words, given=given)
    assert done.returncode == 0, done.stderr
    manifest, _, notes = done.stdout.partition("MANIFEST:\n")[2].partition("NOTES:\n")
    return job(charts.documents(manifest)), notes


@pytest.mark.parametrize("change", SETTINGS, ids=str)
def test_settings_of_the_job_and_of_other_objects_leave_its_pods_as_they_are(change: dict[str, Any]) -> None:
    """Kubernetes lets all of a Job be changed but its pods and the rules of their failures."""
    before, after = rendered({}), rendered(change)
    assert after["metadata"]["name"] == before["metadata"]["name"]
    for key in ("template", "podFailurePolicy"):
        assert after["spec"][key] == before["spec"][key]


@pytest.mark.parametrize("change", OTHERS, ids=str)
def test_another_configuration_file_or_image_is_another_job(change: dict[str, Any]) -> None:
    assert rendered(change)["metadata"]["name"] != rendered({})["metadata"]["name"]


@pytest.mark.parametrize("change", OF_PODS, ids=str)
def test_a_job_that_is_there_keeps_its_pods(change: dict[str, Any], tmp_path: Path) -> None:
    before = rendered({})
    after, _ = upgraded(change, tmp_path, live(before))
    assert after["metadata"]["name"] == before["metadata"]["name"]
    kept = live(before)["spec"]["template"]
    kept["metadata"] = before["spec"]["template"]["metadata"]
    assert after["spec"]["template"] == kept, "what the server would see as a change of the pods is refused by it"
    # A rollback applies the earlier render, whose pods differ from those that are kept by the server's defaults alone.
    assert before["spec"]["template"]["spec"].items() <= kept["spec"].items()
    assert upgraded(change, tmp_path)[0]["spec"]["template"] != kept, "where the Job is gone, the change holds"


def test_the_next_job_has_the_change_and_the_rollback_is_the_first_job_again(tmp_path: Path) -> None:
    first = rendered({})
    second, _ = upgraded({**OTHERS[0], **OF_PODS[1]}, tmp_path, live(first))
    assert second["metadata"]["name"] != first["metadata"]["name"]
    limits = second["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["memory"] == "7Gi"
    assert upgraded({}, tmp_path, live(second))[0] == first


def test_a_run_that_failed_or_goes_on_is_told_after_an_upgrade(tmp_path: Path) -> None:
    running = live(rendered({}))
    failed = running | {"status": {"conditions": [{"type": "Failed", "status": "True"}]}}
    name = running["metadata"]["name"]
    assert f"kubectl delete job --namespace maps {name}" in upgraded({}, tmp_path, failed)[1]
    told = upgraded({}, tmp_path, running)[1]
    assert "continues as it was started" in told
    assert "kubectl delete job" not in told


def test_a_job_is_suspended_annotated_and_kept_as_it_is_asked() -> None:
    plain = rendered({})
    assert "suspend" not in plain["spec"], "Kueue and others suspend Jobs themselves"
    assert "ttlSecondsAfterFinished" not in plain["spec"], "what is removed comes back where tools restore it"
    values = {"job": {"suspend": True, "ttlSecondsAfterFinished": 0, "annotations": {"team": "soil"}}}
    documents = charts.render([MOSELLE], values)
    spec = job(documents)["spec"]
    assert (spec["suspend"], spec["ttlSecondsAfterFinished"]) == (True, 0)
    schedules = [one["spec"]["jobTemplate"] for one in charts.kind(documents, "CronJob")]
    assert all("suspend" not in one["spec"] for one in schedules)
    assert all(one["metadata"]["annotations"] == {"team": "soil"} for one in [job(documents), *schedules])


def test_nothing_but_the_test_is_a_hook() -> None:
    """Argo CD runs hooks again at each synchronization, and removes those that were there before."""
    for document in charts.render([MOSELLE], {"mode": "operator"}):
        hooks = [key for key in document["metadata"].get("annotations", {}) if "hook" in key]
        assert bool(hooks) == (document["kind"] == "Pod"), document["metadata"]["name"]


def test_a_run_that_waits_for_another_has_its_own_time_beside() -> None:
    for values, wait in (({}, 86400), ({"job": {"waitForLeaseSeconds": 600}}, 600)):
        documents = charts.render([MOSELLE], values)
        schedules = [one["spec"]["jobTemplate"]["spec"] for one in charts.kind(documents, "CronJob")]
        for spec in (job(documents)["spec"], *schedules):
            arguments = spec["template"]["spec"]["containers"][0]["args"]
            assert arguments[arguments.index("--wait-for-lease") + 1] == f"{wait}s"
            assert spec["activeDeadlineSeconds"] == 259200 + wait
            counted = {
                status
                for rule in spec["podFailurePolicy"]["rules"]
                for status in rule.get("onExitCodes", {}).get("values", [])
            }
            assert 75 not in counted, "a try that has waited in vain is followed by another"
    never = job(charts.render([MOSELLE], {"job": {"waitForLeaseSeconds": 0}}))
    assert "--wait-for-lease" not in never["spec"]["template"]["spec"]["containers"][0]["args"]


def test_stages_of_a_pod_are_one_sequence() -> None:
    for separate in (True, False):
        pod = job(charts.render([MOSELLE], {"stages": {"separate": separate}}))["spec"]["template"]["spec"]
        for container in charts.containers(pod):
            (path,) = [
                one["valueFrom"]["fieldRef"]["fieldPath"]
                for one in container["env"]
                if one["name"] == "SOILSCALE_SEQUENCE"
            ] or [""]
            assert path == ("metadata.labels['batch.kubernetes.io/controller-uid']" if separate else "")


def examples() -> dict[str, Document]:
    """Kind -> the one resource of GitOps in the guide."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    blocks = [part.partition("```")[0] for part in text.split("```yaml\n")[1:]]
    loaded = [one for block in blocks for one in yaml.safe_load_all(block) if isinstance(one, dict)]
    return {one["kind"]: one for one in loaded if "kind" in one}


def test_the_guide_s_resources_of_gitops_hold_what_a_run_of_days_needs() -> None:
    argo, flux = (examples()[kind]["spec"] for kind in ("Application", "HelmRelease"))
    (ignored,) = argo["ignoreDifferences"]
    assert ignored == {"group": "batch", "kind": "Job", "jsonPointers": ["/spec/template"]}
    assert "RespectIgnoreDifferences=true" in argo["syncPolicy"]["syncOptions"]
    assert argo["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True}
    assert all(flux[action]["disableWaitForJobs"] for action in ("install", "upgrade", "rollback"))
    for values in (argo["source"]["helm"]["valuesObject"], flux["values"]):
        config = yaml.safe_load(MOSELLE.read_text(encoding="utf-8"))["config"]
        spec = job(charts.render(values=values | {"config": config | values["config"]}))["spec"]
        assert "ttlSecondsAfterFinished" not in spec


@pytest.mark.parametrize(("preset", "place"), [("province", "province"), ("national", "nation")])
def test_the_values_to_start_from_need_no_prometheus_operator(preset: str, place: str) -> None:
    paths = [CHART / "presets" / f"{preset}.yaml", CHART.parents[1] / "deploy" / f"values-{place}.yaml"]
    groups = {document["apiVersion"].partition("/")[0] for document in charts.render(paths)}
    assert groups == {"v1", "batch", "networking.k8s.io", "policy"} | (
        {"rbac.authorization.k8s.io"} if place == "nation" else set()
    )


def test_the_notes_name_other_releases_of_the_namespace(tmp_path: Path) -> None:
    _, notes = upgraded({}, tmp_path)
    assert "The namespace maps also holds china." in notes
    assert "in its own namespace" in notes
