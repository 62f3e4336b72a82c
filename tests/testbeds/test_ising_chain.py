"""Ising chain: samples against tanh^r, enumeration against both curves."""

from itertools import product

import numpy as np
import pytest

from rgprobe.errors import OptionError
from rgprobe.testbeds import ising_chain


@pytest.mark.parametrize("coupling", [-0.4, 0.0, 0.7, ising_chain.coupling_for(5.0), ising_chain.coupling_for(10.0)])
def test_samples_have_the_exact_correlations(coupling):
    chains, length = 4001, 41
    spins = ising_chain.sample(length=length, chains=chains, coupling=coupling, seed=7).astype(float)
    known = ising_chain.exact(coupling=coupling, max_distance=length - 1).correlation
    found = (spins[:, :1] * spins).mean(0)
    # products of two spins are +-1, chains are independent: standard error sqrt((1 - c^2) / chains)
    error = np.sqrt((1 - known**2) / chains)
    assert (abs(found - known) <= 4 * error).all()
    # and along the chain: bonds are independent, so nearest neighbours average over (length - 1) chains bonds
    bonds = (spins[:, 1:] * spins[:, :-1]).mean()
    assert abs(bonds - np.tanh(coupling)) < 4 * np.sqrt((1 - np.tanh(coupling) ** 2) / (chains * (length - 1))) + 1e-12
    assert abs(spins[:, 0].mean()) < 4 / np.sqrt(chains)


@pytest.mark.parametrize(("coupling", "beta"), [(0.6, 1.0), (-0.5, 0.8), (1.3, 0.4)])
def test_curves_are_those_of_the_enumerated_boltzmann_law(coupling, beta):
    states = np.array(list(product([-1, 1], repeat=7)))
    weight = np.exp(beta * coupling * (states[:, 1:] * states[:, :-1]).sum(1))
    weight /= weight.sum()
    known = ising_chain.exact(coupling=coupling, beta=beta, max_distance=5)
    for r in range(1, 6):
        joint = np.zeros((2, 2))
        np.add.at(joint, ((states[:, 1] > 0).astype(int), (states[:, 1 + r] > 0).astype(int)), weight)
        assert known.correlation[r] == pytest.approx(joint[0, 0] + joint[1, 1] - joint[0, 1] - joint[1, 0], abs=1e-14)
        information = (joint * np.log(joint / np.outer(joint.sum(1), joint.sum(0)))).sum()
        assert known.mutual_information[r] == pytest.approx(information, abs=1e-14)


@pytest.mark.parametrize("xi", [0.3, 5.0, 10.0])
def test_mutual_information_decays_over_half_the_correlation_length(xi):
    chain = ising_chain.exact(coupling=ising_chain.coupling_for(xi), max_distance=int(6 * xi) + 2)
    assert chain.correlation_length == pytest.approx(xi, rel=1e-12)
    np.testing.assert_allclose(chain.correlation, np.exp(-np.arange(len(chain.correlation)) / xi), rtol=1e-11)
    # I = c^2 / 2 (1 + c^2 / 6 + ...): at six correlation lengths the slope is that of c^2 to a part in a thousand
    slope = np.diff(np.log(chain.mutual_information[-2:]))[0]
    assert -1 / slope == pytest.approx(chain.mutual_information_length, rel=1e-3)
    assert chain.mutual_information[0] == pytest.approx(np.log(2))


def test_limits_of_the_correlation_length():
    assert ising_chain.exact(coupling=0.0).correlation_length == 0.0
    # tanh K = 1 - 2 e^-2K: xi = e^2K / 2, far beyond where tanh itself rounds to 1
    assert ising_chain.exact(coupling=25.0).correlation_length == pytest.approx(np.exp(50) / 2, rel=1e-12)
    assert ising_chain.exact(coupling=-1.0).correlation_length == ising_chain.exact(coupling=1.0).correlation_length


def test_sampling_is_a_function_of_its_seed():
    one, same, other = (ising_chain.sample(length=33, chains=3, coupling=0.5, seed=s) for s in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    "options",
    [{"length": 0}, {"chains": 0}, {"coupling": float("nan")}, {"beta": -1.0}, {"beta": float("inf")}],
)
def test_what_is_no_chain_is_refused(options):
    with pytest.raises(OptionError):
        ising_chain.sample(**{"length": 3, "chains": 2, "coupling": 1.0, **options})
    with pytest.raises(OptionError):
        ising_chain.coupling_for(0.0)
