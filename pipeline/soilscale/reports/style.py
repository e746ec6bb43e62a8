"""The style of all figures: size, type and colour-blind safe colours; drawn to reproducible PNG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal, ParamSpec

import numpy as np

from soilscale.seasons import ALL, Seasons

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

UNIT = "m³ m⁻³"
"""Of soil moisture."""

WIDTH, TALLEST = 7.2, 9.4
"""Width of a figure and its greatest height, inches: a page of A4 between its margins."""

DPI = 200

ANOMALY = "BrBG"
"""Scale of differences from the usual: brown drier, blue-green wetter."""

SOIL_MOISTURE, ERROR, HEIGHT = "viridis_r", "cividis", "cividis"
"""Scales of colours: soil moisture from dry (light) to wet (dark), errors, elevation. Lightness falls or rises evenly,
so that they read in grey and without red and green."""

INK, MUTED, LINE, MISSING = "#1f2328", "#57606a", "#b4bac1", "#e6e6e6"
BLUE, PALE, GREY, DARK, VERMILION = "#0072B2", "#9ecae1", "#c4c9cf", "#767e87", "#D55E00"
SERIES = (BLUE, "#E69F00", "#009E73", "#CC79A7", "#56B4E9", VERMILION, "#F0E442", "#000000")
"""Colours of Okabe & Ito (2008), which the colour-blind tell apart."""

ABBREVIATIONS: Mapping[str, str] = {
    "svm": "SVM",
    "knn": "KNN",
    "xgboost": "XGBoost",
    "ndvi": "NDVI",
    "evi": "EVI",
    "lst": "LST",
    "et": "ET",
}
"""Parts of names that are written otherwise."""

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.edgecolor": LINE,
    "axes.linewidth": 0.7,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.color": "#e6e8eb",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "date.converter": "concise",
}

P = ParamSpec("P")


def png(draw: Callable[P, Figure]) -> Callable[P, bytes]:
    """Make a function that draws a figure one that returns it as PNG, in the report's style and without a date."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> bytes:
        # Only where a figure is drawn: the page takes words and colours from here, and need not wait for Matplotlib.
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from PIL import Image

        with mpl.rc_context(STYLE):
            figure = draw(*args, **kwargs)
            # Before the layout, which measures text in pixels of the figure's resolution.
            figure.set_dpi(DPI)
            figure.set_facecolor("white")
            engine = figure.get_layout_engine()
            if engine is not None:  # or else drawing would lay it out once more
                engine.execute(figure)
                figure.set_layout_engine("none")
            # Not by `savefig`, which goes through the whole figure twice, and names Matplotlib's version, by which the
            # same figure would have other bytes after an upgrade.
            surface: Any = FigureCanvasAgg(figure)
            surface.draw()
            image = Image.fromarray(np.asarray(surface.buffer_rgba())).convert("RGB")
            buffer = BytesIO()
            image.save(buffer, "PNG", dpi=(DPI, DPI))
        return buffer.getvalue()

    return drawn


def canvas(height: float, layout: Literal["constrained", "compressed"] = "constrained") -> Figure:
    """Empty figure of the report's width that needs no window; maps, whose shape is fixed, ask to be compressed.

    Parameters
    ----------
    height
        Inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # Not by pyplot, which keeps every figure alive and is not made for threads.
    figure = Figure(figsize=(WIDTH, min(height, TALLEST)), layout=layout)
    FigureCanvasAgg(figure)
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(w_pad=0.06, h_pad=0.05)
    return figure


def words(name: str) -> str:
    """Name of a season, feature or algorithm as a reader says it: ``land_cover_3`` -> land cover 3, ``svm`` -> SVM."""
    if name == ALL:
        return "all seasons"
    return " ".join(ABBREVIATIONS.get(word, word) for word in name.split("_"))


def named(tables: Mapping[str, pd.DataFrame], labels: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """Tables with features called as a reader knows them; the files keep the names of the columns.

    Parameters
    ----------
    tables
        With a column ``feature``, or ``features`` with names between spaces, or neither.
    labels
        Feature -> what a reader calls it, where that is not its name.
    """
    renamed = dict(tables)
    for name, table in tables.items():
        if "feature" in table:
            renamed[name] = table.assign(feature=[labels.get(str(feature), feature) for feature in table["feature"]])
        elif "features" in table:
            lists = [
                ", ".join(labels.get(feature, feature) for feature in str(names).split()) for names in table["features"]
            ]
            renamed[name] = table.assign(features=lists)
    return renamed


def dated(dates: Sequence[np.datetime64], season_of: Seasons) -> list[str]:
    """Season and month of dates, in words."""
    return [f"{words(season_of.name(date))}, {date.astype('datetime64[M]')}" for date in dates]


def colours(names: Sequence[str]) -> dict[str, str]:
    """Colour of each name, in their order; they begin anew after the last."""
    return {name: SERIES[i % len(SERIES)] for i, name in enumerate(names)}
