"""Make the pictures of the documentation from a run of the demo: `make pictures`, after `make demo`.

They are kept beside the pages, so that a build of the documentation needs no run.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import xarray as xr
from PIL import Image

HERE = Path(__file__).parent
MONTH = "2005-07"
GALLERY = ("maps", "effects", "truth", "rmse_maps", "stations", "station_series", "upscaled", "study_area")
"""Figures of the report that the gallery shows."""

WIDTH = 1100
"""Pixels: twice the width at which the pages show a picture on most screens would only make them slow."""


def save(picture: Image.Image, name: str) -> None:
    """Write a picture with 128 colours, which no eye tells from the original in a figure, at a quarter of its bytes."""
    height = round(picture.height * WIDTH / picture.width)
    small = picture.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
    (HERE / "images").mkdir(exist_ok=True)
    small.quantize(128).save(HERE / "images" / f"{name}.png", optimize=True)


def comparison(demo: Path) -> Image.Image:
    """Observation, map and truth of one month side by side."""
    month = xr.open_zarr(demo / "run" / "maps.zarr", group="month", consolidated=False)
    coarse = xr.open_zarr(demo / "run" / "cube.zarr", group="coarse", consolidated=False)
    truth = xr.open_zarr(demo / "truth.zarr", group="month", consolidated=False)
    panels = {"satellite, 25 km": coarse, "soilscale, 1 km": month, "truth, 1 km": truth}
    layers = {title: store["soil_moisture"].sel(time=MONTH).squeeze().load() for title, store in panels.items()}
    low, high = layers["truth, 1 km"].quantile([0.01, 0.99]).to_numpy()
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.7), layout="constrained")
    for axis, (title, layer) in zip(axes, layers.items(), strict=True):
        image = layer.plot.imshow(ax=axis, vmin=low, vmax=high, cmap="viridis_r", add_colorbar=False)
        axis.set(title=title, xlabel="", ylabel="", xticks=[], yticks=[], aspect="equal")
    figure.colorbar(image, ax=axes, label="soil moisture, m³ m⁻³", shrink=0.85, aspect=25)
    content = io.BytesIO()
    figure.savefig(content, dpi=150)
    return Image.open(content)


def main() -> None:
    """Make every picture from the demo whose folder is named on the command line."""
    mpl.use("Agg")
    demo = Path(sys.argv[1])
    save(comparison(demo), "from-25-km-to-1-km")
    for name in GALLERY:
        save(Image.open(demo / "run" / "report" / f"{name}.png"), name)


if __name__ == "__main__":
    main()
