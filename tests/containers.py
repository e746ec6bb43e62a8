"""The image as it is built and run for real, by buildah and podman, on a Debian that debootstrap makes.

All of it lies in a folder of the checkout: base, layers and settings, which later builds start from.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checkout import ROOT
from commands import wait_until
from servers.stac_api import UnavailableError

HOME = ROOT / ".tools" / "containers"
"""Ignored by git, removed by `make clean`."""

PACKAGES = (
    *("podman", "buildah", "runc", "conmon", "netavark", "aardvark-dns", "uidmap", "iptables"),
    "debootstrap",
)
BASE, IMAGE = "localhost/soilscale-base:trixie", "localhost/soilscale:tested"
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
TRUSTED = Path("/etc/ssl/certs/ca-certificates.crt")

SETTINGS = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "netavark"
"""

HARDENED = (
    *("--read-only", "--read-only-tmpfs=false", "--mount", "type=tmpfs,destination=/tmp,tmpfs-mode=1777"),
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
)
"""As the chart's pods run: nothing but /tmp can be written, no capability, none to be had."""


@dataclass(frozen=True)
class Container:
    """A container that was started."""

    name: str

    def logs(self) -> str:
        """All that it said."""
        told = podman("logs", self.name, check=False)
        return told.stdout + told.stderr

    def execute(self, *command: str, check: bool = True) -> str:
        """What a command says that runs in it beside its own."""
        return podman("exec", self.name, *command, check=check).stdout

    def wait(self, seconds: float) -> int:
        """Exit status, when it has ended."""
        return int(podman("wait", self.name, timeout=seconds).stdout)

    def stop(self, seconds: int) -> int:
        """Exit status after SIGTERM, or after SIGKILL if that takes longer."""
        podman("stop", "--time", str(seconds), self.name)
        return self.wait(seconds)

    @property
    def running(self) -> bool:
        return bool(json.loads(podman("inspect", self.name).stdout)[0]["State"]["Running"])


def podman(*words: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return _do(["podman", *words], check=check, timeout=timeout)


@contextmanager
def container(
    arguments: Sequence[str],
    *,
    command: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    files: Path | None = None,
    account: Path | None = None,
    memory: str = "2g",
) -> Iterator[Container]:
    """Run a container of the image on this machine's loopback interface until the context ends.

    Parameters
    ----------
    arguments
        Of the image's own command, or of another one.
    command
        As `command` of a pod: what is run instead of the image's own.
    files
        Folder that it sees as /etc/soilscale/config, where the chart puts the configuration.
    account
        Folder that it sees where Kubernetes mounts what a service account has.
    """
    one = Container(f"soilscale-{uuid.uuid4().hex[:12]}")
    words = ["run", "--detach", "--name", one.name, "--network", "host", "--memory", memory, *HARDENED]
    for name, value in (environment or {}).items():
        words += ["--env", f"{name}={value}"]
    for folder, place in ((files, "/etc/soilscale/config"), (account, ACCOUNT)):
        if folder is not None:
            words += ["--volume", f"{folder}:{place}:ro"]
    if command:
        words += ["--entrypoint", json.dumps(list(command))]
    podman(*words, IMAGE, *arguments)
    try:
        yield one
    finally:
        podman("rm", "--force", "--time", "5", one.name)


def build() -> dict[str, Any]:
    """Build the image from the checkout.

    Returns
    -------
    dict
        What podman tells of it.

    Raises
    ------
    UnavailableError
        If this machine cannot build containers and what is missing cannot be installed.
    """
    given = ["--build-arg", f"BASE={BASE}", "--file", "deploy/Dockerfile", "--tag", IMAGE]
    with _alone():
        _prepare()
        _do(["buildah", "bud", "--isolation", "chroot", "--network", "host", "--layers", *given, "."], timeout=1500)
    told: list[dict[str, Any]] = json.loads(podman("inspect", IMAGE).stdout)
    return told[0]


def base_digest() -> str:
    """Base of the image, by its digest, as a release wants it.

    Raises
    ------
    UnavailableError
        As `build`.
    """
    with _alone():
        _prepare()
    (about,) = json.loads(podman("inspect", BASE).stdout)
    return f"{BASE.rpartition(':')[0]}@{about['Digest']}"


def build_store() -> str:
    """Build an image of the object store, from the wheel that the tests have it by.

    Returns
    -------
    str
        Its name.
    """
    name = "localhost/seaweedfs:tested"
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(Path(sys.executable).with_name("weed"), folder)
        (Path(folder) / "Dockerfile").write_text(f"FROM {BASE}\nCOPY weed /usr/bin/weed\n", encoding="utf-8")
        _do(["buildah", "bud", "--isolation", "chroot", "--layers", "--tag", name, folder])
    return name


@contextmanager
def docker_api(folder: Path) -> Iterator[str]:
    """Serve podman to what speaks to Docker, by a socket in a folder; yields its URL."""
    url = f"unix://{folder / 'docker.sock'}"
    command = ["podman", "system", "service", "--time", "0", url]
    with subprocess.Popen(command, env=os.environ | settings(), stderr=subprocess.DEVNULL) as process:
        try:
            wait_until((folder / "docker.sock").exists, "podman's service")
            yield url
        finally:
            process.terminate()


@contextmanager
def _alone() -> Iterator[None]:
    """Let one process build at a time: the others then find its layers."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _prepare() -> None:
    """Have what builds, its settings and the base in place."""
    _install()
    _settle()
    if _do(["podman", "image", "exists", BASE], check=False).returncode:
        _base()


def _install() -> None:
    """Install what builds and runs containers, where it is missing."""
    commands = ("podman", "buildah", "runc", "debootstrap", "/usr/lib/podman/aardvark-dns")
    if all(map(shutil.which, commands)):
        return
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise UnavailableError(f"{', '.join(PACKAGES)} are needed, and installing them needs apt-get and root")
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in ([apt, "update", "-q"], [apt, "install", "-y", "-q", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnavailableError(f"apt-get could not install {', '.join(PACKAGES)}: {done.stderr[-300:]}")


def _settle() -> None:
    """Write the settings: everything below one folder, nothing of this machine's own containers."""
    (HOME / "containers.conf").write_text(SETTINGS, encoding="utf-8")
    places = f'graphroot = "{HOME / "storage"}"\nrunroot = "{HOME / "run"}"\n'
    (HOME / "storage.conf").write_text(f'[storage]\ndriver = "overlay"\n{places}', encoding="utf-8")


def _base() -> None:
    """Make a small Debian 13 that trusts whom this machine trusts, as packages may come through its proxy."""
    folder = HOME / "trixie"
    shutil.rmtree(folder, ignore_errors=True)
    _do(["debootstrap", "--variant=minbase", "--include=ca-certificates", "trixie", str(folder)], timeout=900)
    if TRUSTED.exists():
        shutil.copyfile(TRUSTED, folder / TRUSTED.relative_to("/"))
        (folder / "etc/pip.conf").write_text(f"[global]\ncert = {TRUSTED}\n", encoding="utf-8")
    for left in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(folder / left)
    packed = HOME / "trixie.tar"
    _do(["tar", "-C", str(folder), "-cf", str(packed), "."])
    _do(["podman", "import", "--quiet", str(packed), BASE])
    packed.unlink()
    shutil.rmtree(folder)


def settings() -> dict[str, str]:
    """Environment by which buildah and podman keep to the folder."""
    return {
        "CONTAINERS_CONF": str(HOME / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(HOME / "storage.conf"),
    }


def _do(command: Sequence[str], *, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    environment = os.environ | settings()
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout
    )
    if check and done.returncode:
        raise RuntimeError(
            f"{' '.join(command)} ended with {done.returncode}: {done.stdout[-1500:]}{done.stderr[-1500:]}"
        )
    return done
