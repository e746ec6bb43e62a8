"""The image of a release: built by buildah into an OCI archive, the same bytes each time.

Where buildah may not make containers of its own, as inside one, set ``BUILDAH_ISOLATION=chroot``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BY_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Image:
    """An image in a file."""

    base: str
    """Image that it is built on, by digest."""
    archive: Path
    digest: str
    """SHA-256 of its manifest, by which a registry serves it and `image.digest` of the chart names it."""


def check_base(base: str) -> None:
    """Refuse a base that may be another one tomorrow.

    Raises
    ------
    SystemExit
        If the base is not named by its digest.
    """
    if BY_DIGEST.fullmatch(base) is None:
        raise SystemExit(
            f"got base image {base or 'none'!r}, expected one by digest, such as BASE=docker.io/library/debian@sha256:"
            "<64 hexadecimal digits>; `skopeo inspect docker://docker.io/library/debian:trixie-slim` prints the digest "
            "of today; BASE=none releases everything but the image"
        )


def build(folder: Path, base: str, number: str, revision: str, epoch: int) -> Image:
    """Build the image from the source tree into an archive of a folder, from a base that has its digest.

    Raises
    ------
    SystemExit
        If buildah is missing, or cannot build; its own messages stand above.
    """
    check_base(base)
    if shutil.which("buildah") is None:
        raise SystemExit("buildah is needed to build the image: apt-get install buildah; or release with BASE=none")
    arguments = {"BASE": base, "VERSION": number, "REVISION": revision, "SOURCE_DATE_EPOCH": str(epoch)}
    words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    target = folder / f"soilscale-{number}-image.tar"
    with tempfile.TemporaryDirectory() as place:
        layout, identity = Path(place) / "oci", Path(place) / "id"
        # Layers, so that a version is a pull of megabytes; no cache, which would keep packages of an earlier day.
        words += ["--layers", "--no-cache", "--format", "oci", "--timestamp", str(epoch), "--iidfile", str(identity)]
        _buildah("bud", "--quiet", *words, "--file", "deploy/Dockerfile", ".")
        _buildah("push", "--quiet", "--format", "oci", identity.read_text().strip(), f"oci:{layout}:{number}")
        (manifest,) = json.loads((layout / "index.json").read_text())["manifests"]
        _pack(layout, target, epoch)
    return Image(base, target, manifest["digest"].removeprefix("sha256:"))


def _buildah(*words: str) -> None:
    done = subprocess.run(["buildah", *words], cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL, check=False)  # noqa: S607 - of this machine
    if done.returncode:
        raise SystemExit(f"`buildah {words[0]}` ended with {done.returncode}; see its messages above")


def _pack(layout: Path, target: Path, epoch: int) -> None:
    """Pack an OCI layout; buildah's own archives hold the times at which its files were written."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(layout.rglob("*")):
            member = tarfile.TarInfo(path.relative_to(layout).as_posix())
            member.mtime = epoch
            if path.is_dir():
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
                continue
            member.size, member.mode = path.stat().st_size, 0o644
            with path.open("rb") as content:
                archive.addfile(member, content)
