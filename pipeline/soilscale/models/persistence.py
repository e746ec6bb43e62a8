"""Fitted models as bytes, in a format that runs no code when it is read."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.tree._tree import Tree
from sklearn.utils.validation import check_is_fitted
from skops import io as skops
from skops.io.exceptions import UntrustedTypesFoundException

from soilscale.errors import DataError
from soilscale.models.algorithms import ALGORITHMS, Estimator
from soilscale.models.bagging import RandomForest
from soilscale.models.boosting import BoostedTrees
from soilscale.models.distance import NearestNeighbours, SupportVectors
from soilscale.models.gaussian_process import GaussianProcess
from soilscale.models.trend import TrendForest

CHECKED = (BoostedTrees, GaussianProcess, NearestNeighbours, SupportVectors)
"""Types of model that check themselves what they learned."""

TRUSTED = tuple(f"{kind.__module__}.{kind.__qualname__}" for kind in (Tree, RandomForest, TrendForest, *CHECKED))
"""Types that a stored model may hold beside those of NumPy and scikit-learn that skops knows to be harmless."""

MODELS = tuple({type(algorithm.build(1)) for algorithm in ALGORITHMS.values() if not algorithm.members})
"""Types that a stored model may be."""

SCHEMA = "schema.json"
"""File of the archive that says what stands in the others."""

UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What reading raises for bytes that are no archive, or for an archive that does not fit the types it names."""


def dumps(estimator: Estimator) -> bytes:
    """Bytes of a fitted estimator: a skops archive (zip, deflated) of arrays and a JSON schema.

    The same fit gives the same bytes in every process: the addresses in memory by which skops numbers objects and
    names files are replaced by their order, and the files carry no date.
    """
    target = io.BytesIO()
    with tempfile.TemporaryFile() as stored:  # on the disk, since a forest's archive can be some hundred MiB
        skops.dump(estimator, stored, compression=zipfile.ZIP_DEFLATED, compresslevel=1)
        with (
            zipfile.ZipFile(stored) as source,
            zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        ):
            schema, files = _renumber(source.read(SCHEMA))
            for name, new in files.items():
                archive.writestr(_entry(new), source.read(name))
            archive.writestr(_entry(SCHEMA), schema)
    return target.getvalue()


def loads(data: bytes) -> Estimator:
    """Fitted estimator from its bytes.

    Nothing in the bytes is run: types outside `TRUSTED` are refused before anything is made of them, and the trees,
    whose node numbers scikit-learn and XGBoost follow without looking, are checked to lead nowhere outside themselves.

    Raises
    ------
    DataError
        If the bytes are no model or hold a type that is not trusted (the message names it), or if what the model
        learned does not fit together, such as a broken tree.
    """
    try:
        estimator = skops.loads(data, trusted=list(TRUSTED))
        _check(estimator)
    except UntrustedTypesFoundException as error:
        raise DataError(
            f"the stored model was refused: {str(error).splitlines()[0]} Expected only scikit-learn's own types and "
            f"{', '.join(TRUSTED)}; do not use it, and retrain the model"
        ) from error
    except UNREADABLE as error:
        raise DataError(
            f"the stored model cannot be read ({type(error).__name__}: {error}); expected a skops archive as this "
            "version of soilscale writes it: retrain the model"
        ) from error
    model: Estimator = estimator
    return model


def _renumber(schema: bytes) -> tuple[str, dict[str, str]]:
    """Schema with objects and files numbered by their order in it, and the new name of each file."""
    ids: dict[int, int] = {}
    files: dict[str, str] = {}

    def rename(node: dict[str, Any]) -> dict[str, Any]:
        if isinstance(address := node.get("__id__"), int):
            node["__id__"] = ids.setdefault(address, len(ids))
        if isinstance(name := node.get("file"), str):
            node["file"] = files.setdefault(name, f"{len(files)}{PurePosixPath(name).suffix}")
        return node

    return json.dumps(json.loads(schema, object_hook=rename)), files


def _entry(name: str) -> zipfile.ZipInfo:
    # Dated 1980, whenever it is made; `writestr` with a name would put the date of now.
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _check(estimator: Any) -> None:
    if type(estimator) not in MODELS:
        names = sorted(model.__name__ for model in MODELS)
        raise TypeError(f"got a {type(estimator).__name__}, not one of {', '.join(names)}")
    check_is_fitted(estimator)
    if isinstance(estimator, CHECKED):
        estimator.check()
    if not all(_sound(tree, estimator.n_features_in_) for tree in _trees(estimator)):
        raise ValueError("a tree's nodes lead outside it")


def _trees(value: Any) -> Iterator[Tree]:
    """Every tree inside an estimator, however deep."""
    if isinstance(value, Tree):
        yield value
    elif isinstance(value, BaseEstimator):
        yield from _trees(list(vars(value).values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _trees(part)


def _sound(tree: Any, p: int) -> bool:
    """Whether each inner node of a tree leads to two later nodes of it, by one of `p` features.

    Children stand behind their parents in every tree that scikit-learn grows, which rules out circles.
    """
    if not 1 <= tree.node_count <= tree.capacity:
        return False
    inner = tree.children_left != -1
    children = np.stack([tree.children_left[inner], tree.children_right[inner]])
    feature = tree.feature[inner]
    inside = (children > np.flatnonzero(inner)) & (children < tree.node_count)
    return bool(inside.all() and ((feature >= 0) & (feature < p)).all())
