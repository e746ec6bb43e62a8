"""Figures of the report, each a function from data to the bytes of a PNG image."""

from soilscale.reports.figures.charts import accuracy_bars, scatter, skill_bars, time_series
from soilscale.reports.figures.factors import ablation, comparison, importance
from soilscale.reports.figures.harmonised import sensors
from soilscale.reports.figures.maps import Area, maps_side_by_side, representative, rmse_maps, study_area
from soilscale.reports.figures.stations import station_scatter, station_series

__all__ = [
    "Area",
    "ablation",
    "accuracy_bars",
    "comparison",
    "importance",
    "maps_side_by_side",
    "representative",
    "rmse_maps",
    "scatter",
    "sensors",
    "skill_bars",
    "station_scatter",
    "station_series",
    "study_area",
    "time_series",
]
