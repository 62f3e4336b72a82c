"""Planted feed-forward units: counts as planted, and as the collector counts them."""

import numpy as np
import pytest
import torch

from rgprobe.errors import OptionError
from rgprobe.probe.units import UNITS, unit_sparsity
from rgprobe.testbeds import planted_units


@pytest.mark.parametrize(
    ("tokens", "units", "alive", "active"), [(40, 64, 24, 6), (9, 33, 17, 2), (5, 7, 7, 7), (31, 50, 3, 1)]
)
def test_every_living_unit_is_met_and_no_token_has_another_number(tokens, units, alive, active):
    x = planted_units.sample(tokens=tokens, units=units, alive=alive, active=active, seed=1)
    known = planted_units.exact(units=units, alive=alive, active=active)
    assert ((x != 0).sum(1) == active).all()
    assert (x != 0).any(0).sum() == alive
    found = dict(zip(UNITS, unit_sparsity(torch.from_numpy(x**2))[1].tolist(), strict=True))
    assert found["participation"] == pytest.approx(known.participation)
    assert found["silent"] == pytest.approx(known.silent)
    assert found["decimated"] == pytest.approx(known.decimated)
    again = planted_units.sample(tokens=tokens, units=units, alive=alive, active=active, seed=1)
    np.testing.assert_array_equal(x, again)


@pytest.mark.parametrize("options", [{"tokens": 2}, {"alive": 11}, {"active": 5}, {"active": 0}])
def test_counts_that_do_not_fit_are_refused(options):
    with pytest.raises(OptionError):
        planted_units.sample(**{"tokens": 8, "units": 10, "alive": 4, "active": 1, **options})
