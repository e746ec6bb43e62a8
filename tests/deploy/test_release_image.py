"""The image of a release: its base by digest, its bill of materials, and the same digest at each build."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from checkout import ROOT
from containers import base_digest, settings
from servers.stac_api import UnavailableError

sys.path.append(str(ROOT / "deploy"))
import bills
import image
import release

DIGEST = "0123456789abcdef" * 4
BASE = f"docker.io/library/debian@sha256:{DIGEST}"
ENVIRONMENT = "opt/soilscale/lib/python3.13/site-packages"

STATUS = """\
Package: libexpat1
Status: install ok installed
Architecture: amd64
Version: {expat}

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: tzdata
Status: install ok installed
Architecture: all
Version: 2026a-0+deb13u1
"""


def layer(files: Mapping[str, str]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return gzip.compress(content.getvalue())


def archived(path: Path, layers: list[bytes]) -> image.Image:
    """An OCI archive of these layers."""
    blobs = {hashlib.sha256(content).hexdigest(): content for content in layers}
    manifest = json.dumps({"layers": [{"digest": f"sha256:{digest}"} for digest in blobs]}).encode()
    digest = hashlib.sha256(manifest).hexdigest()
    files = {f"blobs/sha256/{name}": content for name, content in (blobs | {digest: manifest}).items()}
    files["index.json"] = json.dumps({"manifests": [{"digest": f"sha256:{digest}"}]}).encode()
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return image.Image(BASE, path, digest)


@pytest.mark.parametrize("base", ["", "none", "debian:trixie-slim", "debian@sha256:0123", f"debian@sha256:{DIGEST} "])
def test_a_base_without_its_digest_is_refused(base: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="expected one by digest, such as BASE="):
        image.build(tmp_path, base, "1.0", "0" * 40, 0)
    assert list(tmp_path.iterdir()) == []


def test_the_bill_names_what_the_last_layer_has_of_each_package(tmp_path: Path) -> None:
    """A security fix of Debian replaces the status of the base in a later layer."""
    system = {
        "usr/lib/os-release": 'ID=debian\nVERSION_ID="13"\n',
        "var/lib/dpkg/status": STATUS.format(expat="2.7.1-1"),
    }
    about = "Metadata-Version: 2.4\nName: Zarr_Store\nVersion: 3.1.6\nLicense-Expression: MIT\n\nVersion: of the text\n"
    vendored = f"{ENVIRONMENT}/setuptools/_vendor/old-1.dist-info/METADATA"
    fixed = {
        "./var/lib/dpkg/status": STATUS.format(expat="2.7.1-1+deb13u1"),
        f"{ENVIRONMENT}/zarr_store-3.1.6.dist-info/METADATA": about,
        vendored: "Name: old\nVersion: 1\n",
    }
    built = archived(tmp_path / "image.tar", [layer(system), layer(fixed)])
    bills.of_image(tmp_path / "bill.json", built, "1.0")
    text = (tmp_path / "bill.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    assert [part.get("purl", part["name"]) for part in bill["components"]] == [
        "debian",
        "pkg:deb/debian/libexpat1@2.7.1-1%2Bdeb13u1?arch=amd64&distro=debian-13",
        "pkg:deb/debian/tzdata@2026a-0%2Bdeb13u1?arch=all&distro=debian-13",
        "pkg:pypi/zarr-store@3.1.6",
    ]
    assert bill["components"][-1]["licenses"] == [{"expression": "MIT"}]
    described = bill["metadata"]["component"]
    assert described["hashes"] == [{"alg": "SHA-256", "content": built.digest}]
    assert described["properties"] == [{"name": "soilscale:base", "value": BASE}]


def test_the_statement_names_the_image_and_its_base(tmp_path: Path) -> None:
    built = archived(tmp_path / "image.tar", [])
    said = release.statement([built.archive], "0" * 40, "", 0, built)
    subjects = {subject["name"]: subject["digest"]["sha256"] for subject in said["subject"]}
    assert subjects == {
        "image.tar": hashlib.sha256(built.archive.read_bytes()).hexdigest(),
        "soilscale": built.digest,
    }
    dependencies = said["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert dependencies[-1] == {"uri": f"docker://{BASE}", "digest": {"sha256": DIGEST}}
    assert (
        dependencies[:-1]
        == release.statement([], "0" * 40, "", 0, None)["predicate"]["buildDefinition"]["resolvedDependencies"]
    )


@pytest.mark.container
@pytest.mark.timeout(2400)
def test_two_builds_of_the_image_are_the_same_and_hold_the_locked_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        base = base_digest()
    except UnavailableError as error:
        pytest.skip(str(error))
    for name, value in (settings() | {"BUILDAH_ISOLATION": "chroot"}).items():
        monkeypatch.setenv(name, value)
    first, second = (_build(tmp_path / name, base) for name in ("first", "second"))
    assert first.digest == second.digest
    with first.archive.open("rb") as one, second.archive.open("rb") as other:
        assert hashlib.file_digest(one, "sha256").hexdigest() == hashlib.file_digest(other, "sha256").hexdigest()
    bills.of_image(tmp_path / "bill.json", first, "0.1.0")
    bill: dict[str, Any] = json.loads((tmp_path / "bill.json").read_text())
    held = {part["name"]: part["version"] for part in bill["components"] if part.get("purl", "").startswith("pkg:pypi")}
    assert held.pop("soilscale") == release.version()
    lock = (ROOT / "deploy" / "requirements.txt").read_text(encoding="utf-8")
    pins = dict(re.findall(r"^([\w.-]+)==([^ ]+)", lock, re.MULTILINE))
    assert held.items() <= pins.items()
    assert len(held) > 100
    assert {"libexpat1", "python3.13"} <= {part["name"] for part in bill["components"]}


def _build(folder: Path, base: str) -> image.Image:
    folder.mkdir()
    return image.build(folder, base, "0.1.0", "0" * 40, 1_700_000_000)
