"""Noise between neighbouring pixels is measured and smoothed, and real texture is not: truth known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from soilscale.cube import gaps, noise
from soilscale.cube.noise import Noise
from soilscale.grid import Grid
from soilscale.tasks import gap_filling

SHAPE = (120, 140)

Array = NDArray[np.floating]


def field(seed: int, width: float) -> Array:
    """Smooth random field of variance 1."""
    values = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), width, mode="wrap")
    return np.asarray((values - values.mean()) / values.std())


def fractal(seed: int, power: float) -> Array:
    """Random field whose variogram goes with a power of the distance, of variance 1."""
    frequency = np.hypot(np.fft.fftfreq(SHAPE[0])[:, None], np.fft.fftfreq(SHAPE[1]))
    frequency[0, 0] = np.inf
    spectrum = np.fft.fft2(np.random.default_rng(seed).standard_normal(SHAPE)) * frequency ** (-1 - power / 2)
    values = np.fft.ifft2(spectrum).real
    return np.asarray(values / values.std())


def white(seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(SHAPE)


def measured(fields: list[Array]) -> Noise:
    return noise.estimate(noise.variogram(values) for values in fields)


@pytest.mark.parametrize("width", [2.0, 5.0, 20.0])
@pytest.mark.parametrize("sd", [0.1, 0.3, 1.0])
def test_the_variance_of_noise_is_met_whatever_is_beneath(width: float, sd: float) -> None:
    found = measured([field(seed, width) + sd * white(100 + seed) for seed in range(9)])
    # Half of the variogram of a field of 2 pixels lies within its first pixel: little noise drowns in it.
    if width > 2 or sd == 1:
        assert found.variance == pytest.approx(sd**2, rel=0.15)
    else:
        assert found.variance <= 1.15 * sd**2


@pytest.mark.parametrize("texture", [lambda seed: field(seed, 1.5), lambda seed: field(seed, 10)])
def test_smooth_texture_has_no_noise(texture: object) -> None:
    assert measured([texture(seed) for seed in range(9)]) == Noise()  # type: ignore[operator]


@pytest.mark.parametrize("power", [0.6, 1.0, 1.4])
def test_rough_texture_has_no_noise(power: float) -> None:
    fields = [fractal(seed, power) for seed in range(9)]
    found = measured(fields)
    assert found.variance < 0.1 * noise.variogram(fields[0])[0]
    for values in fields:
        assert np.std(noise.smooth(values, found) - values) < 0.05


def test_what_has_no_noise_is_left_as_it_is() -> None:
    values = field(1, 3).astype("float32")
    np.testing.assert_array_equal(noise.smooth(values, Noise()), values)
    np.testing.assert_array_equal(gaps.quiet(values, np.zeros(SHAPE), Noise()), values)
    cycle = np.stack([values] * 3)
    np.testing.assert_array_equal(gaps.smooth_cycle(cycle, 0.0, 24), cycle)


def test_faults_in_few_windows_do_not_matter() -> None:
    fields = [field(seed, 8) + 0.3 * white(100 + seed) for seed in range(9)]
    fields[0] = fields[0] + np.where(np.random.default_rng(5).random(SHAPE) < 0.05, 30, 0)
    fields[1] = np.full(SHAPE, np.nan)
    assert measured(fields).variance == pytest.approx(0.09, rel=0.1)


def test_nothing_known_means_no_noise() -> None:
    assert measured([]) == Noise()
    assert measured([np.full(SHAPE, np.nan), np.ones((2, 2))]) == Noise()
    assert measured([np.ones(SHAPE)]) == Noise()


def test_weights_sum_to_one_and_are_those_of_the_pixel_alone_without_noise() -> None:
    for variance in (1e-6, 0.1, 10.0):
        weights = noise.stencil(Noise(variance, 0.2, 1.2))
        assert weights.sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(weights, weights.T, atol=1e-6)
    assert noise.stencil(Noise(1e-9, 0.2, 1.2))[noise.REACH, noise.REACH] == pytest.approx(1, abs=1e-4)
    mean = 1 / (2 * noise.REACH + 1) ** 2
    np.testing.assert_allclose(noise.stencil(Noise(1.0, 1e-9, 1.0)), mean, rtol=1e-3)


def test_noise_is_smoothed_and_what_is_missing_stays_so() -> None:
    truth = field(1, 8)
    seen = truth + 0.5 * white(2)
    seen[40:60, 50:80] = np.nan
    found = noise.smooth(seen, measured([field(seed, 8) + 0.5 * white(100 + seed) for seed in range(5)]))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(seen))
    there = np.isfinite(seen)
    assert np.std((found - truth)[there]) < 0.5 / 3
    assert abs((found - truth)[there].mean()) < 0.02


def test_a_part_is_smoothed_as_the_whole_is_with_what_lies_around_it() -> None:
    values, found = white(1), Noise(0.5, 0.1, 1.0)
    whole = noise.smooth(values, found)
    part = noise.smooth(values[: 50 + noise.REACH], found)
    np.testing.assert_allclose(part[:50], whole[:50], atol=1e-6)


def test_months_lose_the_noise_and_keep_the_texture_of_places() -> None:
    place, turn = 3 * field(1, 1.5), 2 * np.pi * np.arange(36) / 12
    truth = [290 + place + 5 * np.sin(part) + field(50 + t, 15) for t, part in enumerate(turn)]
    seen = [values + 0.8 * white(100 + t) for t, values in enumerate(truth)]
    level = [values.mean() for values in seen]
    found = measured([(seen[t + 12] - seen[t]) / np.sqrt(2) for t in range(24)])
    assert found.variance == pytest.approx(0.64, rel=0.1)
    phases = [t % 12 / 12 for t in range(36)]
    parts = zip(phases, (values - own for values, own in zip(seen, level, strict=True)), strict=True)
    cycle = gaps.smooth_cycle(gaps.annual_cycle(parts, SHAPE), found.variance, 36)
    smoothed = [
        gaps.quiet(values, gaps.expected(np.full(SHAPE, own), cycle, phase), found)
        for values, own, phase in zip(seen, level, phases, strict=True)
    ]
    error = np.std(np.stack(smoothed) - np.stack(truth))
    assert error < 0.8 / 3


def test_values_of_which_nothing_is_usual_stay_as_they_are() -> None:
    values, usual = white(1).astype("float32"), np.zeros(SHAPE)
    usual[:5] = np.nan
    found = gaps.quiet(values, usual, Noise(1.0, 0.1, 1.0))
    np.testing.assert_array_equal(found[:5], values[:5])
    assert np.isfinite(found).all()


def test_noise_is_measured_by_months_a_year_apart_or_else_by_those_that_follow_each_other() -> None:
    assert gap_filling.pairs(range(3, 18)) == [(3, 15), (4, 16), (5, 17)]
    assert gap_filling.pairs([1, 2, 5]) == [(1, 2), (2, 5)]
    assert gap_filling.pairs([7]) == []
    many = gap_filling.pairs(range(100))
    assert len(many) == gap_filling.WINDOWS
    assert many[0] == (0, 12)
    assert many[-1] == (87, 99)


def test_windows_are_whole_cells_within_the_grid_whatever_the_tiles() -> None:
    pairs = [(month, month + 12) for month in range(20)]

    def looked_at(tile: int) -> list[object]:
        grid = Grid("EPSG:3035", 25_000, 25, 0, 0, (3, 40), tile=tile)
        return list(gap_filling.windows(grid, pairs, np.random.default_rng(0)))

    assert looked_at(2) == looked_at(40)
    for _, (rows, columns) in looked_at(2):
        assert (rows.start, rows.stop) == (0, 75)
        assert columns.stop - columns.start == gap_filling.SIDE // 25 * 25
        assert 0 <= columns.start < columns.stop <= 1000
