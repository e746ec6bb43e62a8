"""Pin what the image is built with, with checksums: `python deploy/pin.py` after a change of dependencies.

What is pinned stays at its version where it still fits; `python deploy/pin.py --upgrade` takes the newest.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

DEPLOY = Path(__file__).parent
PYPROJECT = DEPLOY.parent / "pyproject.toml"
RUN, BUILD = DEPLOY / "requirements.txt", DEPLOY / "requirements-build.txt"
PYTHON = "3.13"
"""Of Debian 13."""


def pin(pins: Path, source: Path, *options: str) -> None:
    """Write the pins of a source's requirements and of all that they need.

    Parameters
    ----------
    pins
        The file to write.
    source
        A ``pyproject.toml`` or a file of requirements.
    options
        Further options of ``uv pip compile``.

    Raises
    ------
    subprocess.CalledProcessError
        If no versions fit together; uv tells which.
    """
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes"]
    named = ["--python-version", PYTHON, "--custom-compile-command", "python deploy/pin.py"]
    subprocess.run([*command, *named, *options, "--output-file", pins, source], check=True, cwd=PYPROJECT.parent)


def main() -> None:
    """Pin what runs and what builds."""
    further = sys.argv[1:]
    pin(RUN, Path(PYPROJECT.name), "--extra", "kubernetes", "--extra", "gs", "--extra", "az", *further)
    with tempfile.TemporaryDirectory() as folder:
        needed = Path(folder) / "requirements.in"
        needed.write_text("\n".join(tomllib.loads(PYPROJECT.read_text())["build-system"]["requires"]))
        pin(BUILD, needed, "--no-annotate", *further)


if __name__ == "__main__":
    main()
