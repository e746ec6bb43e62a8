"""Training table -> a fitted predictor per season and algorithm, predictions of rows it never saw, its bytes."""

from soilscale.models.algorithms import ALGORITHMS, RECOMMENDED, Algorithm, Estimator, TrendForest, find
from soilscale.models.boosting import BoostedTrees
from soilscale.models.distance import NearestNeighbours, SupportVectors
from soilscale.models.importance import has_importance, measure, oob_r2
from soilscale.models.persistence import dumps, loads
from soilscale.models.prediction import Predictor, predict, ready
from soilscale.models.training import FOLDS, PREDICTIONS, Job, describe, folds, jobs, partition, run

__all__ = [
    "ALGORITHMS",
    "FOLDS",
    "PREDICTIONS",
    "RECOMMENDED",
    "Algorithm",
    "BoostedTrees",
    "Estimator",
    "Job",
    "NearestNeighbours",
    "Predictor",
    "SupportVectors",
    "TrendForest",
    "describe",
    "dumps",
    "find",
    "folds",
    "has_importance",
    "jobs",
    "loads",
    "measure",
    "oob_r2",
    "partition",
    "predict",
    "ready",
    "run",
]
