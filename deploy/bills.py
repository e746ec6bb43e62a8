"""Bills of materials of a release, CycloneDX 1.6: of the locked packages, of the chart, and of the image."""

from __future__ import annotations

import email.parser
import json
import os
import re
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import quote

from image import ROOT, Image

NAMESPACE = uuid.UUID("5d3c1f3e-58f5-4b0e-9f0c-6b1c0a6e4d10")
"""From which serial numbers are made."""

OS_RELEASE, STATUS = "usr/lib/os-release", "var/lib/dpkg/status"
METADATA = re.compile(r".*/site-packages/[^/]+\.dist-info/METADATA")

Document = dict[str, Any]


def of_packages(target: Path, lock: str, epoch: int) -> None:
    """Write the bill of a lock: the packages with the checksums of all their files, and what needs what."""
    options = ["--pyproject", "pyproject.toml", "--output-reproducible", "--of", "JSON", "--output-file", target]
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", *options, lock]
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch)}
    subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=subprocess.PIPE)


def of_chart(target: Path, digest: str, number: str, image: Image | None) -> None:
    """Write the bill of a chart: the image that it runs."""
    chart = {"type": "application", "bom-ref": "chart", "name": "soilscale", "version": number}
    chart |= {"hashes": [{"alg": "SHA-256", "content": digest}]}
    _write(target, digest, chart, [_container(image, number)])


def of_image(target: Path, image: Image, number: str) -> None:
    """Write the bill of an image: Debian's packages in it, and those of its Python environment."""
    files = {name: content.decode() for name, content in _metadata(image.archive)}
    about = dict(line.split("=", 1) for line in files[OS_RELEASE].splitlines() if "=" in line)
    name, version = (about[key].strip('"') for key in ("ID", "VERSION_ID"))
    system = {"type": "operating-system", "bom-ref": "system", "name": name, "version": version}
    python = [_python(text) for path, text in files.items() if METADATA.fullmatch(path)]
    parts = [*_debian(files[STATUS], f"{name}-{version}"), *python]
    parts.sort(key=lambda part: str(part["purl"]))
    _write(target, image.digest, _container(image, number), [system, *parts])


def _write(target: Path, seed: str, component: Document, parts: Sequence[Document]) -> None:
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, seed)}",
        "version": 1,
        "metadata": {"component": component},
        "components": parts,
        "dependencies": [
            {"ref": component["bom-ref"], "dependsOn": [part["bom-ref"] for part in parts]},
            *({"ref": part["bom-ref"]} for part in parts),
        ],
    }
    target.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _container(image: Image | None, number: str) -> Document:
    """The image as a component; by its digest, where it was built."""
    described = {"type": "container", "bom-ref": "image", "name": "soilscale", "version": number}
    if image is None:
        return described
    return described | {
        "purl": f"pkg:oci/soilscale@{quote(f'sha256:{image.digest}', safe='')}",
        "hashes": [{"alg": "SHA-256", "content": image.digest}],
        "properties": [{"name": "soilscale:base", "value": image.base}],
    }


def _debian(status: str, distribution: str) -> Iterator[Document]:
    """Packages that dpkg has installed."""
    for text in filter(str.strip, status.split("\n\n")):
        stanza = email.parser.HeaderParser().parsestr(text)
        if stanza["Status"] == "install ok installed":
            qualifiers = f"?arch={stanza['Architecture']}&distro={distribution}"
            yield _part(stanza["Package"], stanza["Version"], "deb/debian", qualifiers)


def _python(text: str) -> Document:
    """Package that pip has installed, by its METADATA."""
    about = email.parser.HeaderParser().parsestr(text)
    name = re.sub(r"[-_.]+", "-", about["Name"]).lower()
    terms = about["License-Expression"]
    return _part(name, about["Version"], "pypi") | ({"licenses": [{"expression": terms}]} if terms else {})


def _part(name: str, version: str, kind: str, qualifiers: str = "") -> Document:
    purl = f"pkg:{kind}/{name}@{quote(version, safe='')}{qualifiers}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _metadata(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Files that state what is installed, layer by layer: of two with the same name the later one counts."""
    with tarfile.open(archive) as packed:
        index = json.load(_content(packed, "index.json"))
        manifest = json.load(_blob(packed, index["manifests"][0]))
        for layer in manifest["layers"]:
            with tarfile.open(fileobj=_blob(packed, layer), mode="r|*") as files:
                for member in files:
                    name = PurePosixPath(member.name).as_posix()
                    if member.isfile() and (name in {OS_RELEASE, STATUS} or METADATA.fullmatch(name)):
                        yield name, _content(files, member).read()


def _blob(packed: tarfile.TarFile, description: Document) -> IO[bytes]:
    return _content(packed, f"blobs/{description['digest'].replace(':', '/')}")


def _content(packed: tarfile.TarFile, member: str | tarfile.TarInfo) -> IO[bytes]:
    content = packed.extractfile(member)
    if content is None:
        raise TypeError(f"{member} is no file")
    return content
