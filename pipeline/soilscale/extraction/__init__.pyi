from .climatology import MIN_YEARS
from .places import Place, from_points, from_polygons
from .series import COLUMNS, as_csv, extract, lattice, write

__all__ = ["COLUMNS", "MIN_YEARS", "Place", "as_csv", "extract", "from_points", "from_polygons", "lattice", "write"]
