"""Systems whose answer is known: each module has `sample(...)` and `exact(...)`.

=========================== ========================================================= ===============================
module                      system                                                    what is known
=========================== ========================================================= ===============================
`ar1`                       block, gap and environment of an AR(1) process            canonical correlation, filter
`broadcast_tree`            spins copied down a tree with errors                      correlation by leaf distance
`contracting_layers`        tokens that turn towards a limit, or rest                 angular steps, CKA slope
`coupling_flow`             couplings that flow to or from a fixed point              map, errors, beta function
`draws_without_replacement` a shuffled deck                                           posterior, entropy of each draw
`equiangular`               attention between tokens at equal angles                  cosine against time
`fractional_walk`           fractional Brownian motion of many coordinates            exponent of its displacement
`gaussian_gram`             tokens in a wide random ReLU network                      Gram kernel layer by layer
`hypercube`                 points of a turned cube                                   intrinsic dimension
`ising_chain`               one-dimensional Ising model                               correlation, mutual information
`linear_flow`               linear layers with planted singular values                singular values, operator gains
`markov_blocks`             block-structured Markov chain                             whole spectrum, block eigenvectors
`mess3`                     hidden Markov model of three states                       beliefs, entropy-rate bracket
`migdal_kadanoff`           renormalization of the Ising coupling                     fixed point, y, nu
`planted_icc`               families of paraphrases                                   intraclass correlation
`planted_step`              a step in autocorrelated noise                            its height and standard error
`planted_tree`              Gaussian beliefs at the leaves of a tree                  clades
`planted_units`             feed-forward units, some of them dead                     shares that take part
`power_law_spectrum`        Gaussian data with a power-law covariance spectrum        spectrum, participation ratio
`random_energy`             independent Gaussian scores                               entropy, log-partition function
`random_hierarchy`          hierarchical grammar with synonyms                        parse tree, posteriors
`relu_kurtosis`             outputs of random ReLU networks                           excess kurtosis
`ring_blocks`               block-diagonal chain of rings, seen through noise         eigenvectors, symmetries, posterior
`ring_chain`                Markov chain on a ring, of chosen memory                  spectrum, correlation length
`scale_separation`          micro, macro and output variables                         conditional mutual information
`self_similar_attention`    patterns that are coarse-grainings of each other          similarity 1
`stored_patterns`           modern Hopfield network                                   minima of the energy
`tanh_network`              random tanh network                                       Lyapunov exponent
`two_level`                 a key equal to the query among equal others               self-weight, heat-capacity peak
`varied_hierarchy`          hierarchical grammar, a tree of its own per sentence      parse trees, posteriors
=========================== ========================================================= ===============================

`hierarchy_posterior` and `varied_posterior` hold the exact posteriors of the two grammars, `hierarchy_language` the sentences
of `random_hierarchy` as token ids with their least possible loss.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

_SYSTEMS = (
    "ar1",
    "broadcast_tree",
    "contracting_layers",
    "coupling_flow",
    "draws_without_replacement",
    "equiangular",
    "fractional_walk",
    "gaussian_gram",
    "hypercube",
    "ising_chain",
    "linear_flow",
    "markov_blocks",
    "mess3",
    "migdal_kadanoff",
    "planted_icc",
    "planted_step",
    "planted_tree",
    "planted_units",
    "power_law_spectrum",
    "random_energy",
    "random_hierarchy",
    "relu_kurtosis",
    "ring_blocks",
    "ring_chain",
    "scale_separation",
    "self_similar_attention",
    "stored_patterns",
    "tanh_network",
    "two_level",
    "varied_hierarchy",
)

__all__ = [*_SYSTEMS]


def __getattr__(name: str) -> ModuleType:
    if name not in _SYSTEMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
