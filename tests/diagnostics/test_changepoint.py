"""Changes in series of checkpoints: found where they are, and not found in noise, however correlated.

`python tests/diagnostics/test_changepoint.py` writes the table of the page from docs/changepoint-level.json.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1]))  # as a script; under pytest the folder is on the path already

from measured_page import DOCS, analysis, shown, write

from rgprobe.diagnostics import changepoint
from rgprobe.diagnostics.changepoint import find_changepoints, naive_p_values
from rgprobe.errors import NumericalRefusal, OptionError
from rgprobe.testbeds import planted_step

PAGE, RECORD = DOCS / "diagnostics" / "changepoint.md", DOCS / "changepoint-level.json"
LEVELS = json.loads(RECORD.read_text("utf-8"))


def slowly(series, trend):
    """The definition, split by split: least squares with and without the step."""
    n = len(series)
    columns = [np.ones(n), np.arange(n)][: 2 if trend == "linear" else 1]
    fits = []
    for first in range(2, n - 1):
        design = np.stack([*columns, (np.arange(n) >= first).astype(float)], 1)
        coefficients = np.linalg.lstsq(design, series, rcond=None)[0]
        fits.append(
            (((series - design @ coefficients) ** 2).sum(), first, coefficients[-1], series - design @ coefficients)
        )
    energy, first, height, residual = min(fits, key=lambda fit: fit[0])
    plain = series - np.stack(columns, 1) @ np.linalg.lstsq(np.stack(columns, 1), series, rcond=None)[0]
    phi = (residual[1:] @ residual[:-1]) / energy
    ratio = np.sqrt(((plain @ plain) - energy) / (energy / (n - len(columns) - 1)))
    return first, height, phi, ratio * np.sqrt((1 - phi) / (1 + phi))


@pytest.mark.parametrize("trend", ["constant", "linear"])
@pytest.mark.parametrize("n", [8, 13, 30])
def test_the_candidate_is_the_split_of_least_squares(trend, n):
    series = planted_step.sample(series=7, length=n, at=n // 2, step=1.5, phi=0.4, seed=n)
    found = find_changepoints(series, trend=trend, draws=100)
    for number, each in enumerate(series):
        first, height, phi, statistic = slowly(each, trend)
        assert found.index[number] == first
        np.testing.assert_allclose(
            [found.height[number], found.phi[number], found.statistic[number]], [height, phi, statistic], rtol=1e-9
        )


@pytest.mark.parametrize("trend", ["constant", "linear"])
def test_level_scale_and_trend_do_not_matter(trend):
    series = planted_step.sample(series=5, length=21, at=9, step=3.0, phi=0.3, seed=1)
    first = find_changepoints(series, trend=trend)
    moved = -3e4 * series + 7.0 + (1e4 * np.arange(21) if trend == "linear" else 0)
    second = find_changepoints(moved, trend=trend)
    np.testing.assert_array_equal(first.index, second.index)
    np.testing.assert_allclose(first.p_value, second.p_value, rtol=1e-12)
    np.testing.assert_allclose(second.height, -3e4 * first.height, rtol=1e-9)


@pytest.mark.parametrize("length", [12, 40])
@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("trend", ["constant", "linear"])
def test_false_alarms_stay_near_five_percent_whatever_the_correlation(length, phi, trend):
    noise = planted_step.sample(series=3000, length=length, at=1, step=0.0, phi=phi, seed=5)
    rate = (find_changepoints(noise, trend=trend).p_value <= 0.05).mean()
    assert rate < 0.062  # 5% and three standard errors
    if phi == 0.9:
        assert (naive_p_values(noise) <= 0.05).mean() > 0.5


def level_table():
    return {"level": "\n".join(analysis("changepoint_level").table(LEVELS))}


def test_the_page_and_the_docstring_say_how_often_noise_was_called_a_change():
    assert shown(PAGE) == level_table()

    def extremes(phis):
        shares = [100 * row["share"] for row in LEVELS if row["phi"] in phis]
        return f"{min(shares):.1f}", f"{max(shares):.1f}"

    inside, near, walk = extremes({0.0, 0.3, 0.6, 0.8, 0.9, 0.95}), extremes({0.98})[1], extremes({1.0})
    words = " ".join(changepoint.__doc__.split())
    assert (
        f"{inside[0]} to {inside[1]}% for phi from 0 to 0.95, up to {near}% at 0.98, and {walk[0]} to {walk[1]}%"
        in words
    )
    assert {row["series"] for row in LEVELS} == {20_000}


def test_near_a_random_walk_false_alarms_are_as_frequent_as_the_page_says():
    module = analysis("changepoint_level")
    for length, phi in ((8, 0.95), (50, 0.98)):
        stated = next(r["share"] for r in LEVELS if (r["trend"], r["length"], r["phi"]) == ("constant", length, phi))
        assert 0.05 < stated < 0.10  # the bound of a test that leaves out the 5% of phi that it does not consider
        assert module.share("constant", length, phi, 4000) == pytest.approx(stated, abs=4 * (0.06 * 0.94 / 4000) ** 0.5)


@pytest.mark.parametrize(("length", "phi"), [(12, 0.3), (12, 0.8), (50, 0.6)])
def test_a_high_step_is_found_where_it_is(length, phi):
    at = length // 2
    series = planted_step.sample(series=400, length=length, at=at, step=8.0, phi=phi, seed=2)
    found = find_changepoints(series)
    assert (np.abs(found.index - at) <= 1).mean() > 0.99
    assert (found.p_value <= 0.05).mean() > 0.85
    # the best of many splits looks a little better than the true one
    np.testing.assert_allclose(found.height.mean(), 8.0, rtol=0.05)


def test_a_step_without_noise_is_certain_and_no_error():
    series = np.zeros((1, 16))
    series[0, 5:] = 2.0
    found = find_changepoints(series)
    assert (int(found.index[0]), float(found.height[0])) == (5, pytest.approx(2.0))
    assert found.p_value[0] < 0.001


def test_what_cannot_be_tested_is_refused():
    good = np.random.default_rng(0).normal(size=(2, 12))
    with pytest.raises(NumericalRefusal, match="at least 8 checkpoints"):
        find_changepoints(good[:, :7])
    with pytest.raises(NumericalRefusal, match=r"series\[1\].*NaN or infinity"):
        find_changepoints(_with_nan(good))
    with pytest.raises(NumericalRefusal, match=r"series\[0\].*a constant"):
        find_changepoints(np.ones((1, 12)))
    with pytest.raises(OptionError, match="trend"):
        find_changepoints(good, trend="cubic")
    with pytest.raises(OptionError, match="draws"):
        find_changepoints(good, draws=10)


def _with_nan(series):
    series = series.copy()
    series[1, 3] = np.nan
    return series


if __name__ == "__main__":
    write(PAGE, level_table())
