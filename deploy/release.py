"""Build what a release consists of, byte for byte the same at each build: `make release`, see docs/releasing.md.

Wheel, source distribution, chart and image; CycloneDX SBOMs of the locked Python packages, of the chart and of the
image; checksums; and an in-toto statement of what was built from which sources (SLSA provenance).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bills
import image
import yaml
from image import ROOT, Image
from version import version

CHART = ROOT / "helm" / "soilscale"
LOCKS = ("deploy/requirements.txt", "deploy/requirements-build.txt")
Document = dict[str, Any]


def run(*words: str | Path, epoch: int) -> str:
    """Output of a program in the source tree, whose times are those of the release."""
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch)}
    return subprocess.run(words, check=True, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True).stdout


def packages(folder: Path, epoch: int) -> None:
    """Source distribution, and the wheel that is made of it, with the build backend of the lock."""
    options = ["--quiet", "--build-constraint", LOCKS[1], "--require-hashes", "--out-dir", folder]
    run(sys.executable, "-m", "uv", "build", *options, ROOT, epoch=epoch)
    (folder / ".gitignore").unlink(missing_ok=True)


def chart(folder: Path, helm: str, url: str, epoch: int) -> Path:
    """Chart as Helm packages it, with the times of the release and, where the project has a page, that page."""
    with tempfile.TemporaryDirectory() as place:
        copied = Path(place) / CHART.name
        shutil.copytree(CHART, copied)
        if url:
            about = yaml.safe_load((copied / "Chart.yaml").read_text(encoding="utf-8"))
            (copied / "Chart.yaml").write_text(yaml.safe_dump(about | {"home": url, "sources": [url]}, sort_keys=False))
        run(helm, "package", copied, "--destination", place, epoch=epoch)
        (packed,) = Path(place).glob("*.tgz")
        return _repacked(packed, folder / packed.name, epoch)


def _repacked(source: Path, target: Path, epoch: int) -> Path:
    """Archive with the same files, in order of their names, without times and owners of their own."""
    content = io.BytesIO()
    with tarfile.open(source) as packed, tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as made:
        for member in sorted(packed.getmembers(), key=lambda one: one.name):
            plain = tarfile.TarInfo(member.name)
            plain.size, plain.mode, plain.mtime = member.size, 0o644, epoch
            made.addfile(plain, packed.extractfile(member))
    target.write_bytes(gzip.compress(content.getvalue(), mtime=epoch))
    return target


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def statement(files: Sequence[Path], revision: str, url: str, epoch: int, built: Image | None) -> Document:
    """In-toto statement: these files, and the image in one of them, were made from that revision with those locks."""
    source = {"uri": f"git+{url}" if url else "git+file:.", "digest": {"gitCommit": revision}}
    locks = [{"uri": f"file:{name}", "digest": {"sha256": digest(ROOT / name)}} for name in LOCKS]
    subjects = [{"name": path.name, "digest": {"sha256": digest(path)}} for path in files]
    bases = []
    if built is not None:
        subjects.append({"name": "soilscale", "digest": {"sha256": built.digest}})
        bases = [{"uri": f"docker://{built.base}", "digest": {"sha256": built.base.rpartition(":")[2]}}]
    definition = {
        "buildType": f"{url or 'file:.'}#deploy/release.py",
        "externalParameters": {"command": "make release", "SOURCE_DATE_EPOCH": str(epoch)},
        "resolvedDependencies": [source, *locks, *bases],
    }
    builder = os.environ.get("BUILDER_ID") or "file:.#a-maintainers-machine"
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {"buildDefinition": definition, "runDetails": {"builder": {"id": builder}}},
    }


def release(folder: Path, helm: str, url: str, epoch: int, revision: str, base: str = "none") -> list[Path]:
    """Build everything into an empty folder, without the image if its base is ``none``; returns its files."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise SystemExit(f"{folder} is not empty: remove what an earlier build has left there")
    number = version()
    packages(folder, epoch)
    packed = chart(folder, helm, url, epoch)
    built = None if base == "none" else image.build(folder, base, number, revision, epoch)
    bills.of_packages(folder / f"soilscale-{number}-packages.cdx.json", LOCKS[0], epoch)
    bills.of_chart(folder / f"soilscale-{number}-chart.cdx.json", digest(packed), number, built)
    if built is not None:
        bills.of_image(folder / f"soilscale-{number}-image.cdx.json", built, number)
    files = sorted(folder.iterdir())
    provenance = folder / f"soilscale-{number}.provenance.json"
    provenance.write_text(json.dumps(statement(files, revision, url, epoch, built), indent=2) + "\n", encoding="utf-8")
    files.append(provenance)
    sums = folder / "SHA256SUMS"
    sums.write_text("".join(f"{digest(path)}  {path.name}\n" for path in files), encoding="utf-8")
    return [*files, sums]


def main() -> None:
    """Build a release of the revision that is checked out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="an empty folder")
    parser.add_argument("--helm", default="helm", help="the command Helm")
    parser.add_argument("--url", default="", help="page of the project, which the chart names")
    parser.add_argument("--base", default="", help="base of the image by its digest; none: release without the image")
    options = parser.parse_args()
    if options.base != "none":
        image.check_base(options.base)
    revision = run("git", "rev-parse", "HEAD", epoch=0).strip()
    if run("git", "status", "--porcelain", "--untracked-files=no", epoch=0):
        raise SystemExit("files differ from the revision that is checked out: commit them first")
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or run("git", "log", "-1", "--format=%ct", epoch=0))
    for path in release(options.folder.resolve(), options.helm, options.url, epoch, revision, options.base):
        print(f"{digest(path)}  {path.name}")  # noqa: T201 - what the command answers


if __name__ == "__main__":
    main()
