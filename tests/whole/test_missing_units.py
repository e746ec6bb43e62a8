"""Stages in sequence go on past missing units, up to a share of them, and the last one tells the status."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
import yaml

import charts
from commands import edit, invoke, sparse_world
from soilscale.cli import execution
from soilscale.engine.units import Outcome as UnitOutcome
from soilscale.engine.units import Receipt
from soilscale.errors import DataError, IncompleteError, SoilscaleError
from soilscale.stages.context import Outcome, check_share

NDVI = "catalog/modis-13A3/MOD13A3.A2004122.h26v05.061/1_km_monthly_NDVI.tif"
STAGES = ["search", "cube", "samples", "train", "map", "report"]


def receipts(*outcomes: UnitOutcome) -> list[Receipt]:
    return [Receipt("cube", f"ndvi/2004-{n:02}_r000c000", said, "why", 1.0) for n, said in enumerate(outcomes, 1)]


@pytest.mark.parametrize(
    ("outcomes", "total", "limit", "error"),
    [
        (["failed"], 20, 0.05, None),
        (["failed"], 19, 0.05, DataError),
        (["failed", "killed"], 20, 0.05, IncompleteError),
        (["failed", "killed"], 40, 0.05, None),
        (["failed"] * 20, 20, None, None),
        (["failed"], 1000, 0.0, DataError),
        (["failed"] * 20, 20, 1.0, None),
        ([], 0, 0.0, None),
    ],
)
def test_a_stage_stops_above_a_share_of_missing_units(
    outcomes: list[UnitOutcome], total: int, limit: float | None, error: type[SoilscaleError] | None
) -> None:
    missing = receipts(*outcomes)
    if error is None:
        check_share(missing, total, limit)
        return
    with pytest.raises(error, match=rf"^{len(missing)} of {total} units of stage cube .* cube ndvi/2004-01_r000c000"):
        check_share(missing, total, limit)


@pytest.mark.parametrize(("outcome", "status"), [("failed", 65), ("killed", 75)])
def test_missing_units_are_told_and_tolerated(
    outcome: UnitOutcome, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = Outcome([], receipts(outcome))
    execution.conclude(ended, tolerate=True)  # returns, where it would leave with a status
    assert "1 units are missing because" in capsys.readouterr().err
    with pytest.raises(typer.Exit) as left:
        execution.conclude(ended)
    assert left.value.exit_code == status


@pytest.mark.slow
def test_the_rendered_stages_pass_a_bad_scene_and_the_last_one_tells_of_it(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = {"every": ["month"], "algorithm": "random_forest", "interval": None, "applicability": False}
    seasons = {"year": list(range(1, 13))}
    world = edit(sparse_world(tmp_path), models__ablation=False, seasons=seasons, maps=quick)
    scene = tmp_path / NDVI
    scene.write_bytes(scene.read_bytes()[: scene.stat().st_size // 2])
    content = yaml.safe_load(world.read_text())
    content["output"] = "/data/run"
    content["catalogs"] = {name: one | {"url": str(tmp_path / one["url"])} for name, one in content["catalogs"].items()}
    content["validation"] = {}
    values = {
        "config": content,
        "data": {"existingClaim": "world", "mountPath": "/data"},
        "mode": "external",
        "external": {"scheduler": cluster},
        "stages": {"separate": True},
        "metrics": {"enabled": False},
    }
    rendered = charts.render(values=values)
    pod = charts.one(rendered, "Job")["spec"]["template"]["spec"]
    files, _ = charts.kind(rendered, "ConfigMap")
    config = tmp_path / "config.yaml"
    config.write_text(files["data"]["config.yaml"].replace("/data/run", str(tmp_path / "run")))
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster)
    told = {}
    for container in charts.containers(pod):
        stage, _, *options = container["args"]
        if stage == "cube":
            stopped = invoke(stage, config, *options, "-o", "limits.missing=0")
            assert stopped.status == 65
            assert "more than limits.missing (0.0%), so no stage follows; cube ndvi/2004-05_r000c000" in stopped.err
            assert "1_km_monthly_NDVI.tif" in stopped.err
        told[stage] = invoke(stage, config, *options)
    assert list(told) == STAGES
    assert [one.status for one in told.values()] == [0, 0, 0, 0, 0, 65], {name: one.err for name, one in told.items()}
    for stage in ("cube", "report"):
        assert "cube ndvi/2004-05_r000c000" in told[stage].err
        assert "1 units are missing because their input could not be used" in told[stage].err
    assert "tolerated; the next stage follows" in told["map"].err
    assert (tmp_path / "run" / "report" / "index.html").exists()
