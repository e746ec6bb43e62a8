from .algorithms import ALGORITHMS, RECOMMENDED, Algorithm, Estimator, best, find, with_members
from .applicability import Applicability
from .bagging import RandomForest
from .boosting import BoostedTrees
from .distance import NearestNeighbours, SupportVectors
from .gaussian_process import GaussianProcess
from .importance import has_importance, measure, oob_r2
from .packing import pack, unpack
from .persistence import dumps, loads
from .prediction import Blend, Predictor, predict, ready, surface
from .training import FOLD, FOLDS, PREDICTIONS, Job, describe, fit, folds, jobs, judge, learned, partition, run
from .trend import TrendForest

__all__ = [
    "ALGORITHMS",
    "FOLD",
    "FOLDS",
    "PREDICTIONS",
    "RECOMMENDED",
    "Algorithm",
    "Applicability",
    "Blend",
    "BoostedTrees",
    "Estimator",
    "GaussianProcess",
    "Job",
    "NearestNeighbours",
    "Predictor",
    "RandomForest",
    "SupportVectors",
    "TrendForest",
    "best",
    "describe",
    "dumps",
    "find",
    "fit",
    "folds",
    "has_importance",
    "jobs",
    "judge",
    "learned",
    "loads",
    "measure",
    "oob_r2",
    "pack",
    "partition",
    "predict",
    "ready",
    "run",
    "surface",
    "unpack",
    "with_members",
]
