"""Tables, figures and the page that show how good the maps are; data in, data out, without reading or writing."""

from soilscale.reports import applicability, figures, insitu
from soilscale.reports.comparison import comparison
from soilscale.reports.page import Context, Link, page
from soilscale.reports.scores import SCORES
from soilscale.reports.sensors import level, sensor_series, sensors
from soilscale.reports.style import named
from soilscale.reports.tables import ablation, accuracy, area_means, baselines, beside_truth, consistency, method, truth
from soilscale.reports.uncertainty import blocked_errors, coverage, interval, station_coverage
from soilscale.reports.upscaling import upscaled, upscaled_errors

__all__ = [
    "SCORES",
    "Context",
    "Link",
    "ablation",
    "accuracy",
    "applicability",
    "area_means",
    "baselines",
    "beside_truth",
    "blocked_errors",
    "comparison",
    "consistency",
    "coverage",
    "figures",
    "insitu",
    "interval",
    "level",
    "method",
    "named",
    "page",
    "sensor_series",
    "sensors",
    "station_coverage",
    "truth",
    "upscaled",
    "upscaled_errors",
]
