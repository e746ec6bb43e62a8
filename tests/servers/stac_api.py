"""A real STAC API on the loopback interface: stac-fastapi-pgstac on PostgreSQL with PostGIS.

The first use installs what is missing: the Python packages into an environment of their own under ``.servers/``
of the repository, and, for root on Debian, PostgreSQL and PostGIS by apt.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

REQUIREMENTS = ("stac-fastapi-pgstac==7.2.0", "pypgstac[psycopg]==0.10.0", "uvicorn>=0.30")
HOME = Path(__file__).parents[2] / ".servers"
ENVIRONMENT = HOME / "stac-api"
POSTGRESQL = Path("/usr/lib/postgresql")
ACCOUNT = "postgres"
PATIENCE = 60.0
"""Seconds to wait for a server to come up."""


class UnavailableError(Exception):
    """The server cannot be had on this machine; the message says why."""


@contextmanager
def stac_api(collections: Iterable[Mapping[str, Any]], items: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Serve collections and items until the context ends.

    Yields
    ------
    str
        URL of the landing page.

    Raises
    ------
    UnavailableError
        If PostgreSQL or the packages cannot be installed.
    """
    HOME.mkdir(exist_ok=True)
    with (HOME / "stac-api.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        programs = _postgresql()
        _packages()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stac-api-", ignore_cleanup_errors=True)))
        environment = _environment(_free_port())
        stack.enter_context(_database(programs, folder, environment))
        _load(folder, "collections", collections, environment)
        _load(folder, "items", items, environment)
        yield stack.enter_context(_web(folder, environment))


def _environment(port: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "POSTGRES"))}
    database = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": ACCOUNT, "PGDATABASE": "stac"}
    return kept | database | {"PGPASSWORD": "trusted", "DB_MIN_CONN_SIZE": "1", "DB_MAX_CONN_SIZE": "4"}


def _postgresql() -> Path:
    """Folder of the programs of a PostgreSQL that has PostGIS."""
    found = _with_postgis()
    if found is None:
        _apt("postgresql")
        newest = max((int(path.name) for path in POSTGRESQL.glob("[0-9]*")), default=None)
        if newest is not None:
            _apt(f"postgresql-{newest}-postgis-3")
        found = _with_postgis()
    if found is None:
        raise UnavailableError("PostgreSQL with PostGIS is not installed, and apt did not bring it")
    return found


def _with_postgis() -> Path | None:
    ready = [
        path / "bin"
        for path in POSTGRESQL.glob("[0-9]*")
        if (path / "bin" / "initdb").exists() and (path / "lib" / "postgis-3.so").exists()
    ]
    return max(ready, key=lambda path: int(path.parent.name), default=None)


def _apt(package: str) -> None:
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise UnavailableError(f"the package {package} is missing, and installing it needs apt-get and root")
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    install = [apt, "install", "-y", "-q", "--no-install-recommends", package]
    if subprocess.run(install, env=quiet, capture_output=True, check=False).returncode:
        subprocess.run([apt, "update", "-q"], env=quiet, capture_output=True, check=False)
        again = subprocess.run(install, env=quiet, capture_output=True, text=True, check=False)
        if again.returncode:
            raise UnavailableError(f"apt-get could not install {package}: {again.stderr[-300:]}")


def _packages() -> None:
    marker = ENVIRONMENT / "installed.json"
    if marker.exists() and json.loads(marker.read_text()) == list(REQUIREMENTS):
        return
    _do([sys.executable, "-m", "venv", "--clear", ENVIRONMENT])
    install = [str(ENVIRONMENT / "bin" / "pip"), "install", "-q", *REQUIREMENTS]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnavailableError(f"pip could not install {', '.join(REQUIREMENTS)}: {done.stderr[-300:]}")
    marker.write_text(json.dumps(REQUIREMENTS))


@contextmanager
def _database(programs: Path, folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Run PostgreSQL with an empty pgSTAC; PostgreSQL refuses to run as root."""
    account = ACCOUNT if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    data = folder / "data"
    folder.chmod(0o755)
    data.mkdir()
    shutil.chown(data, account)
    as_account: dict[str, Any] = {"user": account, "cwd": "/", "env": environment} if os.geteuid() == 0 else {}
    _do([programs / "initdb", "-D", data, "-U", ACCOUNT, "-A", "trust", "-E", "UTF8", "--no-sync"], **as_account)
    options = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", f"port={environment['PGPORT']}"]
    command = [programs / "postgres", "-D", data, *[part for option in options for part in ("-c", option)]]
    with _running(command, folder / "postgres.log", **as_account):
        _wait(lambda: _succeeds([programs / "pg_isready", "-d", "postgres"], environment), folder / "postgres.log")
        _do([programs / "createdb", "stac"], env=environment)
        path = "alter database stac set search_path to pgstac, public"
        _do([programs / "psql", "-q", "-c", path], env=environment)
        _do([ENVIRONMENT / "bin" / "pypgstac", "migrate"], env=environment)
        yield


def _load(folder: Path, kind: str, documents: Iterable[Mapping[str, Any]], environment: Mapping[str, str]) -> None:
    file = folder / f"{kind}.ndjson"
    file.write_text("\n".join(json.dumps(document) for document in documents))
    _do([ENVIRONMENT / "bin" / "pypgstac", "load", kind, file, "--method", "upsert"], env=environment)


@contextmanager
def _web(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    port = _free_port()
    url = f"http://127.0.0.1:{port}/"
    application = ["--factory", "stac_fastapi.pgstac.app:create_app", "--host", "127.0.0.1", "--port", str(port)]
    command = [ENVIRONMENT / "bin" / "python", "-m", "uvicorn", *application]
    with _running(command, folder / "api.log", env=environment, cwd=folder):
        _wait(lambda: _answers(url), folder / "api.log")
        yield url


@contextmanager
def _running(command: Sequence[Any], log: Path, **settings: Any) -> Iterator[None]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, **settings) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _do(command: Sequence[Any], **settings: Any) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **settings)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed: {done.stdout[-500:]} {done.stderr[-1500:]}")


def _succeeds(command: Sequence[Any], environment: Mapping[str, str]) -> bool:
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - http on the loopback interface
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _wait(ready: Any, log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() > until:
            raise RuntimeError(f"the server did not come up in {PATIENCE} s: {log.read_text()[-1500:]}")
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
