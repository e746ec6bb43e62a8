"""Renders of the chart, as tests look at them; `python tests/charts.py` renews the golden ones."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, FormatChecker

from checkout import ROOT, TESTS
from tools import definitions, helm

CHART = ROOT / "helm" / "soilscale"
DATA = TESTS / "data" / "chart"
MOSELLE = DATA / "moselle.yaml"
PRESETS = tuple(sorted(path.stem for path in (CHART / "presets").glob("*.yaml")))
VERSIONS = ("1.31", "1.34", "1.37")
"""Of Kubernetes: the oldest that the chart takes, and what is in use."""

Document = dict[str, Any]

DASK = "apiVersion: kubernetes.dask.org/v1"


def call(*words: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run helm, with a text as its standard input."""
    return subprocess.run([helm(), *words], input=given, capture_output=True, text=True, check=False)


def files(preset: str | None) -> list[Path]:
    return [*([CHART / "presets" / f"{preset}.yaml"] if preset else []), MOSELLE]


def template(
    paths: Sequence[Path] = (), values: Mapping[str, Any] | None = None, version: str = "1.34", release: str = "moselle"
) -> subprocess.CompletedProcess[str]:
    """Render with files of values, and further values over them."""
    contents = tuple((path, path.read_text(encoding="utf-8")) for path in paths)
    return _template(contents, as_text(values or {}), version, release)


@cache
def _template(
    contents: tuple[tuple[Path, str], ...], values: str, version: str, release: str
) -> subprocess.CompletedProcess[str]:
    """Render once what many tests look at."""
    given = [word for path, _ in contents for word in ("--values", str(path))]
    words = ("template", release, CHART, *given, "--values", "-", "--kube-version", version)
    return call(*words, given=values)


def as_text(values: Mapping[str, Any]) -> str:
    """JSON that YAML reads as the same: characters that YAML takes only escaped are, and no other."""
    text = json.dumps(values, ensure_ascii=False)
    return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in text)


def render(
    paths: Sequence[Path] = (), values: Mapping[str, Any] | None = None, version: str = "1.34", release: str = "moselle"
) -> list[Document]:
    """Documents of a render that must succeed."""
    told = template(paths, values, version, release)
    assert told.returncode == 0, told.stderr
    return documents(told.stdout)


def refusal(values: Mapping[str, Any], paths: Sequence[Path] = (MOSELLE,)) -> str:
    """What is told of values that must be refused."""
    told = template(paths, values)
    assert told.returncode != 0, "these values were accepted"
    return told.stderr


def documents(text: str) -> list[Document]:
    return [one for one in yaml.safe_load_all(text) if one]


def kind(found: Sequence[Document], name: str) -> list[Document]:
    return [one for one in found if one["kind"] == name]


def one(found: Sequence[Document], name: str) -> Document:
    (only,) = kind(found, name)
    return only


def clusters(found: Sequence[Document]) -> dict[str, list[Document]]:
    """File of a Dask cluster -> its documents."""
    return {
        name: documents(text)
        for config in kind(found, "ConfigMap")
        for name, text in config["data"].items()
        if text.startswith(DASK)
    }


def pods(found: Sequence[Document]) -> Iterator[tuple[str, Document]]:
    """Every pod's spec, those inside Dask clusters too, with a name to tell it by."""
    for document in found:
        name, spec = f"{document['kind']} {document['metadata']['name']}", document.get("spec", {})
        if document["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if document["kind"] == "Pod":
            yield name, spec
        elif document["kind"] in {"Job", "CronJob"}:
            yield name, spec["template"]["spec"]
    for file, content in clusters(found).items():
        spec = one(content, "DaskCluster")["spec"]
        for part in ("scheduler", "worker"):
            yield f"{file} {part}", spec[part]["spec"]


def containers(pod: Document) -> list[Document]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def closed(node: Any) -> Any:
    """A definition's schema that takes no field which a server would prune, and knows Kubernetes' own words."""
    if isinstance(node, list):
        return [closed(one) for one in node]
    if not isinstance(node, dict):
        return node
    made = {key: closed(value) for key, value in node.items()}
    if node.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if "properties" in node and isinstance(node["properties"], dict) and node.get("type") == "object":
        made.setdefault("additionalProperties", node.get("x-kubernetes-preserve-unknown-fields", False))
    return made


@cache
def definition(kind: str, *metadata: str) -> Draft202012Validator:
    """Strict check of a resource of the Dask operator; its metadata may have these fields beside name and labels."""
    content = yaml.safe_load((definitions() / f"{kind.lower()}.yaml").read_text(encoding="utf-8"))
    (version,) = content["spec"]["versions"]
    schema = closed(version["schema"]["openAPIV3Schema"])
    schema["properties"] |= {
        "apiVersion": {"const": f"{content['spec']['group']}/{version['name']}"},
        "kind": {"const": content["spec"]["names"]["kind"]},
        "metadata": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "labels": {"type": "object"}} | dict.fromkeys(metadata, True),
            "additionalProperties": False,
        },
    }
    return Draft202012Validator(schema, format_checker=FormatChecker())


def golden(preset: str) -> Path:
    return DATA / "golden" / f"{preset}.yaml"


def renew() -> None:
    """Write the golden renders from the chart as it is."""
    for preset in PRESETS:
        told = template(files(preset))
        told.check_returncode()
        golden(preset).parent.mkdir(exist_ok=True)
        golden(preset).write_text(told.stdout, encoding="utf-8")


if __name__ == "__main__":
    renew()
