from . import applicability, area, detail, fits, joint, selection, stack, training, tuning
from .algorithms import ALGORITHMS, RECOMMENDED, Algorithm, Estimator, best, find, with_members
from .applicability import Applicability
from .bagging import RandomForest
from .boosting import BoostedTrees
from .columns import FOLD, PREDICTIONS
from .distance import NearestNeighbours, SupportVectors
from .fits import FOLDS, WITHIN, Job, folds, jobs, learned, partition, seed_of, stored_models
from .gaussian_process import GaussianProcess
from .importance import has_importance, measure, oob_r2
from .packing import pack, unpack
from .persistence import dumps, loads
from .prediction import Blend, Predictor, predict, ready, surface
from .training import describe, fit, judge, run
from .trend import TrendForest

__all__ = [
    "ALGORITHMS",
    "FOLD",
    "FOLDS",
    "PREDICTIONS",
    "RECOMMENDED",
    "WITHIN",
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
    "applicability",
    "area",
    "best",
    "describe",
    "detail",
    "dumps",
    "find",
    "fit",
    "fits",
    "folds",
    "has_importance",
    "jobs",
    "joint",
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
    "seed_of",
    "selection",
    "stack",
    "stored_models",
    "surface",
    "training",
    "tuning",
    "unpack",
    "with_members",
]
