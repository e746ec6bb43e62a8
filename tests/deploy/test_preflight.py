"""What is seen of Kubernetes before a run asks for its Dask cluster, and what is said when the cluster goes."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path

import httpx
import kr8s
import pytest
import yaml
from kr8s._async_utils import as_sync_func

import charts
from charts import MOSELLE, Document
from servers.kubernetes_api import Kubernetes, Operator, operator, serving
from soilscale import dask_operator, preflight
from soilscale.dask_operator import DaskCluster
from soilscale.errors import ConfigurationError, ServiceError
from soilscale.kube_errors import asking

# The client leaves the connection of a refused request open.
pytestmark = [pytest.mark.server, pytest.mark.filterwarnings("ignore::ResourceWarning")]

POD = {
    "SOILSCALE_OWNER_NAME": "moselle-soilscale-check",
    "SOILSCALE_OWNER_UID": "77aa",
    "SOILSCALE_NAMESPACE": "maps",
    "SOILSCALE_OWNER_KIND": "Pod",
}


@pytest.fixture(scope="module")
def render() -> list[Document]:
    return charts.render([MOSELLE], {"mode": "operator", "workers": {"minimum": 2, "maximum": 9}})


@pytest.fixture(scope="module")
def rules(render: list[Document]) -> list[Document]:
    role: list[Document] = charts.one(render, "Role")["rules"]
    return role


@pytest.fixture
def file(render: list[Document], tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump_all(charts.clusters(render)["cluster.yaml"]), encoding="utf-8")
    return path


class Idle(Operator):
    """An operator that takes notice of clusters, and starts nothing."""

    def scale(self, name: str, workers: int) -> None:
        pass


@pytest.fixture
def watching(tmp_path: Path) -> Operator:
    return Idle(operator(tmp_path / "dask").port, tmp_path)


@pytest.fixture
def reach(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Kubernetes], DaskCluster]]:
    """Lets a pod of this process reach a Kubernetes; gives the cluster that it would ask for."""
    kr8s.Api._instances.clear()  # noqa: SLF001 - it would give the client of another test's server again
    monkeypatch.setattr(dask_operator, "LOOK_GOING", 0.02)
    made: list[DaskCluster] = []
    with ExitStack() as stack:

        def reached(served: Kubernetes) -> DaskCluster:
            kubeconfig = stack.enter_context(serving(served, tmp_path))
            for name, value in (POD | {"KUBECONFIG": kubeconfig}).items():
                monkeypatch.setenv(name, value)
            made.append(dask_operator.asked(file, None))
            return made[-1]

        yield reached
        for cluster in made:
            as_sync_func(cluster.api._session.aclose)()  # type: ignore[union-attr] # noqa: SLF001 - it closes none
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()  # here, lest a later test finds what is left


def quota(**hard: str) -> Document:
    used = dict.fromkeys(hard, "1")
    return {"metadata": {"name": "team"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}}


def test_a_place_for_a_dask_cluster_is_seen_and_left_as_it_was(
    reach: Callable[[Kubernetes], DaskCluster], watching: Operator, rules: list[Document], file: Path
) -> None:
    served = Kubernetes(rules, watching, resourcequotas=[quota(**{"requests.cpu": "100", "pods": "4"})])
    cluster = reach(served)
    (line,) = preflight.check(file)
    assert "the quota has room for 2 workers" in line
    assert "the Dask operator noticed a cluster" in line
    assert not served.resources
    (asked,) = [body for method, _, body in served.asked if method == "POST" and body["kind"] == "DaskCluster"]
    assert asked["spec"]["worker"]["replicas"] == 0
    (owner,) = asked["metadata"]["ownerReferences"]
    assert (owner["apiVersion"], owner["kind"], owner["uid"]) == ("v1", "Pod", "77aa")
    assert cluster.name == asked["metadata"]["name"]


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (
            {"rules": []},
            ConfigurationError,
            "may not create daskclusters, .* list events, create secrets in namespace maps: .*rbac.create",
        ),
        ({"defined": False}, ServiceError, "install the Dask operator"),
        ({"operator": None}, ServiceError, "no Dask operator noticed a cluster in namespace maps"),
        ({"resourcequotas": [quota(pods="3")]}, ServiceError, "quota team: pods: 1 of 3 used, 3 more needed; raise it"),
        ({"resourcequotas": [quota(**{"limits.memory": "4Gi"})]}, ServiceError, "limits.memory: 1 of 4Gi used"),
    ],
    ids=["no rights", "no definitions", "no operator", "no room for pods", "no room for memory"],
)
def test_what_is_missing_is_named(
    change: dict[str, object],
    error: type[Exception],
    told: str,
    reach: Callable[[Kubernetes], DaskCluster],
    watching: Operator,
    rules: list[Document],
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preflight, "NOTICE", 0.1)
    served = Kubernetes(**({"rules": rules, "operator": watching} | change))  # type: ignore[arg-type]
    reach(served)
    with pytest.raises(error, match=told):
        preflight.check(file)
    assert not served.resources


def test_a_role_that_may_not_read_quotas_is_enough(
    reach: Callable[[Kubernetes], DaskCluster],
    watching: Operator,
    rules: list[Document],
    file: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    narrow = [rule | {"resources": [one for one in rule["resources"] if one != "resourcequotas"]} for rule in rules]
    reach(Kubernetes(narrow, watching))
    assert preflight.check(file)
    assert "cannot check whether there is room" in caplog.text


@pytest.mark.parametrize(
    ("text", "number"), [("4Gi", 4 * 2**30), ("500m", Decimal("0.5")), ("2", 2), ("1k", 1000), ("1.5G", 1_500_000_000)]
)
def test_quantities_are_those_of_kubernetes(text: str, number: Decimal) -> None:
    assert preflight.quantity(text) == number


# The end of a cluster


def test_the_autoscaler_is_gone_before_its_cluster_is_removed(
    reach: Callable[[Kubernetes], DaskCluster], watching: Operator, rules: list[Document]
) -> None:
    served = Kubernetes(rules, watching)
    cluster = reach(served)
    cluster.start()
    cluster.remove()
    assert not served.resources
    assert not served.raced


@pytest.mark.parametrize("case", ["token", "rules"])
def test_who_is_not_let_in_at_the_end_says_so_in_a_quiet_line(
    case: str, reach: Callable[[Kubernetes], DaskCluster], rules: list[Document], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    served = Kubernetes(rules)
    cluster = reach(served)
    cluster.start()
    setattr(served, case, "another" if case == "token" else [])
    caplog.clear()
    cluster.remove()
    (record,) = [one for one in caplog.records if one.name.startswith("soilscale")]
    assert (record.levelname, "will be removed with the Pod" in record.getMessage()) == ("INFO", True)


def test_a_cluster_that_was_never_made_is_no_matter(
    reach: Callable[[Kubernetes], DaskCluster], rules: list[Document], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    served = Kubernetes(rules, quota="exceeded quota: compute")
    cluster = reach(served)
    with pytest.raises(ServiceError, match="exceeded quota"):
        cluster.start()
    cluster.remove()
    assert not [one for one in caplog.records if one.name.startswith("soilscale")]


def test_the_client_s_word_of_a_new_kubernetes_goes_to_the_log(
    reach: Callable[[Kubernetes], DaskCluster], rules: list[Document], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    reach(Kubernetes(rules, minor="99")).start()
    assert "Kubernetes client: Kubernetes version v1.99.0 is not supported" in caplog.text


@pytest.mark.parametrize(
    ("content", "told"), [(b"", "404 Not Found, without a message"), (b'{"message": "no x"}', "no x")]
)
def test_an_answer_without_a_message_leads_to_no_browser(content: bytes, told: str) -> None:
    response = httpx.Response(404, content=content, request=httpx.Request("GET", "http://kubernetes/apis"))
    link = "Client error 404, see https://developer.mozilla.org/en-US/docs/Web/HTTP/Status/404"
    with pytest.raises(ServiceError) as caught, asking("look"):
        raise kr8s.ServerError(link, response=response)
    assert f"({told})" in str(caught.value)
    assert "mozilla" not in str(caught.value)
