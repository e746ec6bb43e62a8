"""A runner in a Kubernetes Job: the Dask cluster that it asks for, scales and removes, as Kubernetes would see it."""

from __future__ import annotations

import os
import signal
import string
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import kr8s
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from kr8s._async_utils import as_sync_func
from typer.main import get_command

import charts
from charts import MOSELLE, Document
from commands import Ended, files, invoke, markers, soilscale, started, wait_until
from servers.kubernetes_api import OWN, Kubernetes, Operator, operator, serving
from soilscale import cli, dask_operator, manifests
from soilscale.dask_operator import DaskCluster
from soilscale.errors import ConfigurationError, IncompleteError
from soilscale.manifests import Owner

pytestmark = pytest.mark.server

JOB = {"SOILSCALE_OWNER_NAME": "moselle-1", "SOILSCALE_OWNER_UID": "4f1d", "SOILSCALE_NAMESPACE": "maps"}
FEW = ("-o", "models.ablation=false", "-o", "validation.truth=null", "-o", "validation.stations=null")
"""What shortens a run of which only the cube and the maps are compared."""
QUOTA = "exceeded quota: compute, requested: count/daskclusters=1, used: 4, limited: 4"


@pytest.fixture(scope="module")
def render() -> list[Document]:
    return charts.render([MOSELLE], {"mode": "operator", "workers": {"minimum": 1, "maximum": 2}})


@pytest.fixture(scope="module")
def rules(render: list[Document]) -> list[Document]:
    found: list[Document] = charts.one(render, "Role")["rules"]
    return found


@pytest.fixture
def asking(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., DaskCluster]]:
    """Makes what a runner's pod makes of the file, in this process, for a Kubernetes."""
    found: list[DaskCluster] = []
    kr8s.Api._instances.clear()  # noqa: SLF001 - it would give the client of another test's server again
    with ExitStack() as stack:

        def ask(served: Kubernetes, most: int | None = None) -> DaskCluster:
            if not found:
                for name, value in environment(stack.enter_context(serving(served, tmp_path)), 1).items():
                    monkeypatch.setenv(name, value)
            found.append(dask_operator.asked(file, most))
            return found[-1]

        yield ask
        for session in {id(one.api): one.api._session for one in found}.values():  # noqa: SLF001 - it closes none
            as_sync_func(session.aclose)()


@pytest.fixture
def file(render: list[Document], tmp_path: Path) -> Path:
    """What the chart mounts into the runner's pod."""
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump_all(charts.clusters(render)["cluster.yaml"]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def config(undisturbed: Path) -> Path:
    return undisturbed


@pytest.fixture(scope="module")
def output(undisturbed: Path) -> Path:
    """What a run without Kubernetes makes."""
    return undisturbed.parent / "run"


def environment(kubeconfig: str, port: int, **more: str) -> dict[str, str]:
    return JOB | {"KUBECONFIG": kubeconfig, "SOILSCALE_SCHEDULER_ADDRESS": f"tls://127.0.0.1:{port}"} | more


@contextmanager
def kubernetes(rules: list[Document], folder: Path) -> Iterator[tuple[Kubernetes, Operator, dict[str, str]]]:
    """Kubernetes with a Dask operator, and the environment of a runner's pod."""
    dask = operator(folder / "dask")
    served = Kubernetes(rules, dask)
    with serving(served, folder) as kubeconfig:
        yield served, dask, environment(kubeconfig, dask.port)


def made(served: Kubernetes, kind: str = "DaskCluster") -> list[Document]:
    return [body for method, _, body in served.asked if method == "POST" and body["kind"] == kind]


def minima(served: Kubernetes) -> list[int]:
    """Workers that the autoscaler was told to keep, one after the other."""
    return [body["spec"]["minimum"] for method, _, body in served.asked if method == "PATCH"]


def nothing_left(served: Kubernetes, dask: Operator) -> bool:
    return not served.resources and not dask.processes


# What is asked for


def test_a_cluster_is_the_jobs_own_and_what_the_operators_definitions_take(file: Path) -> None:
    cluster, autoscaler = manifests.documents(file, Owner.of(JOB), 2)

    name = cluster["metadata"]["name"]
    assert name == autoscaler["metadata"]["name"] == autoscaler["spec"]["cluster"]
    assert cluster["spec"]["scheduler"]["service"]["selector"]["dask.org/cluster-name"] == name
    for document in (cluster, autoscaler):
        assert list(charts.definition(document["kind"], *OWN).iter_errors(document)) == []
        (owner,) = document["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("Job", "moselle-1", "4f1d")
        assert document["metadata"]["namespace"] == "maps"
    before, _ = yaml.safe_load_all(file.read_text())
    assert cluster["metadata"]["labels"] == before["metadata"]["labels"], "labels become selectors"


names = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=63).map(lambda name: f"a{name}"[:63])


@given(names, names, names)
def test_names_are_a_jobs_own_and_short_enough_for_the_operator(prefix: str, one: str, other: str) -> None:
    def name(uid: str) -> str:
        cluster = {
            "metadata": {"name": prefix},
            "spec": {"scheduler": {"service": {"selector": {}}}, "worker": {}},
        }
        autoscaler = {"metadata": {"name": prefix}, "spec": {"minimum": 0, "maximum": 3}}
        found, _ = manifests._owned(cluster, autoscaler, Owner("job", uid, "maps"), None)  # noqa: SLF001 - its rule
        return str(found["metadata"]["name"])

    assert len(name(one)) <= 53
    assert "--" not in name(one)[-10:]
    assert (name(one) == name(other)) == (one == other)


def test_workers_bound_the_autoscaler(file: Path) -> None:
    _, autoscaler = manifests.documents(file, Owner.of(JOB), 7)
    assert (autoscaler["spec"]["minimum"], autoscaler["spec"]["maximum"]) == (1, 7)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: DaskCluster", "expected one DaskCluster and one DaskAutoscaler"),
        ("{", "expected the YAML of a DaskCluster"),
        ("", "got nothing"),
        ("just words", "expected one DaskCluster"),
        ("kind: DaskCluster\n---\nkind: DaskAutoscaler", "'metadata' is missing"),
    ],
)
def test_a_file_that_is_none_of_a_cluster_is_refused(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="cluster.yaml.*" + told):
        manifests.documents(path, Owner.of(JOB))


def test_a_runner_outside_of_a_job_is_told_what_is_missing(config: Path, file: Path, tmp_path: Path) -> None:
    done = soilscale("run", config, "--cluster", file, "--output", tmp_path / "run", SOILSCALE_NAMESPACE="maps")
    assert done.status == 78
    assert "SOILSCALE_OWNER_NAME, SOILSCALE_OWNER_UID is not set" in done.err


def test_one_cluster_only(config: Path, file: Path, tmp_path: Path) -> None:
    options = ("--cluster", file, "--scheduler", "tcp://127.0.0.1:1", "--output", tmp_path / "run")
    done = soilscale("run", config, *options)
    assert done.status == 78
    assert "expected one of them" in done.err


@pytest.mark.parametrize("preset", charts.PRESETS)
@pytest.mark.parametrize("mode", ["local", "operator"])
def test_the_command_takes_every_argument_that_the_chart_gives_it(mode: str, preset: str) -> None:
    found = charts.render(charts.files(preset), {"mode": mode})
    runners = [one for name, pod in charts.pods(found) for one in charts.containers(pod) if name.startswith("Job ")]
    commands = get_command(cli.app).commands  # type: ignore[attr-defined]
    for runner in runners:
        name, *words = runner["args"]
        context = commands[name].make_context(name, words)
        assert (context.params["cluster_file"] is not None) == (mode == "operator")
    assert runners


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("SOILSCALE_WORKERS_DEADLINE", "soon", "got 'soon', expected seconds"),
        ("SOILSCALE_SCHEDULER_ADDRESS", "dask:8786", "got 'dask:8786', expected tcp://HOST:PORT"),
        ("SOILSCALE_SCHEDULER_ADDRESS", "tcp://dask:port", "expected tcp://HOST:PORT"),
    ],
)
def test_a_variable_that_cannot_be_read_is_named(
    variable: str, value: str, told: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, one in (JOB | {variable: value}).items():
        monkeypatch.setenv(name, one)
    with pytest.raises(ConfigurationError, match=f"{variable}: .*{told}"):
        dask_operator.asked(file, None)


# A run


@pytest.mark.slow
def test_a_run_asks_for_its_cluster_scales_it_and_leaves_nothing_behind(
    config: Path, output: Path, file: Path, rules: list[Document], tmp_path: Path
) -> None:
    with kubernetes(rules, tmp_path) as (served, dask, variables):
        command = ("run", config, "--output", tmp_path / "run", *FEW)
        done = soilscale(*command, SOILSCALE_CLUSTER=str(file), **variables)

        assert done.status == 0, done.err
        assert nothing_left(served, dask)
        assert len(made(served)) == len(made(served, "DaskAutoscaler")) == 1
        assert minima(served)[0] == 2, "units that wait ask for more workers"
        assert "units left: requesting at least 2 workers instead of 1" in done.err
        assert "token-of-the-runner" not in done.err + done.out
        asked = len(served.asked)
        again = soilscale(*command, SOILSCALE_CLUSTER=str(file), **variables)
        assert again.status == 0, again.err
        assert len(served.asked) == asked, "a run that finds nothing to do asks for no cluster"
    maps = {name: digest for name, digest in files(output).items() if name.startswith(("cube.zarr", "maps.zarr"))}
    assert maps == {name: one for name, one in files(tmp_path / "run").items() if name in maps}


def stopped(served: Kubernetes, process: Any, state: Path, number: int) -> int:
    """Exit status of a runner that gets a signal when some units are done."""
    wait_until(lambda: len(markers(state)) > 5 or process.poll() is not None, "units that are done", 120)
    assert served.resources
    os.kill(process.pid, number)
    return int(process.wait(60))


@pytest.mark.slow
def test_sigterm_leaves_nothing_behind_and_after_sigkill_the_next_pod_of_the_job_takes_over(
    config: Path, output: Path, file: Path, rules: list[Document], tmp_path: Path
) -> None:
    assert invoke("search", config, "--output", tmp_path / "run").status == 0
    command = ("cube", config, "--output", tmp_path / "run", "--cluster", file)
    with kubernetes(rules, tmp_path) as (served, dask, variables):
        with started(*command, log=tmp_path / "log", **variables) as process:
            assert stopped(served, process, tmp_path / "run" / "state", signal.SIGTERM) == 75
        assert nothing_left(served, dask)

        with started(*command, log=tmp_path / "log", **variables) as process:
            wait_until(lambda: served.resources, "the cluster")
            assert stopped(served, process, tmp_path / "run" / "state", signal.SIGKILL) == -signal.SIGKILL
        assert served.resources
        assert dask.processes

        done = soilscale(*command, **variables)
        assert done.status == 0, done.err
        assert len(made(served)) == 3, "nobody else has the certificates of the killed runner"
        assert nothing_left(served, dask)
    assert files(tmp_path / "run" / "cube.zarr") == files(output / "cube.zarr")


@pytest.mark.slow
def test_a_lost_scheduler_ends_the_run_and_its_cluster(
    config: Path, file: Path, rules: list[Document], tmp_path: Path
) -> None:
    command = ("run", config, "--output", tmp_path / "run", "--cluster", file, *FEW)
    with kubernetes(rules, tmp_path) as (served, dask, variables):
        with started(*command, log=tmp_path / "log", **variables) as process:
            wait_until(lambda: len(markers(tmp_path / "run" / "state")) > 5, "units that are done", 120)
            (running,) = dask.processes.values()
            running[0].kill()
            assert process.wait(120) == 75, (tmp_path / "log").read_text()
        assert nothing_left(served, dask)


# What goes wrong


def refused(config: Path, file: Path, served: Kubernetes, folder: Path, **more: str) -> Ended:
    """A stage that needs a cluster and gets none."""
    with serving(served, folder) as kubeconfig:
        variables = environment(kubeconfig, 1, SOILSCALE_WORKERS_DEADLINE="3", **more)
        done = soilscale("run", config, "--cluster", file, "--output", folder / "run", **variables)
    assert not served.resources
    return done


POD = {
    "metadata": {"name": "moselle-worker-x", "labels": {}},
    "status": {
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}],
        "containerStatuses": [
            {"state": {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "soilscale:9"'}}}
        ],
    },
}
EVENT = {
    "metadata": {"name": "e"},
    "type": "Warning",
    "reason": "FailedCreate",
    "message": QUOTA,
    "involvedObject": {"kind": "ReplicaSet", "name": "moselle"},
}


@pytest.mark.parametrize(
    ("case", "status", "told"),
    [
        ({"defined": False}, 69, "install the Dask operator"),
        ({"rules": []}, 78, "Kubernetes forbids it"),
        ({"quota": QUOTA}, 69, QUOTA),
        ({}, 69, "the Dask operator has not noticed it"),
    ],
    ids=["no definitions", "no role", "quota", "no operator"],
)
def test_a_runner_that_gets_no_cluster_says_why(
    case: dict[str, Any], status: int, told: str, config: Path, file: Path, rules: list[Document], tmp_path: Path
) -> None:
    done = refused(config, file, Kubernetes(**({"rules": rules} | case)), tmp_path)
    assert done.status == status, done.err
    assert told in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


def test_sigterm_before_the_first_worker_leaves_nothing_behind(
    config: Path, file: Path, rules: list[Document], tmp_path: Path
) -> None:
    served = Kubernetes(rules)
    with serving(served, tmp_path) as kubeconfig:
        command = ("run", config, "--cluster", file, "--output", tmp_path / "run")
        with started(*command, log=tmp_path / "log", **environment(kubeconfig, 1)) as process:
            wait_until(lambda: len(served.resources) == 2 or process.poll() is not None, "cluster and autoscaler")
            process.terminate()
            assert process.wait(60) == 75, (tmp_path / "log").read_text()
    assert not served.resources
    assert len(made(served)) == 1


def test_an_api_that_does_not_answer_is_a_service_that_is_away(config: Path, file: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        variables = environment(stack.enter_context(serving(Kubernetes([]), tmp_path)), 1)
        stack.close()
        done = soilscale("run", config, "--cluster", file, "--output", tmp_path / "run", **variables)
    assert done.status == 69, done.err
    assert "the Kubernetes API does not respond" in done.err


def test_what_pods_and_events_say_is_told(asking: Callable[..., DaskCluster], rules: list[Document]) -> None:
    served = Kubernetes(rules)
    asked = asking(served)
    asked.start()
    served.resources["daskclusters", asked.name]["status"] = {"phase": "Pending"}
    served.pods.append(POD | {"metadata": {"name": "w", "labels": {"dask.org/cluster-name": asked.name}}})
    served.pods.append(POD | {"metadata": {"name": "other", "labels": {}}})
    cluster = {"involvedObject": {"kind": "ReplicaSet", "name": f"{asked.name}-scheduler-7b"}}
    for pod, when in (("a1", "2999-01-01T00:00:00Z"), ("b2", "2999-01-01T00:00:02Z"), ("old", "2020-01-01T00:00:00Z")):
        message = f'pods "{pod}" is forbidden: {QUOTA.replace("used: 4", f"used: {len(pod)}")}'
        served.events.append(EVENT | cluster | {"message": message, "lastTimestamp": when})
    late = {"reason": "Later", "message": "said", "eventTime": "2999-01-01T00:00:03.000001Z"}
    served.events.append(EVENT | cluster | late)
    served.events.append(
        EVENT | cluster | {"reason": "Earlier", "message": "said", "eventTime": "2020-01-01T00:00:00Z"}
    )
    served.events.append(EVENT | {"message": "of another"})
    assert asked.said() == [
        "pod w: Unschedulable: 0/3 nodes",
        'pod w: ImagePullBackOff: Back-off pulling image "soilscale:9"',
        "Later: said",
        f'FailedCreate: pods "b2" is forbidden: {QUOTA.replace("used: 4", "used: 2")}',
    ]
    asked.remove()
    assert not served.resources
    assert asked.said() == ["it no longer exists: someone or its idleTimeout has removed it"]


def without_certificates(text: str) -> str:
    """A file of a chart that has them switched off."""
    cluster, autoscaler = yaml.safe_load_all(text)
    for part in ("scheduler", "worker"):
        pod = cluster["spec"][part]["spec"]
        pod["volumes"] = [volume for volume in pod["volumes"] if volume["name"] != manifests.CERTIFICATES]
    return yaml.safe_dump_all([cluster, autoscaler])


def test_a_cluster_of_another_template_is_replaced(
    asking: Callable[..., DaskCluster], file: Path, rules: list[Document]
) -> None:
    served = Kubernetes(rules)
    text = file.read_text()
    file.write_text(without_certificates(text))
    asking(served).start()
    asking(served).start()
    assert len(made(served)) == 1, "the one of an earlier try is used again"
    file.write_text(file.read_text().replace("idleTimeout: 3600", "idleTimeout: 60"))
    changed = asking(served)
    changed.start()
    assert [one["spec"]["idleTimeout"] for one in made(served)] == [3600, 60]
    changed.remove()
    assert not served.resources


def test_a_cluster_goes_with_its_job(asking: Callable[..., DaskCluster], rules: list[Document]) -> None:
    """What Kubernetes' garbage collector does by the reference, as after a SIGKILL that no pod follows."""
    served = Kubernetes(rules)
    asking(served).start()
    served.collect("another job")
    assert len(served.resources) == 2
    (secret,) = served.secrets.values()
    volumes = [one["spec"][part]["spec"]["volumes"] for one in made(served) for part in ("scheduler", "worker")]
    assert [{"secretName": secret["metadata"]["name"], "defaultMode": 0o440}] * 2 == [
        volume["secret"] for part in volumes for volume in part if "secret" in volume
    ]
    served.collect(JOB["SOILSCALE_OWNER_UID"])
    assert not served.resources
    assert not served.secrets


def test_a_cluster_that_does_not_go_is_told_and_not_waited_for_forever(
    asking: Callable[..., DaskCluster],
    rules: list[Document],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The Dask operator holds it by a finalizer, and is away."""
    monkeypatch.setattr(dask_operator, "GOING", 0.1)
    monkeypatch.setattr(dask_operator, "GOES_FIRST", 0.1)
    monkeypatch.setattr(dask_operator, "LOOK_EVERY", 0.05)
    served = Kubernetes(rules, stuck=True)
    first = asking(served)
    first.start()
    first.remove()
    assert f"the DaskCluster {first.name} is still being removed" in caplog.text
    assert served.resources["daskclusters", first.name]["metadata"]["deletionTimestamp"]
    with pytest.raises(IncompleteError, match=r"still being removed after .* that the Dask operator runs"):
        asking(served).start()
    served.stuck = False
    for kind in ("daskautoscalers", "daskclusters"):
        served._delete((kind, first.name))  # noqa: SLF001 - what the operator does when it is back
    served.rest()
    asking(served).start()
    assert len(made(served)) == 2


def test_a_runner_that_no_one_lets_in_says_so(config: Path, file: Path, tmp_path: Path) -> None:
    variables = environment(str(tmp_path / "none"), 1)
    done = soilscale("run", config, "--cluster", file, "--output", tmp_path / "run", **variables)
    assert done.status == 78, done.err
    assert "found neither a service account token nor a kubeconfig" in done.err.splitlines()[-1]


def test_workers_follow_the_units_that_are_left(
    asking: Callable[..., DaskCluster], rules: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_operator, "SCALE_EVERY", 0)
    served = Kubernetes(rules)
    asked = asking(served, 50)
    asked.need(1000)
    assert not served.asked, "there is nothing to scale before it is made"
    asked.start()
    for left in (1000, 999, 101, 3, 0, 1000):
        asked.need(left)
    assert minima(served) == [50], "the end of a stage is no reason to let workers go: the next one follows"
    monkeypatch.setattr(dask_operator, "SHRINK_AFTER", 0)
    for left in (101, 3, 0, 101):
        asked.need(left)
    assert minima(served) == [50, 26, 1, 26]
