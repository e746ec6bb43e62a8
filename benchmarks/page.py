#!/usr/bin/env python
"""Write docs/performance.md and its figure from the results in benchmarks/results.

Run as ``python benchmarks/page.py`` after a benchmark was run with ``--csv benchmarks/results/NAME.csv``; every result
has beside it, in ``machine.txt``, the machine and what else it was doing. Needs nothing but the results.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
FIGURE = ROOT / "docs" / "performance.svg"

INTRODUCTION = """# Performance

All measurements are side by side: soilscale and its rival take turns in one run, so that other load on the machine
affects both. A figure is the median, with minimum and maximum in brackets. CPU seconds are steadier than wall-clock
seconds. `python benchmarks/page.py` writes this page from the CSV files in `benchmarks/results`.

{machine}

![Times as long as ours](performance.svg)
"""


def spread(values: pd.Series[float], form: str = ".3g") -> str:
    """Median, minimum and maximum."""
    told = [f"{value:{form}}" for value in (values.median(), values.min(), values.max())]
    return told[0] if len(set(told)) == 1 else f"{told[0]} ({told[1]} to {told[2]})"


def table(frame: pd.DataFrame) -> str:
    """Table in Markdown."""
    lines = [list(frame.columns), ["---"] * len(frame.columns), *frame.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def prediction(found: pd.DataFrame) -> tuple[str, dict[str, float]]:
    """Forests over the tiles of a map."""
    rows = pd.DataFrame(
        {
            "case": found["case"],
            "rows": found["rows"],
            "scikit-learn, s": found["scikit-learn s"].map("{:.3f}".format),
            "soilscale, s": found["soilscale s"].map("{:.3f}".format),
            "ratio": found["ratio"].map("{:.1f}".format),
            "ratio of CPU": found["ratio of processors"].map("{:.1f}".format),
            "largest difference": found["greatest difference"].map("{:.1g}".format),
        }
    )
    tiles = found[found["case"].str.contains("tile")]
    return table(rows), {"forest prediction: scikit-learn (CPU)": tiles["ratio of processors"].median()}


def ways(found: pd.DataFrame) -> str:
    """Seconds of each way of the map stage."""
    rows = [
        {
            "way": way,
            "workers": part["workers"].iloc[0],
            "wall, s": spread(part["wall_s"]),
            "CPU, s": spread(part["cpu_s"]),
            "largest difference": f"{part['difference'].max():.1g}",
        }
        for way, part in found.groupby("way", sort=False)
    ]
    return table(pd.DataFrame(rows))


def maps(found: pd.DataFrame) -> tuple[str, dict[str, float]]:
    """Whole map stage beside a script."""
    columns = {name: found.pivot_table(index="repetition", columns="way", values=name) for name in ("wall_s", "cpu_s")}
    ratios = {name: values["script"] / values["soilscale"] for name, values in columns.items()}
    told = f"The script takes {spread(ratios['wall_s'])} times as long, and {spread(ratios['cpu_s'])} times the CPU. "
    return f"{ways(found)}\n\n{told}{second_worker(found)}", {
        "map stage: xarray + ParallelPostFit (CPU)": ratios["cpu_s"].median()
    }


def efficiency(found: pd.DataFrame) -> tuple[str, dict[str, float]]:
    """Whole map stage of a longer period on one worker and on two."""
    return f"{ways(found)}\n\n{second_worker(found)}", {}


def second_worker(found: pd.DataFrame) -> str:
    """Efficiency of a second worker."""
    wall = found.pivot_table(index="repetition", columns="way", values="wall_s")
    share = wall["soilscale, 1 worker"] / (2 * wall["soilscale"])
    return f"Efficiency of the second worker: {spread(share, '.2f')}."


def cube(found: pd.DataFrame) -> tuple[str, dict[str, float]]:
    """Months of a source on a tile."""
    rivals = found[found["way"].isin(["stackstac", "odc-stac"])]
    bars = {f"cube: {way}": part["times ours"].median() for way, part in rivals.groupby("way", sort=False)}
    return table(found.astype(object).where(found.notna(), "")), bars


def memory(found: pd.DataFrame) -> tuple[str, dict[str, float]]:
    """Peak memory of a process by stage and area."""
    first = found[found["tile"] == found["tile"].iloc[0]]
    peaks = first.pivot_table("peak_mib", "stage", "area", "median", sort=False)
    rows = peaks.map("{:.0f}".format)
    rows.columns = [f"{area} tiles, MiB" for area in peaks.columns]
    rows["growth"] = (peaks.iloc[:, -1] / peaks.iloc[:, 0]).map("{:.2f}".format)
    return table(rows.reset_index()), {}


def report(found: pd.DataFrame) -> tuple[str, dict[str, float]]:
    """What the report reads of the maps."""
    millions = found["cells"] / 1e6
    rows = [
        {
            "way": way,
            "tiles": tiles,
            "million cells and months": f"{millions[part.index].iloc[0]:.1f}",
            "CPU, s": spread(part["cpu_s"]),
            "memory, MiB": spread(part["mib"]),
        }
        for (way, tiles), part in found.groupby(["way", "tiles"], sort=False)
    ]
    seconds = found.pivot_table(index=["tiles", "repetition"], columns="way", values="cpu_s")
    shares = seconds["passes"] / seconds["collect"]
    return f"{table(pd.DataFrame(rows))}\n\nThe runner takes {spread(shares)} times less CPU than before.", {}


def fits(found: pd.DataFrame) -> tuple[str, dict[str, float]]:
    """Fits of the tables of larger and larger areas."""
    rows = found.assign(
        rows=found["rows"].map("{:,}".format),
        start_mib=found["start_mib"].map("{:.0f}".format),
        peak_mib=found["peak_mib"].map("{:.0f}".format),
        cpu_s=found["cpu_s"].map("{:.0f}".format),
    )
    names = {"rows": "rows of the season", "start_mib": "before, MiB", "peak_mib": "peak, MiB", "cpu_s": "CPU, s"}
    return table(rows.rename(columns=names)), {}


def scheduling(found: pd.DataFrame) -> tuple[str, dict[str, float]]:
    """Units sent through a cluster."""
    shown = {
        "runner_ms": "runner, CPU ms per unit",
        "scheduler_ms": "scheduler, CPU ms per unit",
        "runner_mib": "runner, MiB",
        "scheduler_mib": "scheduler, MiB",
    }
    rows = pd.DataFrame(
        [
            {"way": way, "units": f"{units:,}"} | {text: spread(part[name]) for name, text in shown.items()}
            for (way, units), part in found.groupby(["way", "units"], sort=False)
        ]
    )
    cost = (found["runner_ms"] + found["scheduler_ms"]).groupby([found["units"], found["way"]]).median()
    least = found["units"].min()
    return table(rows), {
        "scheduling: one task for each unit (CPU)": cost[least, "all at once"] / cost[least, "soilscale"]
    }


def resume(found: pd.DataFrame) -> tuple[str, dict[str, float]]:
    """Runs that resume."""
    rows = pd.DataFrame(
        [
            {
                "case": case,
                "wall, s": spread(part["wall_s"]),
                "fresh run, s": spread(part["fresh_s"]),
                "share": spread(100 * part["share"]) + " %",
                "units redone": f"{part['redone'].iloc[0]} of {part['units'].iloc[0]}",
            }
            for case, part in found.groupby("case", sort=False)
        ]
    )
    whole = found[found["case"] == "complete"]
    return table(rows), {"a complete run again: fresh run": (1 / whole["share"]).median()}


Section = Callable[[pd.DataFrame], tuple[str, dict[str, float]]]

SECTIONS: Mapping[str, tuple[str, Section]] = {
    "prediction": ("Forest prediction: a month's tile, every cell, by a forest of 500 trees", prediction),
    "maps": ("Map stage: predict, conserve, fold into seasons, write Zarr and COGs", maps),
    "efficiency": ("Map stage of eight years: planning and the ends of stages weigh less", efficiency),
    "cube": ("Cube: months of a source on a tile, from COGs on a disk and behind a slow server", cube),
    "memory": ("Memory: peak resident memory of a worker in a stage, and of each command's process", memory),
    "fits": ("Fits of a nation's table, 500 trees, each in a separate process", fits),
    "report": ("Report: summaries of the maps, compared with a runner that reads every map for each figure", report),
    "scheduling": (
        "Scheduling: units of the plan of a nation's cube, which only sleep and write their markers",
        scheduling,
    ),
    "resume": ("Resuming: the same command again, compared with a fresh run", resume),
}
"""Results -> what they measure, and what makes a table and bars of them."""

OPTIONS = {"efficiency": 'maps.py --years 8 --ways "soilscale, 1 worker" soilscale'}
"""Results -> benchmark and options that made them, where that is not the benchmark of their name."""


def text(results: Path = RESULTS) -> tuple[str, dict[str, float]]:
    """Text of the page, and how many times as long as ours each rival takes."""
    parts, bars = [INTRODUCTION.format(machine=(results / "machine.txt").read_text(encoding="utf-8").strip())], {}
    for name, (title, section) in SECTIONS.items():
        if (results / f"{name}.csv").exists():
            told, own = section(pd.read_csv(results / f"{name}.csv"))
            bars |= own
            command = f"python benchmarks/{OPTIONS.get(name, f'{name}.py')}"
            parts.append(f"## {title}\n\nMade by `{command}`.\n\n{told}\n")
    return "\n".join(parts), bars


def draw(bars: Mapping[str, float]) -> Figure:
    """Bars of how many times as long as ours each rival takes."""
    figure = Figure(figsize=(7, 0.5 + 0.4 * len(bars)), layout="constrained")
    axes = figure.subplots()
    names = list(reversed(bars))
    drawn = axes.barh(names, [bars[name] for name in names], color="#4292c6")
    axes.bar_label(drawn, fmt="%.1f", padding=3)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlabel("times as long as soilscale")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Write the page and the figure."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    page, bars = text()
    PAGE.write_text(page, encoding="utf-8")
    with mpl.rc_context({"svg.hashsalt": "soilscale", "svg.fonttype": "none"}):
        draw(bars).savefig(FIGURE, metadata={"Date": None})


if __name__ == "__main__":
    main()
