#!/usr/bin/env python
"""Sharpen what `pydms.py` has written by pyDMS; run by it, in a Python that has pyDMS, GDAL's bindings and NumPy.

Run as ``python benchmarks/pydms_sharpen.py FOLDER [FOLDER ...]``: each holds fine predictors ``fine_NN.tif`` and coarse
fields ``coarse_NN.tif`` of a season, from which one sharpener learns, and gets ``sharp_NN.npy``, residuals given back.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from osgeo import gdal
from pyDMS.pyDMS import DecisionTreeSharpener

gdal.UseExceptions()

for folder in map(Path, sys.argv[1:]):
    fine, coarse = ([str(path) for path in sorted(folder.glob(f"{name}_*.tif"))] for name in ("fine", "coarse"))
    sharpener = DecisionTreeSharpener(fine, coarse, baggingRegressorOpt={"n_estimators": 30, "random_state": 0})
    sharpener.trainSharpener()
    for high, low in zip(fine, coarse, strict=True):
        _, corrected = sharpener.residualAnalysis(sharpener.applySharpener(high, low), low)
        np.save(high.replace("fine_", "sharp_").replace(".tif", ".npy"), corrected.GetRasterBand(1).ReadAsArray())
