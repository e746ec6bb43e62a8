"""Tools are those whose checksums are pinned, and no others."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import compose, hadolint, helm, installed, kubectl


@pytest.mark.parametrize(
    ("tool", "words", "version"),
    [
        (helm, ["version"], "v4.3.1"),
        (kubectl, ["version", "--client"], "v1.37.1"),
        (hadolint, ["--version"], "2.15.1"),
        (compose, ["version"], "v2.40.3"),
    ],
)
def test_a_tool_is_there_and_of_its_version(tool: Callable[[], Path], words: list[str], version: str) -> None:
    assert version in subprocess.run([tool(), *words], capture_output=True, text=True, check=True).stdout


def test_a_package_of_another_checksum_is_refused(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        installed._download(installed.OPERATOR[0], "0" * 64, tmp_path)  # noqa: SLF001
    assert list(tmp_path.rglob("*.whl")) == []


def test_what_another_process_has_put_there_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "HOME", tmp_path)
    place = tmp_path / "folder-1"

    def unpack(_: Path, made: Path) -> None:
        for folder, text in ((made, "mine"), (place, "theirs")):
            folder.mkdir()
            (folder / "file").write_text(text, encoding="utf-8")

    found = installed._installed("folder-1", installed.OPERATOR, unpack)  # noqa: SLF001
    assert (found / "file").read_text(encoding="utf-8") == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["folder-1"]
