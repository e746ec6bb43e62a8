"""The page of the viewer that is in the package: what its source builds, whole, small, and with its licences."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from checkout import ROOT
from soilscale import viewer

SOURCE = ROOT / "viewer"
BUDGET = 600_000
"""Bytes of the page as a web server sends it."""


def packaged(name: str) -> bytes:
    return resources.files(viewer).joinpath(name).read_bytes()


def test_the_page_is_small_and_needs_no_other_file_or_host() -> None:
    page = viewer.page().decode()
    assert len(gzip.compress(page.encode(), 9)) < BUDGET
    assert re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"(?!data:)", page) == []
    assert "script-src 'sha256-" in page
    assert viewer.is_page(viewer.page()[: viewer.HEAD])
    assert viewer.mark().encode() in viewer.page()[: viewer.HEAD]


def test_the_notice_names_every_bundled_package_with_its_licence() -> None:
    notice = packaged("NOTICE").decode()
    for name in json.loads((SOURCE / "package.json").read_text())["dependencies"]:
        assert re.search(rf"^{name} [0-9.]+ \(", notice, re.MULTILINE), name
    assert "(no licence file)" not in notice
    assert notice.count("\n" + "-" * 80 + "\n") == len(
        re.findall(r"^(?:@?[a-z][\w/@-]*) \d[\d.]* \(.+\)$", notice, re.MULTILINE)
    )


def test_the_lock_names_no_host() -> None:
    assert "://" not in "".join(
        line
        for line in (SOURCE / "package-lock.json").read_text().splitlines()
        if '"url"' not in line and "fund" not in line
    )


def test_the_page_is_what_its_source_builds(tmp_path: Path) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("npm is not installed, so the page of the viewer cannot be built: apt-get install npm")
    if not (SOURCE / "node_modules").exists():
        pytest.skip("the packages of the viewer are not installed, which needs the network: make viewer")
    for folder in ("first", "second"):
        subprocess.run([node, "build.mjs", tmp_path / folder], cwd=SOURCE, check=True, timeout=300)
    assert (tmp_path / "first/page.html").read_bytes() == packaged("page.html"), "it is not built anew: make viewer"
    for name in ("page.html", "NOTICE"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
        assert (tmp_path / "first" / name).read_bytes() == packaged(name)
