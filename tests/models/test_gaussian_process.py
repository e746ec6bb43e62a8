"""Area-to-point regression: block means of the basis, the covariance, and an additive world learned from its cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from soilscale import kernels, models
from soilscale.errors import ConfigurationError, DataError
from soilscale.models import GaussianProcess, Job, area, basis, effects, joint, posterior
from soilscale.models.area import Areas, Variances
from soilscale.models.effects import Covariance
from soilscale.schema import MAP

Array = NDArray[np.float64]

FEATURES = ("lst", "sand", "forest")
RATIO, CELLS, MONTHS = 5, 9, 12
SIDE, TOP, LEFT = 25.0, 1000.0, 500.0
SEASONS = ("cold", "warm")
RANDOM = Job("all", "gaussian_process", "seasonal", "random", None)
PARAMETERS = {"rows": 350, "iterations": 40}


@dataclass(frozen=True)
class World:
    """An additive world whose fine truth is known, and what is observed of it."""

    features: NDArray[np.float32]
    """Shape ``(months, y, x, features)``."""
    truth: Array
    rows: joint.Rows
    parts: list[pd.DataFrame]
    """Tables of the basis and of a random pixel of each cell."""
    variances: Variances
    bands: Array

    @property
    def observed(self) -> Array:
        """The observation on the coarse grid, shape ``(months, rows, columns)``."""
        return self.rows.observed.reshape(MONTHS, CELLS, CELLS)


def months() -> NDArray[np.datetime64]:
    return np.arange("2004-01", MONTHS, dtype="datetime64[M]")


def season_of() -> NDArray[np.intp]:
    return (np.arange(MONTHS) % 12 // 6).astype(np.intp)


def rough(rng: np.random.Generator, shape: tuple[int, ...], length: float) -> Array:
    """Smooth noise of standard deviation 1 over the last two axes, of some length in pixels."""
    n = shape[-1]
    wave = np.fft.fftfreq(n)
    low = np.exp(-2 * (np.pi * length) ** 2 * (wave[:, None] ** 2 + wave**2))
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal(shape)) * low).real
    scaled: Array = field / field.std(axis=(-2, -1), keepdims=True)
    return scaled


@pytest.fixture(scope="module")
def world() -> World:
    """81 cells in 12 months: a bent effect of temperature, a straight one of sand by season, a field, a class."""
    rng = np.random.default_rng(3)
    n = RATIO * CELLS
    lst = 290 + 8 * np.sin(np.arange(MONTHS) / 2)[:, None, None] + 5 * rough(rng, (MONTHS, n, n), 2)
    sand = np.broadcast_to(40 + 10 * rough(rng, (n, n), 3), lst.shape)
    forest = np.broadcast_to((rough(rng, (n, n), 3) > 0.5).astype(float), lst.shape)
    hidden = 0.03 * rough(rng, (n, n), 8)
    slope = np.where(season_of() == 0, -0.002, -0.003)[:, None, None]
    truth = 0.3 - 0.0006 * np.maximum(lst - 290, 0) ** 1.5 + slope * (sand - 40) + 0.03 * forest + hidden
    features = np.stack([lst, sand, forest], axis=-1).astype("float32")
    observed = np.stack([kernels.block_mean(month, RATIO)[0] for month in truth])
    observed += 0.001 * rng.standard_normal(observed.shape)
    known = basis.measure(features.reshape(-1, 3), [False, False, True])
    cells = features.reshape(MONTHS, CELLS, RATIO, CELLS, RATIO, 3).swapaxes(2, 3).reshape(-1, RATIO**2, 3)
    month, row, column = (axis.ravel() for axis in np.indices(observed.shape))
    keys = {
        "time": months().astype("datetime64[ns]")[month],
        "y": TOP - row * SIDE,
        "x": LEFT + column * SIDE,
    }
    names = np.array(SEASONS)
    table = pd.DataFrame(
        keys
        | {"season": names[season_of()[month]], "split": np.where(rng.random(len(month)) < 0.7, "train", "validation")}
        | {"fold": ((row // 3 + column // 3) % 3).astype("int8")}
        | {name: cells[:, :, place].mean(axis=1) for place, name in enumerate(FEATURES)}
        | {MAP: observed.ravel().astype("float32")}
    )
    ground = joint.Ground(FEATURES, known, SEASONS, (TOP, LEFT, SIDE))
    drawn = joint.draw_pixels(FEATURES, cells, RATIO, rng)
    part = pd.DataFrame(keys | joint.tabulate(known, FEATURES, cells) | drawn)
    parts = [part[::2], part[1::2]]
    rows = joint.join(table.sample(frac=1, random_state=1), parts, ground)
    variances = GaussianProcess(**PARAMETERS, random_state=0).variances(rows.areas, rows.observed)
    bands = GaussianProcess(**PARAMETERS, random_state=0).bands(rows.areas, variances, known)
    return World(features, truth, rows, parts, variances, bands)


@pytest.fixture(scope="module")
def learned(world: World) -> tuple[dict[str, GaussianProcess], pd.DataFrame]:
    """Models and held-out predictions of the random job."""
    return joint.learn(RANDOM, world.rows, world.variances, world.bands, PARAMETERS, SEASONS)


def pixels() -> tuple[Array, Array]:
    """Centres of the rows and columns of pixels."""
    step = SIDE / RATIO
    away = (np.arange(RATIO * CELLS) - (RATIO - 1) / 2) * step
    return TOP - away, LEFT + away


def mapped(world: World, found: dict[str, GaussianProcess], month: int) -> Array:
    """Map of a month by its season's model."""
    model = found[SEASONS[season_of()[month]]]
    here = models.surface(model, months()[[month]], *pixels())
    assert here is not None
    curves: Array = model.predict(world.features[month].reshape(-1, 3)).reshape(here.shape)
    return curves + here


def hats(values: Array, knots: Array) -> Array:
    """Hat functions of values at knots, one knot at a time."""
    return np.stack([np.interp(values, knots, unit) for unit in np.eye(len(knots))], axis=-1)


# The basis


def test_the_basis_of_a_cell_is_the_mean_of_its_pixels_basis_and_not_the_basis_of_their_mean() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(300, 10, (6, 25, 1))
    known = basis.measure(values.reshape(-1, 1), [False])
    line, bent, _ = basis.block_means(known, values)
    z = (values[..., 0] - known.mean) / known.sd
    knots = np.linspace(known.low[0], known.high[0], known.knots)
    np.testing.assert_allclose(line[:, 0], z.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(bent[:, 0], hats(z, knots).mean(axis=1) @ basis.bends(known.knots), atol=1e-12)
    assert np.abs(bent[:, 0] - hats(z.mean(axis=1), knots) @ basis.bends(known.knots)).max() > 0.05


def test_missing_pixels_are_left_out_of_the_mean_and_a_cell_without_any_has_none() -> None:
    known = basis.measure(np.arange(100.0).reshape(-1, 1), [False])
    pixels = np.array([[10.0, 30.0, np.nan], [np.nan, np.nan, np.nan]])[..., None]
    line, bent, _ = basis.block_means(known, pixels)
    alone, bent_alone, _ = basis.block_means(known, pixels[:1, :2])
    np.testing.assert_allclose(line[0], alone[0])
    np.testing.assert_allclose(bent[0], bent_alone[0])
    assert np.isnan(line[1]).all()
    assert np.isnan(bent[1]).all()


def test_a_product_is_the_mean_of_the_pixels_products_within_the_knots() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal([300, 20, 0.5], [10, 5, 0.1], (6, 25, 3))
    known = basis.measure(values.reshape(-1, 3), [False, False, True])
    values[0, 0] = [1e6, 20, 0.5]
    values[0, 1, 0] = np.nan
    _, _, paired = basis.block_means(known, values)
    z = np.clip((values - known.mean) / known.sd, known.low, known.high)[..., :2].prod(axis=-1)
    np.testing.assert_allclose(paired, np.nanmean(z, axis=1)[:, None], atol=1e-12)


def test_a_curve_holds_no_line_and_a_share_no_curve() -> None:
    factor = basis.bends(11)
    line = np.column_stack([np.ones(11), np.arange(11)])
    np.testing.assert_allclose(line.T @ factor, 0, atol=1e-12)
    known = basis.measure(np.random.default_rng(0).random((50, 3)) * [1, 0, 1], [False, False, True])
    assert known.curved.tolist() == [True, False, False]
    np.testing.assert_array_equal(known.sd[1:], 1)
    assert known.mean[2] == 0


@pytest.mark.parametrize(("ratio", "expected"), [(50, [*range(1, 51, 2)]), (25, [*range(25)]), (3, [0, 1, 2])])
def test_pixels_that_stand_for_a_cell_are_evenly_apart(ratio: int, expected: list[int]) -> None:
    assert joint.pixels(ratio).tolist() == expected


# The covariance


def slow_covariance(areas: Areas, variances: Variances, lengths: tuple[float, ...]) -> Array:
    """Covariance of every pair of rows, term by term."""
    season, month = (number[:, None] == number for number in (areas.season, areas.month))
    total = variances.intercept[0] * season + variances.intercept[1] * month
    for place, (shared, own) in enumerate(variances.line):
        total = total + np.outer(areas.line[:, place], areas.line[:, place]) * (shared + own * season)
    for place, (shared, own) in enumerate(variances.curve):
        total = total + areas.bent[:, place] @ areas.bent[:, place].T * (shared + own * season)
    total = total + areas.paired @ areas.paired.T * (variances.pair[0] + variances.pair[1] * season)
    away = [
        (number[:, None] + area.WITHIN)[:, None, :, None] - (number[:, None] + area.WITHIN)[None, :, None, :]
        for number in (areas.row, areas.column)
    ]
    for length, (ever, own, monthly) in zip(lengths, variances.field, strict=True):
        down, across = (np.exp(-0.5 * (part / length) ** 2).mean(axis=(2, 3)) for part in away)
        total = total + down * across * (ever + own * season + monthly * month)
    same = (areas.row[:, None] == areas.row) & (areas.column[:, None] == areas.column)
    return np.asarray(total + variances.cell * same, float)


@pytest.fixture(scope="module")
def some(world: World) -> Areas:
    """Some rows, of places and months that leave gaps."""
    return world.rows.areas.take(np.sort(np.random.default_rng(5).choice(len(world.rows.table), 120, replace=False)))


def test_the_covariance_is_that_of_every_term_pair_by_pair(world: World, some: Areas) -> None:
    rng = np.random.default_rng(1)
    variances = Variances.of(rng.random(len(world.variances.vector)), 3, 2, 3)
    covariance, weights = Covariance(some, variances, area.LENGTHS), rng.standard_normal(len(some))
    expected = slow_covariance(some, variances, area.LENGTHS) @ weights
    np.testing.assert_allclose(covariance.evaluate(covariance.effects(weights)), expected, rtol=1e-5, atol=1e-5)


def test_weights_solve_the_system_of_the_rows_that_are_learned_from(world: World, some: Areas) -> None:
    z = np.random.default_rng(2).standard_normal(len(some))
    use = np.arange(len(some)) % 3 > 0
    found = Covariance(some, world.variances, area.LENGTHS).solve(z, use)
    total = slow_covariance(some, world.variances, area.LENGTHS) + world.variances.noise * np.eye(len(some))
    np.testing.assert_array_equal(found[~use], 0)
    scale = np.abs(total[np.ix_(use, use)] @ found[use] - z[use]).max()
    assert scale < 1e-3


def test_a_system_that_takes_too_many_steps_is_not_taken_for_solved(
    world: World, some: Areas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects, "ITERATIONS", 3)
    with pytest.raises(DataError, match=r"gaussian_process: 120 rows did not converge in 3 steps"):
        Covariance(some, world.variances, area.LENGTHS).solve(
            np.random.default_rng(0).standard_normal(120), np.ones(120, bool)
        )


def test_the_likelihood_is_larger_at_the_variances_that_are_learned_than_beside_them(world: World) -> None:
    def loss(variances: Variances) -> float:
        rows = world.rows.areas
        part = rows.take(np.arange(0, len(rows), 4))
        mean, scale = area.level(world.rows.observed)
        z = (world.rows.observed[::4] - mean) / scale
        total = slow_covariance(part, variances, area.LENGTHS) + variances.noise * np.eye(len(part))
        return float(z @ np.linalg.solve(total, z) + np.linalg.slogdet(total)[1])

    best = loss(world.variances)
    assert best < loss(replace(world.variances, noise=world.variances.noise * 10))
    assert best < loss(replace(world.variances, line=world.variances.line / 100))
    assert best < loss(replace(world.variances, field=world.variances.field / 1000))


# What is learned of a world


def share_of_bilinear(world: World, maps: list[Array]) -> float:
    """RMSE of conserved maps, as a share of bilinear's."""
    errors = []
    for month, values in enumerate(maps):
        conserved, _ = kernels.conserve(values, world.observed[month], RATIO, 0.0, 0.6)
        plain = kernels.bilinear(world.observed[month], RATIO)
        errors.append([((field - world.truth[month]) ** 2).mean() for field in (conserved, plain)])
    own, bilinear = np.mean(errors, axis=0)
    return float(np.sqrt(own / bilinear))


def test_an_additive_world_is_learned_far_better_than_by_bilinear_or_a_trend_with_a_forest(
    world: World, learned: tuple[dict[str, GaussianProcess], pd.DataFrame]
) -> None:
    found, _ = learned
    own = share_of_bilinear(world, [mapped(world, found, month) for month in range(MONTHS)])
    table, maps = world.rows.table, []
    for month, season in enumerate(season_of()):
        rows = table[table["season"] == SEASONS[season]]
        forest = models.find("trend_forest").make({"n_estimators": 20}, 3, 0)
        forest.fit(models.fits.matrix(rows, FEATURES), rows[MAP].to_numpy())
        maps.append(forest.predict(world.features[month].reshape(-1, 3)).reshape(world.truth[month].shape))
    assert own < 0.35
    assert own < 0.7 * share_of_bilinear(world, maps)


def test_the_mean_of_a_cells_pixels_is_what_the_model_makes_of_the_cell(
    world: World, learned: tuple[dict[str, GaussianProcess], pd.DataFrame]
) -> None:
    found, _ = learned
    mean, scale = area.level(world.rows.observed)
    covariance = Covariance(world.rows.areas, replace(world.variances, cell=0.0), area.LENGTHS)
    everything = np.ones(len(world.rows.table), bool)
    whole = Covariance(world.rows.areas, world.variances, area.LENGTHS)
    dual = whole.solve((world.rows.observed - mean) / scale, everything)
    expected = (mean + scale * covariance.evaluate(covariance.effects(dual))).reshape(MONTHS, CELLS, CELLS)
    for month in range(MONTHS):
        cells, _ = kernels.block_mean(mapped(world, found, month), RATIO)
        np.testing.assert_allclose(cells, expected[month], atol=1e-5)


def test_the_effects_are_those_of_the_world_within_their_bands(
    learned: tuple[dict[str, GaussianProcess], pd.DataFrame],
) -> None:
    for season, slope in (("cold", -0.002), ("warm", -0.003)):
        told = {key: np.array(value) for key, value in learned[0][season].effects(FEATURES)["sand"].items()}
        expected = slope * (told["at"] - learned[0][season].mean_[1])
        away = np.abs(told["effect"] - told["effect"].mean() - expected + expected.mean())
        assert (away < 4 * told["sd"].max()).all()
        assert told["sd"].max() < 0.2 * np.ptp(expected)


def test_bands_are_the_posterior_of_the_rows_that_variances_are_learned_from(world: World) -> None:
    areas, known = world.rows.areas.take(np.arange(0, 900, 10)), world.rows.ground.basis
    found = area.bands(areas, world.variances, known, rows=1000, seed=0)
    total = slow_covariance(areas, world.variances, area.LENGTHS) + world.variances.noise * np.eye(len(areas))
    (shared, own), (bend, own_bend) = world.variances.line[1], world.variances.curve[1]
    at, factor = np.linspace(known.low[1], known.high[1], known.knots), basis.bends(known.knots)
    here = areas.season == 1
    cross = np.outer(at, areas.line[:, 1] * (shared + own * here))
    cross += factor @ (areas.bent[:, 1] * (bend + own_bend * here)[:, None]).T
    prior = (shared + own) * np.outer(at, at) + (bend + own_bend) * factor @ factor.T
    expected = np.sqrt(np.diag(prior - cross @ np.linalg.solve(total, cross.T)))
    np.testing.assert_allclose(found[2, 1], expected, rtol=1e-3, atol=1e-6)


# How far pixels are off


@pytest.fixture(scope="module")
def sampled(world: World) -> tuple[Areas, Array, posterior.Points]:
    """Some rows, what they observe, and pixels of a few of them."""
    chosen = np.arange(0, len(world.rows.table), 4)
    keys, names = list(joint.KEYS), joint.pixel_columns(FEATURES)
    values = world.rows.table.iloc[chosen][keys].merge(pd.concat(world.parts), on=keys)[names].to_numpy(float)
    few = np.arange(0, len(chosen), 8)
    points = posterior.Points(few, values[few, :3], values[few, 3], values[few, 4])
    return world.rows.areas.take(chosen), world.rows.observed[chosen], points


def test_a_random_pixel_of_a_cell_has_the_features_of_the_place_where_it_lies(world: World) -> None:
    drawn = pd.concat(world.parts)
    month = ((drawn["time"] - pd.Timestamp("2004-01-01")).dt.days // 28).clip(0, MONTHS - 1)
    row = (TOP - drawn["y"]) / SIDE + drawn["pixel:down"]
    column = (drawn["x"] - LEFT) / SIDE + drawn["pixel:across"]
    places = [np.rint((at + 0.5) * RATIO - 0.5).astype(int) for at in (row, column)]
    here = world.features[month, *places]
    np.testing.assert_array_equal(here, drawn[[f"{name}:pixel" for name in FEATURES]])
    assert drawn.groupby([places[0] % RATIO, places[1] % RATIO]).ngroups == RATIO**2


def test_pixels_spread_as_their_posterior_does_with_and_without_the_row_of_their_cell(
    world: World, sampled: tuple[Areas, Array, posterior.Points]
) -> None:
    areas, y, points = sampled
    found = posterior.spread(areas, y, world.variances, world.rows.ground.basis, points, lengths=area.LENGTHS)
    covariance = slow_covariance(areas, world.variances, area.LENGTHS) + world.variances.noise * np.eye(len(areas))
    line, bent, paired = basis.block_means(world.rows.ground.basis, points.values[:, None])  # noqa: PD011 - of pixels
    mean, scale = area.level(y)
    inverse = np.linalg.inv(covariance)
    dual = inverse @ (y - mean) / scale
    kept = world.variances.noise * dual
    for season in (0, 1):
        variances = []
        for place in np.flatnonzero(areas.season[points.row] == season):
            number = points.row[place]
            pixel = replace(
                areas.take(np.array([number])),
                line=line[[place]],
                bent=bent[[place]],
                paired=paired[[place]],
                row=areas.row[[number]] + points.down[[place]],
                column=areas.column[[number]] + points.across[[place]],
            )
            cross, prior = slow_pixel(pixel, areas, world.variances)
            rest = np.arange(len(areas)) != number
            variances.append(
                [prior - part @ np.linalg.solve(whole, part)
                 for part, whole in ((cross, covariance), (cross[rest], covariance[np.ix_(rest, rest)]))]
            )  # fmt: skip
        seen, unseen = posterior.TRUSTED * np.mean(variances, axis=0)
        residual = (kept[areas.season == season] ** 2).mean()
        assert found.scale == scale
        assert found.observed[season] == pytest.approx(seen + residual, rel=2e-4)
        assert found.predicted[season] == pytest.approx(max(unseen, seen + residual), rel=2e-4)
        assert unseen > seen


def test_intervals_widen_by_detail_that_only_cells_show(
    world: World, sampled: tuple[Areas, Array, posterior.Points]
) -> None:
    areas, y, points = sampled
    ground, cells = world.rows.ground.basis, areas.shape
    # The same in every month, and unlike in neighbours: no feature and no smooth field makes such effects.
    effect = 0.02 * np.random.default_rng(5).standard_normal(cells)[areas.row, areas.column]
    plain, rough = (
        posterior.spread(areas, values, world.variances, ground, points, lengths=area.LENGTHS)
        for values in (y, y + effect)
    )
    deviations = [found.scale * np.sqrt(found.detail.weight @ found.detail.variance) for found in (plain, rough)]
    assert deviations[1] > 2 * deviations[0]
    assert (rough.half_widths(0.9) > plain.half_widths(0.9) + 0.5 * deviations[1]).all()


def slow_pixel(pixel: Areas, areas: Areas, variances: Variances) -> tuple[Array, float]:
    """Covariance of a pixel and every row, and the pixel's own variance, term by term."""
    season, month = pixel.season[0] == areas.season, pixel.month[0] == areas.month
    cross, prior = variances.intercept @ [season, month], variances.intercept.sum()
    for (shared, seasonal), own, of_rows in zip(variances.line, pixel.line[0], areas.line.T, strict=True):
        cross = cross + own * of_rows * (shared + seasonal * season)
        prior += own**2 * (shared + seasonal)
    for number, (shared, seasonal) in enumerate(variances.curve):
        own = pixel.bent[0, number]
        cross = cross + areas.bent[:, number] @ own * (shared + seasonal * season)
        prior += own @ own * (shared + seasonal)
    cross = cross + areas.paired @ pixel.paired[0] * (variances.pair[0] + variances.pair[1] * season)
    prior += pixel.paired[0] @ pixel.paired[0] * variances.pair.sum()
    for length, (of_all, of_season, of_month) in zip(area.LENGTHS, variances.field, strict=True):
        place = 1.0
        for at, cells in ((pixel.row[0], areas.row), (pixel.column[0], areas.column)):
            place = place * np.exp(-0.5 * ((at - cells[:, None] - area.WITHIN) / length) ** 2).mean(axis=1)
        cross = cross + place * (of_all + of_season * season + of_month * month)
        prior += of_all + of_season + of_month
    same = (np.rint(pixel.row[0]) == areas.row) & (np.rint(pixel.column[0]) == areas.column)
    return cross + variances.cell * same, prior + variances.cell


def test_intervals_hold_their_share_of_the_truth(
    world: World, learned: tuple[dict[str, GaussianProcess], pd.DataFrame]
) -> None:
    halves = joint.spread(world.rows, world.parts, world.variances, share=0.9, lengths=area.LENGTHS, seed=0)
    for number, season in enumerate(SEASONS):
        within = []
        for month in np.flatnonzero(season_of() == number):
            prediction = mapped(world, learned[0], int(month))
            conserved, _ = kernels.conserve(prediction, world.observed[month], RATIO, 0.0, 1.0)
            within.append(np.abs(conserved - world.truth[month]) <= halves[season][0])
        assert 0.8 < np.mean(within) < 0.97
        assert halves[season][1] >= halves[season][0]


def test_a_season_without_a_pixel_has_no_interval(world: World) -> None:
    warm = world.rows.table.index[world.rows.table["season"] == "warm"]
    lost = [part.assign(**{"lst:pixel": part["lst:pixel"].where(part["time"].dt.month <= 6)}) for part in world.parts]
    assert len(warm)
    halves = joint.spread(world.rows, lost, world.variances, share=0.9, lengths=area.LENGTHS, seed=0)
    assert list(halves) == ["cold"]


def test_what_a_held_out_row_observes_does_not_reach_its_prediction(
    world: World, learned: tuple[dict[str, GaussianProcess], pd.DataFrame]
) -> None:
    table = world.rows.table.copy()
    held_out = (table["split"] == "validation").to_numpy()
    table.loc[held_out, MAP] += 0.1
    _, other = joint.learn(RANDOM, replace(world.rows, table=table), world.variances, world.bands, PARAMETERS, SEASONS)
    np.testing.assert_array_equal(other["predicted"], learned[1]["predicted"])
    own = learned[1][learned[1]["model"] == "seasonal"]
    assert len(own) == held_out.sum()
    assert np.corrcoef(own["observed"], own["predicted"])[0, 1] > 0.95


def test_blocked_jobs_hold_out_every_row_once_and_store_no_model(world: World) -> None:
    parts = []
    for fold in range(3):
        job = replace(RANDOM, split="blocked", fold=fold)
        found, predictions = joint.learn(job, world.rows, world.variances, world.bands, PARAMETERS, SEASONS)
        assert found == {}
        assert models.stored_models(job, SEASONS) == []
        parts.append(predictions[predictions["model"] == "comprehensive"])
    keys = pd.concat(parts)[["time", "y", "x"]]
    assert len(keys) == len(keys.drop_duplicates()) == len(world.rows.table)


def test_a_season_with_too_few_rows_is_predicted_by_what_all_seasons_share_alone(world: World) -> None:
    found, predictions = joint.learn(RANDOM, world.rows, world.variances, world.bands, PARAMETERS, ["warm"])
    assert set(found) == {"warm", "all"}
    assert set(predictions.loc[predictions["model"] == "seasonal", "season"]) == {"warm"}
    assert set(predictions.loc[predictions["model"] == "comprehensive", "season"]) == set(SEASONS)
    assert len(found["all"].months_) == MONTHS
    assert len(found["warm"].months_) == MONTHS // 2


def test_a_month_that_was_not_learned_from_has_no_field_of_its_own(
    learned: tuple[dict[str, GaussianProcess], pd.DataFrame],
) -> None:
    model = learned[0]["warm"]
    own, later, both = (
        model.surface(np.array(chosen, "datetime64[M]"), *pixels())
        for chosen in (["2004-07"], ["2014-07"], ["2004-07", "2014-07"])
    )
    assert np.abs(own - later).max() > 1e-4
    np.testing.assert_allclose(both, (own + later) / 2, atol=1e-12)


def test_rows_without_a_basis_are_left_out_and_their_order_does_not_matter(world: World) -> None:
    rows = world.rows
    names = joint.columns(rows.ground.basis, FEATURES)
    part = pd.concat([rows.table[list(joint.KEYS)], pd.DataFrame(rows.means, columns=names)], axis=1)
    found = joint.join(rows.table[::-1], [part[10:].sample(frac=1, random_state=0)], rows.ground)
    pd.testing.assert_frame_equal(found.table, rows.table[10:].reset_index(drop=True))
    np.testing.assert_array_equal(found.means, rows.means[10:])


def test_of_more_rows_than_a_fit_may_hold_the_same_are_drawn_each_time(world: World) -> None:
    rows = world.rows
    names = joint.columns(rows.ground.basis, FEATURES)
    part = pd.concat([rows.table[list(joint.KEYS)], pd.DataFrame(rows.means, columns=names)], axis=1)
    first, again = (joint.join(table, [part], rows.ground, most=100) for table in (rows.table, rows.table[::-1]))
    assert len(first.table) == 100
    pd.testing.assert_frame_equal(first.table, again.table)
    np.testing.assert_array_equal(first.means, again.means)


# Stored models


def test_the_same_rows_give_the_same_bytes_and_no_code(
    world: World, learned: tuple[dict[str, GaussianProcess], pd.DataFrame]
) -> None:
    again, _ = joint.learn(RANDOM, world.rows, world.variances, world.bands, PARAMETERS, SEASONS)
    data = models.dumps(learned[0]["cold"])
    assert data == models.dumps(again["cold"])
    restored: Any = models.loads(data)
    values = world.features[0].reshape(-1, 3)
    np.testing.assert_array_equal(restored.predict(values), learned[0]["cold"].predict(values))
    np.testing.assert_array_equal(
        restored.surface(months()[:1], *pixels()), learned[0]["cold"].surface(months()[:1], *pixels())
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("slope_", np.zeros(2)), ("curve_", np.full((3, 11), np.nan)), ("monthly_", np.zeros((6, 2, 2))), ("side_", 0.0)],
)
def test_a_stored_model_whose_parts_do_not_fit_is_refused(
    name: str, value: Any, learned: tuple[dict[str, GaussianProcess], pd.DataFrame]
) -> None:
    broken = models.loads(models.dumps(learned[0]["cold"]))
    setattr(broken, name, value)
    with pytest.raises(DataError, match="retrain the model"):
        models.loads(models.dumps(broken))


# The registry


def test_a_joint_algorithm_has_one_fit_of_all_seasons_for_each_split() -> None:
    found = models.jobs(SEASONS, ["gaussian_process"], folds=3)
    assert [job.name for job in found] == [
        "all-gaussian_process-seasonal-random",
        *(f"all-gaussian_process-seasonal-blocked-{fold}" for fold in range(3)),
    ]
    stored = [(job.season, job.model) for job in models.stored_models(found[0], SEASONS)]
    assert stored == [("cold", "seasonal"), ("warm", "seasonal"), ("all", "comprehensive")]
    single = Job("cold", "knn", "seasonal", "random", None)
    assert models.stored_models(single, SEASONS) == [single]


@pytest.mark.parametrize(("name", "value"), [("knots", 3), ("rows", 10), ("iterations", 0), ("lengths", 1.0)])
def test_a_parameter_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"gaussian_process: The '{name}' parameter"):
        models.find("gaussian_process").make({name: value}, 3, 0)


# Which algorithm maps


def errors_by_month(**means: list[float]) -> dict[str, pd.DataFrame]:
    return {name: pd.DataFrame({"sum": np.array(own) * 10, "count": 10}) for name, own in means.items()}


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ({"random_forest": [1.0, 1.0], "trend_forest": [0.9, 0.8]}, "trend_forest"),
        ({"trend_forest": [1.0, 1.4, 0.8], "gaussian_process": [1.3, 1.1, 0.9]}, "gaussian_process"),
        ({"trend_forest": [1.0, 1.1, 0.9], "gaussian_process": [1.5, 1.7, 1.4]}, "trend_forest"),
        ({"trend_forest": [1.0], "gaussian_process": [1.5]}, "trend_forest"),
        ({"gaussian_process": [1.0], "xgboost": [1.5]}, "gaussian_process"),
    ],
)
def test_of_algorithms_that_err_alike_the_one_that_learns_from_areas_maps(
    errors: dict[str, list[float]], expected: str
) -> None:
    assert models.best(errors_by_month(**errors)) == expected
