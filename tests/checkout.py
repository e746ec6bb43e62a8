"""Where the checkout lies in which the tests stand, and the real data beside it, which there may be or not."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
REAL = ROOT.parent / "shared" / "data"
