from .charts import accuracy_bars, scatter, skill_bars, time_series
from .effects import effects
from .factors import ablation, comparison, importance
from .harmonised import sensors
from .maps import Area, in_a_row, maps_side_by_side, rmse_maps, study_area
from .stations import station_scatter, station_series

__all__ = [
    "Area",
    "ablation",
    "accuracy_bars",
    "comparison",
    "effects",
    "importance",
    "in_a_row",
    "maps_side_by_side",
    "rmse_maps",
    "scatter",
    "sensors",
    "skill_bars",
    "station_scatter",
    "station_series",
    "study_area",
    "time_series",
]
