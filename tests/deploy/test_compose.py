"""deploy/compose.yaml, held to the compose specification by its own implementation, and to what image and chart are."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import typer
from distributed.cli import dask_scheduler, dask_worker
from typer.core import TyperGroup

import charts
import soilscale
from checkout import ROOT
from commands import wait_until
from servers.ports import free_ports
from servers.seaweed import OWNER, Seaweed
from soilscale import cli
from tools import compose

FILE = ROOT / "deploy" / "compose.yaml"
REQUIRED = ("SOILSCALE_CONFIG", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
OURS = ("bucket", "scheduler", "worker", "runner")
"""Services that run the image of this project."""

Service = dict[str, Any]


def answers(url: str, trust: ssl.SSLContext) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10, context=trust) as answer:  # noqa: S310 - of this machine
            return answer.status == 200
    except ConnectionRefusedError:
        return False
    except OSError as error:
        if "refused" in str(error):
            return False
        raise


def told(*more: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """What Docker Compose makes of the file."""
    kept = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    files = [word for file in (FILE, *more) for word in ("--file", file)]
    command = [compose(), *files, "config", "--format", "json"]
    return subprocess.run(command, env=kept | variables, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Service]:
    variables = dict(zip(REQUIRED, (str(tmp_path_factory.mktemp("config")), "key", "hunter2"), strict=True))
    done = told(**variables)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, Service] = json.loads(done.stdout)["services"]
    return found


@pytest.mark.parametrize("name", REQUIRED)
def test_what_only_the_user_knows_is_asked_for(name: str, tmp_path: Path) -> None:
    done = told(**{other: str(tmp_path) for other in REQUIRED if other != name})
    assert done.returncode != 0
    assert re.search(rf"required variable {name} is missing a value: (choose|name) the", done.stderr)


def test_no_secret_stands_in_the_file() -> None:
    lines = re.findall(
        r"^\s+\w*(?:SECRET|KEY|TOKEN|PASSWORD)\w*: (.*)$", FILE.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(lines) == 4
    assert all(re.fullmatch(r"\$\{AWS_\w+:\?[\w ]+\}", line) for line in lines)


def test_every_service_runs_without_root_privilege_or_a_root_to_write_to(services: dict[str, Service]) -> None:
    assert set(services) == {"store", *OURS}
    for service in services.values():
        assert service["user"] == "10001:10001"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert int(service["mem_limit"]) >= 2**29
        assert not {"privileged", "cap_add", "devices", "network_mode", "pid"} & set(service)
        assert {one["target"]: one.get("read_only", False) for one in service["volumes"]} in (
            {"/tmp": False},  # noqa: S108 - the container's own
            {"/tmp": False, "/etc/soilscale/config": True},  # noqa: S108 - likewise
        )


def test_what_is_served_is_served_to_this_machine_alone(services: dict[str, Service]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert {int(port["published"]) for port in ports} == {8333, 8787}
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_the_runner_s_command_is_one_that_the_image_has(services: dict[str, Service]) -> None:
    app = typer.main.get_command(cli.app)
    assert isinstance(app, TyperGroup)
    name, *words = services["runner"]["command"]
    context = app.commands[name].make_context(name, words)
    assert context.params["path"] == "/etc/soilscale/config/config.yaml"
    assert services["runner"].get("entrypoint") is None


@pytest.mark.parametrize(("name", "command"), [("scheduler", dask_scheduler.main), ("worker", dask_worker.main)])
def test_dask_takes_the_words_of_scheduler_and_workers(services: dict[str, Service], name: str, command: Any) -> None:
    service = services[name]
    assert service["entrypoint"] == ["/opt/soilscale/bin/dask", name]
    context = command.make_context(name, [str(word) for word in service["command"]], resilient_parsing=False)
    assert context.params["preload"] == ()
    if name == "worker":
        assert context.params["scheduler"] is None
        addresses = {services[of]["environment"]["DASK_SCHEDULER_ADDRESS"] for of in ("worker", "runner")}
        assert addresses == {"tcp://scheduler:8786"}
        assert context.params["memory_limit"] == "0.9"


def test_runner_and_workers_have_the_environment_of_the_chart(services: dict[str, Service]) -> None:
    rendered = charts.render(charts.files("province"), {"mode": "operator", "operator": {"tls": False}})
    pods = {one["name"]: one for _, pod in charts.pods(rendered) for one in charts.containers(pod)}
    expected = {one["name"]: one["value"] for one in pods["worker"]["env"] if not one["name"].startswith("AWS_")}
    assert "MALLOC_TRIM_THRESHOLD_" in expected
    for name in ("worker", "runner"):
        given = services[name]["environment"]
        assert {key: given[key] for key in expected} == expected


def test_the_image_is_of_the_package_s_version(services: dict[str, Service]) -> None:
    assert {services[name]["image"] for name in OURS} == {f"soilscale:{soilscale.__version__}"}


def test_the_store_s_words_are_those_of_the_tested_version(services: dict[str, Service]) -> None:
    weed = Path(sys.executable).with_name("weed")
    version = subprocess.run([weed, "version"], capture_output=True, text=True, check=True).stdout
    assert services["store"]["image"].rpartition(":")[2] in version
    shown = subprocess.run([weed, "server", "-h"], capture_output=True, text=True, check=False)
    known = set(re.findall(r"^  (-[\w.]+)", shown.stdout + shown.stderr, re.MULTILINE))
    assert services["store"]["entrypoint"] == ["weed"]
    first, *words = services["store"]["command"]
    assert first == "server"
    assert {word.partition("=")[0] for word in words} <= known


@pytest.mark.server
def test_the_bucket_is_made_once(services: dict[str, Service], weed: Seaweed) -> None:
    service = services["bucket"]
    assert service["entrypoint"] == ["/opt/soilscale/bin/python", "-c"]
    (script,) = service["command"]
    key, secret = OWNER
    own = {"AWS_ENDPOINT_URL": weed.endpoint, "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", script], env=service["environment"] | own, check=True)
        assert "soilscale" in {one["Name"] for one in weed.client().list_buckets()["Buckets"]}
    weed.remove("soilscale")


@pytest.mark.server
def test_with_certificates_the_services_and_the_dashboard_speak_tls(tmp_path: Path) -> None:
    variables = dict(zip(REQUIRED, (str(tmp_path), "key", "hunter2"), strict=True))
    done = told(FILE.with_name("compose-tls.yaml"), **variables)
    assert (done.returncode, done.stderr) == (0, "")
    services = json.loads(done.stdout)["services"]
    for name, role in (("scheduler", "SCHEDULER"), ("worker", "WORKER"), ("runner", "CLIENT")):
        own = services[name]["environment"]
        assert own["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] == "True"
        assert own[f"DASK_DISTRIBUTED__COMM__TLS__{role}__KEY"] == "/etc/soilscale/tls/tls.key"
        assert own.get("DASK_SCHEDULER_ADDRESS", "tls://scheduler:8786") == "tls://scheduler:8786"
        (mount,) = (one for one in services[name]["volumes"] if one.get("source") == "certificates")
        assert (mount["target"], mount["read_only"]) == ("/etc/soilscale/tls", True)
    assert services["scheduler"]["depends_on"]["certificates"]["condition"] == "service_completed_successfully"

    (script,) = services["certificates"]["command"]
    subprocess.run([sys.executable, "-c", script.replace("/tmp", str(tmp_path))], check=True)  # noqa: S108 - its own
    port, dashboard = map(str, free_ports(2))
    words = [
        {"8786": port, ":8787": f"127.0.0.1:{dashboard}"}.get(one, one) for one in services["scheduler"]["command"]
    ]
    own = {
        key: value.replace("/etc/soilscale/tls", str(tmp_path))
        for key, value in services["scheduler"]["environment"].items()
    }
    command = [Path(sys.executable).with_name("dask"), "scheduler", *words, "--host", "127.0.0.1"]
    trust = ssl.create_default_context(cafile=tmp_path / "ca.crt")
    trust.check_hostname = False
    with subprocess.Popen(command, env=os.environ | own, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: answers(f"https://127.0.0.1:{dashboard}/health", trust), "the dashboard", 60)
        finally:
            process.terminate()
            process.wait(60)
