"""Certificates of Dask clusters, where they are mounted, and the policy that DaskClusters are held to."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import cel
import kubernetes_validate
import pytest
from cryptography import x509

import charts
from charts import MOSELLE, VERSIONS, Document
from soilscale import certificates, clusters
from soilscale.errors import ConfigurationError

TLS = "/etc/soilscale/tls"


def test_a_pair_is_its_own_authority_and_is_valid_for_clocks_that_differ(tmp_path: Path) -> None:
    certificates.write(tmp_path / "tls")
    text = (tmp_path / "tls" / "tls.crt").read_bytes()
    certificate = x509.load_pem_x509_certificate(text)
    certificate.verify_directly_issued_by(certificate)
    now = datetime.now(UTC)
    assert certificate.not_valid_before_utc < now < certificate.not_valid_after_utc
    assert (now - certificate.not_valid_before_utc).total_seconds() >= certificates.EARLIER.total_seconds()
    assert (tmp_path / "tls" / "tls.key").stat().st_mode & 0o777 == 0o600
    certificates.write(tmp_path / "tls")
    assert (tmp_path / "tls" / "tls.crt").read_bytes() == text, "those of a cluster that runs stay"
    assert certificates.issue() != certificates.issue()


def mounted(documents: list[Document]) -> dict[str, str]:
    """Container -> Secret of its certificates, which its variables name too."""
    found = {}
    for name, pod in charts.pods(documents):
        secrets = {one["name"]: one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one}
        for container in charts.containers(pod):
            paths = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
            named = [one["name"] for one in container["env"] if str(one.get("value")).startswith(TLS)]
            assert bool(named) == (TLS in paths), name
            if TLS in paths:
                found[container["name"]] = secrets[paths[TLS]]
    return found


def test_certificates_are_mounted_where_dask_runs_and_nowhere_else() -> None:
    scheduler = {"scheduler": "tls://dask:8786", "tlsSecret": "dask-certificates"}
    assert mounted(charts.render([MOSELLE], {"mode": "operator"})) == dict.fromkeys(("scheduler", "worker"), "dask-tls")
    assert mounted(charts.render([MOSELLE], {"mode": "operator", "operator": {"tls": False}})) == {}
    assert mounted(charts.render([MOSELLE], {"mode": "external", "external": scheduler})) == {
        "run": "dask-certificates"
    }
    assert mounted(charts.render([MOSELLE])) == {}


@pytest.mark.parametrize("external", [{"scheduler": "tls://a:1"}, {"scheduler": "tcp://a:1", "tlsSecret": "b"}])
def test_a_scheduler_at_tls_needs_a_secret_and_no_other_does(external: dict[str, str]) -> None:
    assert "do not fit" in charts.refusal({"mode": "external", "external": external})


def test_a_runner_without_certificates_is_told_what_is_missing() -> None:
    choice = clusters.Choice(scheduler="tls://127.0.0.1:1")
    with (
        clusters.chosen(choice) as cluster,
        pytest.raises(ConfigurationError, match="set DASK_DISTRIBUTED__COMM__TLS__CA_FILE"),
    ):
        cluster.connect()


# The policy of admission


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    values = {"mode": "operator", "admissionPolicy": {"enabled": True}, "runner": {"logFormat": "text"}}
    return charts.render([MOSELLE], values)


def refusals(documents: list[Document], cluster: Document, old: Document | None = None) -> list[str]:
    """Messages with which the policy refuses a cluster."""
    spec = charts.one(documents, "ValidatingAdmissionPolicy")["spec"]
    context = {"object": cluster, "oldObject": old or {}, "request": {"operation": "UPDATE" if old else "CREATE"}}
    if not all(cel.evaluate(one["expression"], context) for one in spec["matchConditions"]):
        return []
    context["variables"] = {}
    for variable in spec["variables"]:
        context["variables"][variable["name"]] = cel.evaluate(variable["expression"], context)
    return [one["message"] for one in spec["validations"] if not cel.evaluate(one["expression"], context)]


def test_the_policy_takes_the_clusters_of_the_chart_and_of_its_namespace_alone(documents: list[Document]) -> None:
    (cluster, _) = charts.clusters(documents)["cluster.yaml"]
    assert refusals(documents, cluster) == []
    binding = charts.one(documents, "ValidatingAdmissionPolicyBinding")["spec"]
    assert binding["policyName"] == charts.one(documents, "ValidatingAdmissionPolicy")["metadata"]["name"]
    assert binding["validationActions"] == ["Deny"]
    namespace = binding["matchResources"]["namespaceSelector"]["matchLabels"]
    assert namespace == {"kubernetes.io/metadata.name": "default"}
    for version in VERSIONS:
        for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
            kubernetes_validate.validate(charts.one(documents, kind), version, strict=True)
    assert charts.kind(charts.render([MOSELLE], {"mode": "operator"}), "ValidatingAdmissionPolicy") == []


CHANGES: dict[str, tuple[Callable[[Document], object], str]] = {
    "image": (lambda pod: pod["containers"][0].update(image="miner"), "runs the image"),
    "another container": (lambda pod: pod.update(initContainers=[{"image": "miner"}]), "runs the image"),
    "account": (lambda pod: pod.update(serviceAccountName="admin"), "service account"),
    "no account": (lambda pod: pod.pop("serviceAccountName"), "service account"),
    "token": (lambda pod: pod.update(automountServiceAccountToken=True), "without its token"),
    "host path": (lambda pod: pod["volumes"].append({"name": "h", "hostPath": {"path": "/"}}), "hostPath"),
    "host network": (lambda pod: pod.update(hostNetwork=True), "network, processes"),
    "privileged": (lambda pod: pod["containers"][0]["securityContext"].update(privileged=True), "privileges"),
    "no security": (lambda pod: pod["containers"][0].pop("securityContext"), "privileges"),
}


@pytest.mark.parametrize("part", ["scheduler", "worker"])
@pytest.mark.parametrize("case", CHANGES)
def test_the_policy_refuses_what_a_run_does_not_need(part: str, case: str, documents: list[Document]) -> None:
    change, told = CHANGES[case]
    cluster = copy.deepcopy(charts.clusters(documents)["cluster.yaml"][0])
    change(cluster["spec"][part]["spec"])
    said = refusals(documents, cluster)
    assert said
    assert any(re.search(told, message) for message in said)
    going = cluster | {"metadata": {"finalizers": []}}
    assert refusals(documents, going, cluster) == [], "an earlier cluster can be let go"
