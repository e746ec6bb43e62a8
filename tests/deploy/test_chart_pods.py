"""Placement, and what else is passed through to the pods of runner, scheduler and workers."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest

import charts
from charts import MOSELLE, VERSIONS, Document

SPREAD = {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}
PREFERRED = {"weight": 1, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}}
POD: dict[str, Any] = {
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [PREFERRED]}},
    "topologySpreadConstraints": [SPREAD | {"labelSelector": {"matchLabels": {"team": "soil"}}}],
    "schedulerName": "volcano",
    "runtimeClassName": "gvisor",
    "dnsPolicy": "None",
    "dnsConfig": {"nameservers": ["10.0.0.10"], "options": [{"name": "ndots", "value": "2"}]},
    "hostAliases": [{"ip": "10.0.0.11", "hostnames": ["store"]}],
    "fsGroupChangePolicy": "OnRootMismatch",
    "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
    "volumes": [{"name": "authorities", "secret": {"secretName": "authorities"}}],
    "volumeMounts": [{"name": "authorities", "mountPath": "/etc/authorities", "readOnly": True}],
}
COMMON = {
    "commonLabels": {"cost-centre": "soil"},
    "commonAnnotations": {"example.org/team": "maps"},
    "serviceAccount": {"runner": {"annotations": {"example.org/role": "reader"}}},
    "admissionPolicy": {"enabled": True},
}
OF_THE_POD = set(POD) - {"fsGroupChangePolicy", "env", "volumes", "volumeMounts"}


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    values = {name: {"pod": POD} for name in ("runner", "scheduler", "worker")}
    return charts.render([MOSELLE], {"mode": "operator", **COMMON, **values})


def test_every_pod_has_what_is_passed_through(documents: list[Document]) -> None:
    pods = list(charts.pods(documents))
    assert {name.partition(" ")[0] for name, _ in pods} == {"Job", "CronJob", "Pod", "cluster.yaml"}
    for name, pod in pods:
        assert {key: pod[key] for key in OF_THE_POD} == {key: POD[key] for key in OF_THE_POD}, name
        assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert POD["volumes"][0] in pod["volumes"]
        for container in charts.containers(pod):
            assert POD["env"][0] in container["env"], name
            assert POD["volumeMounts"][0] in container["volumeMounts"], name


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_and_the_operator_take_them(version: str, documents: list[Document]) -> None:
    for document in documents:
        if document["kind"] not in {"PodMonitor", "PrometheusRule"}:
            kubernetes_validate.validate(document, version, strict=True)
    cluster, _ = charts.clusters(documents)["cluster.yaml"]
    assert [fault.message for fault in charts.definition("DaskCluster").iter_errors(cluster)] == []


def test_common_labels_and_annotations_are_on_objects_and_select_nothing(documents: list[Document]) -> None:
    assert {"Job", "CronJob", "ServiceAccount", "Role", "NetworkPolicy", "ValidatingAdmissionPolicy"} <= {
        document["kind"] for document in documents
    }
    for document in documents:
        assert document["metadata"]["labels"]["cost-centre"] == "soil", document["kind"]
        assert document["metadata"]["annotations"]["example.org/team"] == "maps", document["kind"]
    account, *_ = charts.kind(documents, "ServiceAccount")
    assert account["metadata"]["annotations"]["example.org/role"] == "reader", "those of an object stay"
    for name, content in charts.clusters(documents).items():
        assert "cost-centre" not in content[0]["metadata"]["labels"], name


@pytest.mark.parametrize(
    ("pod", "told"),
    [
        ({"hostNetwork": True}, "hostNetwork"),
        ({"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}, "/worker/pod/volumes/0"),
        ({"volumes": [{"name": "tmp", "emptyDir": {}}]}, "/worker/pod/volumes/0/name"),
        ({"env": [{"name": "AWS_SECRET_ACCESS_KEY", "value": "abc"}]}, "/worker/pod/env/0"),
        ({"affinity": {"nodes": {}}}, "nodes"),
        ({"topologySpreadConstraints": [{"maxSkew": 1}]}, "topologyKey"),
        ({"fsGroupChangePolicy": "Never"}, "OnRootMismatch"),
    ],
    ids=lambda one: str(one)[:40],
)
def test_what_is_no_part_of_a_pod_or_weakens_it_is_refused(pod: dict[str, Any], told: str) -> None:
    assert told in charts.refusal({"worker": {"pod": pod}})


@pytest.mark.parametrize("provider", ["aks", "eks", "gke", "karpenter"])
def test_workers_prefer_spot_nodes_and_may_take_others(provider: str) -> None:
    spot = {"spot": provider, "spotFallback": True}
    cluster = charts.clusters(charts.render([MOSELLE], {"mode": "operator", "worker": spot}))["cluster.yaml"][0]["spec"]
    pod = cluster["worker"]["spec"]
    assert "nodeSelector" not in pod
    (preferred,) = pod["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    (expression,) = preferred["preference"]["matchExpressions"]
    assert (preferred["weight"], expression["operator"]) == (100, "In")
    assert bool(pod.get("tolerations")) == (provider in {"aks", "gke"})
    (term,) = cluster["scheduler"]["spec"]["affinity"]["nodeAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [expression | {"operator": "NotIn"}]


def test_a_drain_may_evict_a_runner_that_is_not_ready_and_pod_identity_is_reached() -> None:
    values = {"mode": "operator", "networkPolicy": {"egressPorts": [443]}}
    documents = charts.render([MOSELLE], values)
    budgets = charts.kind(documents, "PodDisruptionBudget")
    assert {one["spec"]["unhealthyPodEvictionPolicy"] for one in budgets} == {"AlwaysAllow"}
    for policy in charts.kind(documents, "NetworkPolicy"):
        open_to = [
            peer["ipBlock"]["cidr"]
            for rule in policy["spec"]["egress"]
            for peer in rule.get("to", [])
            if "ipBlock" in peer
        ]
        scheduler = policy["metadata"]["name"].endswith("-scheduler")
        assert open_to == ([] if scheduler else ["169.254.170.23/32", "fd00:ec2::23/128"])
