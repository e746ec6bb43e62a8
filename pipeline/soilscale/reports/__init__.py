"""Tables, figures and the one page that say how good the maps are; data in, data out, nothing is read or written."""

from soilscale.reports.figures import (
    accuracy_bars,
    maps_side_by_side,
    representative,
    scatter,
    time_series,
    truth_bars,
)
from soilscale.reports.insitu import station_baselines, stations
from soilscale.reports.page import Context, page
from soilscale.reports.scores import SCORES
from soilscale.reports.tables import accuracy, area_means, baselines, consistency, method, truth, upscaled

__all__ = [
    "SCORES",
    "Context",
    "accuracy",
    "accuracy_bars",
    "area_means",
    "baselines",
    "consistency",
    "maps_side_by_side",
    "method",
    "page",
    "representative",
    "scatter",
    "station_baselines",
    "stations",
    "time_series",
    "truth",
    "truth_bars",
    "upscaled",
]
