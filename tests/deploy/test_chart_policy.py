"""What every pod of the chart keeps to, those inside Dask clusters too, and who may reach whom."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import promql_parser
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

import charts
from charts import MOSELLE, Document
from soilscale import config, preflight
from soilscale.engine import metrics, units

CASES: dict[str, tuple[str | None, dict[str, Any]]] = {
    "local": ("local", {}),
    "province": ("province", {}),
    "national": ("national", {"worker": {"spot": "aks"}}),
    "external": (None, {"mode": "external", "external": {"scheduler": "tcp://dask:8786"}}),
    "a volume": (
        None,
        {"mode": "operator", "data": {"existingClaim": "maps"}, "config": {"output": "/data/moselle"}},
    ),
}

SECRET = "moselle-store"  # noqa: S105 - the name of one


@pytest.fixture(params=CASES, scope="module")
def found(request: pytest.FixtureRequest) -> list[Document]:
    preset, values = CASES[request.param]
    return charts.render(charts.files(preset), values)


@pytest.fixture(scope="module")
def operator() -> list[Document]:
    return charts.render(charts.files("national"))


def runner(documents: list[Document]) -> Document:
    pod: Document = charts.one(documents, "Job")["spec"]["template"]["spec"]
    return pod


def test_no_pod_runs_as_root_or_gains_privileges(found: list[Document]) -> None:
    for name, pod in charts.pods(found):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] == security["runAsGroup"] == 10001, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostAliases"} & set(pod), name
        for container in charts.containers(pod):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert not own.get("privileged"), name


def test_every_container_has_limits_that_are_its_requests(found: list[Document]) -> None:
    for name, pod in charts.pods(found):
        for container in charts.containers(pod):
            resources = container["resources"]
            assert set(resources["limits"]) == {"cpu", "memory", "ephemeral-storage"}, name
            assert resources["requests"] == resources["limits"], name


def test_only_tmp_and_a_claim_can_be_written(found: list[Document]) -> None:
    for name, pod in charts.pods(found):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["tmp"]["emptyDir"]["sizeLimit"], name
        kinds = {"emptyDir", "configMap", "persistentVolumeClaim"}
        assert all(set(volume) & kinds for name, volume in volumes.items() if name != "dask-tls")
        for container in charts.containers(pod):
            writable = {mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
            assert {"tmp"} <= writable <= {"tmp", "data"}, name
            assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes), name


def test_only_a_runner_that_asks_for_a_cluster_has_a_token(found: list[Document]) -> None:
    operated = bool(charts.clusters(found))
    for name, pod in charts.pods(found):
        checks = name == "Pod moselle-soilscale-check"
        assert pod["automountServiceAccountToken"] is (operated and (checks or name.startswith(("Job", "CronJob")))), (
            name
        )
        assert pod["enableServiceLinks"] is False, name
    assert all(not account["automountServiceAccountToken"] for account in charts.kind(found, "ServiceAccount"))


def test_credentials_come_from_an_existing_secret_and_only_where_data_are_read(found: list[Document]) -> None:
    assert charts.kind(found, "Secret") == []
    for name, pod in charts.pods(found):
        for container in charts.containers(pod):
            taken = [one["secretRef"]["name"] for one in container.get("envFrom", []) if "secretRef" in one]
            assert taken == ([] if container["name"] == "scheduler" else [SECRET]), name
            for entry in container["env"]:
                path = entry.get("value", "").startswith("/etc/soilscale/")
                assert path or not re.search("SECRET|PASSWORD|TOKEN|KEY", entry["name"]), name


def test_every_process_keeps_to_one_thread_of_its_libraries(found: list[Document]) -> None:
    for name, pod in charts.pods(found):
        for container in charts.containers(pod):
            environment = {entry["name"]: entry.get("value") for entry in container["env"]}
            if container["name"] != "scheduler":
                assert [environment[key] for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")] == ["1", "1"], name


def test_one_image_is_everywhere_and_its_digest_wins() -> None:
    digest = "sha256:" + "0123456789abcdef" * 4
    image = {"repository": "registry.example.org:5000/science/soilscale", "tag": "0.1.0", "digest": digest}
    documents = charts.render(charts.files("national"), {"image": image | {"pullSecrets": ["registry"]}})
    for name, pod in charts.pods(documents):
        assert {container["image"] for container in charts.containers(pod)} == {f"{image['repository']}@{digest}"}
        assert pod["imagePullSecrets"] == [{"name": "registry"}], name


# The Dask cluster


def test_nothing_that_changes_from_release_to_release_becomes_a_selector(operator: list[Document]) -> None:
    for documents in charts.clusters(operator).values():
        cluster = documents[0]
        for labels in (
            cluster["metadata"]["labels"],
            *(cluster["spec"][part]["metadata"]["labels"] for part in ("scheduler", "worker")),
        ):
            assert set(labels) <= {
                "app.kubernetes.io/name",
                "app.kubernetes.io/instance",
                "app.kubernetes.io/component",
            }


def test_worker_and_scheduler_are_told_what_spot_nodes_need(operator: list[Document]) -> None:
    cluster = charts.clusters(operator)["cube.yaml"][0]["spec"]
    (worker,), (scheduler,) = (cluster[part]["spec"]["containers"] for part in ("worker", "scheduler"))
    arguments = dict(zip(worker["args"][::2], worker["args"][1::2], strict=True))
    assert arguments["--memory-limit"] == "0.9"
    assert arguments["--nthreads"] == arguments["--nworkers"] == "1"
    assert arguments["--name"] == "$(DASK_WORKER_NAME)"
    environment = {entry["name"]: entry["value"] for entry in scheduler["env"]}
    assert "distributed.http.scheduler.api" in json.loads(environment["DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES"])
    assert int(environment["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"]) > 3
    assert cluster["worker"]["spec"]["terminationGracePeriodSeconds"] > 60
    assert list(worker["lifecycle"]["preStop"]) == ["exec"]


@pytest.mark.parametrize("provider", ["aks", "eks", "gke", "karpenter"])
def test_workers_go_to_nodes_that_may_be_taken_away_and_runner_and_scheduler_keep_off(provider: str) -> None:
    documents = charts.render(
        [MOSELLE], {"mode": "operator", "worker": {"spot": provider, "nodeSelector": {"zone": "a"}}}
    )
    cluster = charts.clusters(documents)["cluster.yaml"][0]["spec"]
    worker, scheduler = (cluster[part]["spec"] for part in ("worker", "scheduler"))
    ((key, value),) = (item for item in worker["nodeSelector"].items() if item[0] != "zone")
    tolerated = [{"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"}]
    assert worker.get("tolerations", []) == (tolerated if provider in {"aks", "gke"} else [])
    avoided = {"matchExpressions": [{"key": key, "operator": "NotIn", "values": [value]}]}
    for pod in (scheduler, runner(documents)):
        required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert required == {"nodeSelectorTerms": [avoided]}


# Rights and ways


def test_the_role_holds_what_the_runner_needs_and_no_more(operator: list[Document]) -> None:
    rights = {
        (group, resource, verb)
        for rule in charts.one(operator, "Role")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    dask = "kubernetes.dask.org"
    expected = {
        (dask, kind, verb)
        for kind in ("daskclusters", "daskautoscalers")
        for verb in ("create", "get", "patch", "delete")
    }
    expected |= {("", kind, "list") for kind in ("pods", "events")}
    assert set(preflight.RIGHTS) == expected
    expected |= {preflight.CERTIFYING}
    assert rights == expected | {("", "resourcequotas", "list")}, "`helm test` looks for room in quotas"
    binding = charts.one(operator, "RoleBinding")
    assert [subject["name"] for subject in binding["subjects"]] == [runner(operator)["serviceAccountName"]]
    assert charts.kind(operator, "ClusterRole") == charts.kind(operator, "ClusterRoleBinding") == []


@pytest.mark.parametrize("preset", ["local", "province"])
def test_where_no_cluster_is_asked_for_there_are_no_rights(preset: str) -> None:
    documents = charts.render(charts.files(preset))
    assert charts.kind(documents, "Role") == charts.kind(documents, "RoleBinding") == []


def matches(selector: Document, labels: dict[str, str]) -> bool:
    expressions = (labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", []))
    return selector.get("matchLabels", {}).items() <= labels.items() and all(expressions)


def allowed(documents: list[Document], of: str, port: int, labels: dict[str, str], namespace: str = "") -> bool:
    """Whether a pod with these labels reaches a port of a scheduler, worker or runner of the release `moselle`."""
    own = {"app.kubernetes.io/name": "soilscale", "app.kubernetes.io/instance": "moselle"}
    target = own | {"app.kubernetes.io/component": of}
    (policy,) = (
        one["spec"] for one in charts.kind(documents, "NetworkPolicy") if matches(one["spec"]["podSelector"], target)
    )
    for rule in policy.get("ingress") or []:
        if port not in {entry["port"] for entry in rule["ports"]}:
            continue
        for peer in rule["from"]:
            place = {"kubernetes.io/metadata.name": namespace}
            where = matches(peer["namespaceSelector"], place) if "namespaceSelector" in peer else not namespace
            if where and matches(peer.get("podSelector", {}), labels):
                return True
    return False


def test_the_scheduler_is_reached_by_its_own_release_and_the_operator_alone(operator: list[Document]) -> None:
    own = {"app.kubernetes.io/name": "soilscale", "app.kubernetes.io/instance": "moselle"}
    dask = {"app.kubernetes.io/name": "dask-kubernetes-operator"}
    for port in (8786, 8787):
        for component in ("runner", "worker"):
            labels = own | {"app.kubernetes.io/component": component}
            assert allowed(operator, "scheduler", port, labels) == (port == 8786)
            assert not allowed(operator, "scheduler", port, labels | {"app.kubernetes.io/instance": "other"})
            assert not allowed(operator, "scheduler", port, labels, "elsewhere")
        assert not allowed(operator, "scheduler", port, {"app": "anything"})
        assert not allowed(operator, "scheduler", port, {"app": "anything"}, "dask-operator")
    assert allowed(operator, "scheduler", 8787, dask, "dask-operator")
    assert not allowed(operator, "scheduler", 8786, dask, "dask-operator")
    assert not allowed(operator, "scheduler", 8787, dask, "elsewhere")


def test_metrics_are_read_from_the_named_namespace_alone(operator: list[Document]) -> None:
    for of, port in (("runner", 9090), ("scheduler", 8787), ("worker", 8788)):
        assert allowed(operator, of, port, {}, "monitoring")
        assert not allowed(operator, of, port, {}, "elsewhere")
    closed = charts.render(charts.files("national"), {"networkPolicy": {"metricsFrom": None}})
    assert not allowed(closed, "runner", 9090, {}, "monitoring")


def test_the_policies_hold_for_the_labels_that_pods_have(operator: list[Document]) -> None:
    labels = [
        charts.one(operator, "Job")["spec"]["template"]["metadata"]["labels"],
        *(
            charts.clusters(operator)["cube.yaml"][0]["spec"][part]["metadata"]["labels"]
            for part in ("scheduler", "worker")
        ),
    ]
    policies = charts.kind(operator, "NetworkPolicy")
    for one in labels:
        assert sum(matches(policy["spec"]["podSelector"], one) for policy in policies) == 1
    budgets = charts.kind(operator, "PodDisruptionBudget")
    assert [sum(matches(budget["spec"]["selector"], one) for budget in budgets) for one in labels] == [1, 1, 0]


def leaves(documents: list[Document], of: str, to: Document, port: int, protocol: str = "TCP") -> bool:
    """Whether a pod reaches a port of a pod with these labels, or of what is outside, which has none."""
    own = {"app.kubernetes.io/name": "soilscale", "app.kubernetes.io/instance": "moselle"}
    target = own | {"app.kubernetes.io/component": of}
    policies = [one["spec"] for one in charts.kind(documents, "NetworkPolicy")]
    for policy in (one for one in policies if matches(one["podSelector"], target)):
        if "Egress" not in policy["policyTypes"]:
            return True
        for rule in policy["egress"]:
            there = (
                any("podSelector" in peer and to and matches(peer["podSelector"], to) for peer in rule["to"])
                if "to" in rule
                else True
            )
            ports = {(one["port"], one["protocol"]) for one in rule.get("ports", [])}
            if there and (not ports or (port, protocol) in ports):
                return True
        return False
    return True


def test_egress_is_open_unless_ports_are_named(operator: list[Document]) -> None:
    own = {"app.kubernetes.io/name": "soilscale", "app.kubernetes.io/instance": "moselle"}
    assert all(one["spec"]["policyTypes"] == ["Ingress"] for one in charts.kind(operator, "NetworkPolicy"))
    closed = charts.render(charts.files("national"), {"networkPolicy": {"egressPorts": [443, 6443]}})
    for of in ("runner", "worker", "scheduler", "check"):
        assert leaves(closed, of, {}, 53, "UDP")
        assert not leaves(closed, of, {}, 25)
        assert leaves(closed, of, {}, 443) == leaves(closed, of, {}, 6443) == (of != "scheduler")
        assert leaves(closed, of, own, 8786)
        assert not leaves(closed, of, {"app.kubernetes.io/name": "other"}, 8786)


def test_a_scheduler_that_is_there_is_reached_whatever_else_is_closed() -> None:
    values = {
        "mode": "external",
        "external": {"scheduler": "tcp://[fd00::1]:18786"},
        "networkPolicy": {"egressPorts": [443]},
    }
    closed = charts.render([MOSELLE], values)
    assert [leaves(closed, "runner", {}, port) for port in (443, 18786, 8786)] == [True, True, False]


# Metrics


def rules(documents: list[Document]) -> dict[str, str]:
    (group,) = charts.one(documents, "PrometheusRule")["spec"]["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


def test_alerts_use_only_metrics_and_outcomes_that_the_runner_serves(operator: list[Document]) -> None:
    suffixes = {"gauge": [""], "counter": ["_total"], "histogram": ["_count", "_sum", "_bucket"]}
    collectors = [one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase)]
    described = [metric for collector in collectors for metric in collector.describe()]
    served = {metric.name + suffix for metric in described for suffix in suffixes[metric.type]}
    named = {name for expression in rules(operator).values() for name in re.findall(r"soilscale_\w+", expression)}
    assert named
    assert named <= served
    (outcomes,) = (
        match for expression in rules(operator).values() for match in re.findall('outcome=~"(.+?)"', expression)
    )
    assert set(outcomes.split("|")) <= set(get_args(units.Outcome))


def test_alerts_are_queries_and_tell_in_words_what_to_do(operator: list[Document]) -> None:
    (group,) = charts.one(operator, "PrometheusRule")["spec"]["groups"]
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert all(len(rule["annotations"][key]) > 20 for key in ("summary", "description"))
        assert promql_parser.parse(rule["expr"])


def test_monitored_ports_are_those_that_pods_have(operator: list[Document]) -> None:
    monitored = {endpoint["port"] for endpoint in charts.one(operator, "PodMonitor")["spec"]["podMetricsEndpoints"]}
    ports = {
        port["name"]
        for _, pod in charts.pods(operator)
        for container in charts.containers(pod)
        for port in container.get("ports", [])
    }
    assert monitored == {"metrics", "http-dashboard"} <= ports


@pytest.mark.parametrize("separate", [True, False])
def test_a_pod_is_read_once_whatever_its_stages(separate: bool) -> None:
    """Prometheus reads each port that a container names, and the stages answer at one, one after another."""
    pod = runner(charts.render([MOSELLE], {"stages": {"separate": separate}}))
    ports = [(one["name"], port["containerPort"]) for one in charts.containers(pod) for port in one.get("ports", [])]
    assert ports == [("report" if separate else "run", 9090)]
    for one in charts.containers(pod):
        assert one["args"][one["args"].index("--metrics-port") + 1] == "9090"


def test_each_schedule_that_runs_has_hours_of_its_own() -> None:
    schedules = [
        {"name": "weekly", "cron": "@weekly", "lateHours": 200},
        {"name": "monthly", "cron": "@monthly", "suspend": False},
        {"name": "yearly", "cron": "@yearly", "suspend": True},
    ]
    (group,) = charts.one(charts.render([MOSELLE], {"schedules": schedules}), "PrometheusRule")["spec"]["groups"]
    late = [one["expr"] for one in group["rules"] if one["alert"] == "SoilscaleScheduleLate"]
    assert [(re.findall(r'cronjob="(.+?)"', one)[0], one.split()[-3]) for one in late] == [
        ("moselle-soilscale-weekly", "200"),
        ("moselle-soilscale-monthly", "840"),
    ]


# The configuration


def test_helm_test_checks_every_configuration_with_what_it_takes() -> None:
    found = charts.render([MOSELLE], {"runner": {"podLabels": {"azure.workload.identity/use": "true"}}})
    checks = charts.kind(found, "Pod")
    told = [one["spec"]["containers"][0]["args"] for one in checks]
    assert told == [["check", f"/etc/soilscale/config/{name}"] for name in ("config.yaml", "config-yearly.yaml")]
    for one in checks:
        assert one["metadata"]["annotations"]["helm.sh/hook"] == "test"
        assert one["metadata"]["labels"]["azure.workload.identity/use"] == "true"
        assert one["spec"]["containers"][0]["resources"]["limits"]["memory"] == "4Gi"
        assert one["spec"]["serviceAccountName"] == runner(found)["serviceAccountName"]


def test_the_rendered_configuration_is_the_one_that_was_given_and_is_accepted() -> None:
    given = yaml.safe_load(MOSELLE.read_text(encoding="utf-8"))["config"]
    numbers = {"grid": given["grid"] | {"coarse": 25025.26, "origin": [-17367530.44, 7314540.83]}}
    for change in ({}, numbers, {"grid": given["grid"] | {"origin": [123456789012, -0.0001]}}):
        documents = charts.render([MOSELLE], {"config": change})
        data = next(one["data"] for one in charts.kind(documents, "ConfigMap"))
        rendered = yaml.safe_load(data["config.yaml"])
        assert rendered == given | change
        assert config.validate(rendered).name == "moselle"
