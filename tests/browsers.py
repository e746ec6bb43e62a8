"""Browsers in which pages are opened."""

from __future__ import annotations

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""Commands, of which one is enough."""
