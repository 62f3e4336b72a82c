"""What a diagnostic asks of a trace: collections that passes of their own left there, and the order of the sink policies."""

import dataclasses
import re

import pytest
import torch

from rgprobe.diagnostics import available
from rgprobe.diagnostics.record import reduction, sink_order
from rgprobe.errors import OptionError
from rgprobe.planted_trace import planted_trace
from rgprobe.probe.passes import PASSES
from rgprobe.probe.reductions import REDUCTIONS

REDUCED = {name: found for name, found in available().items() if found.requires & {*REDUCTIONS, *PASSES}}


@pytest.fixture(scope="module")
def trace():
    """A trace of attention alone."""
    return planted_trace(scores=[torch.zeros(1, 2, 9, 9)], causal=False)


def test_every_collection_is_read_by_a_diagnostic():
    read = set().union(*(found.requires for found in REDUCED.values()))
    assert {*REDUCTIONS, *PASSES} <= read


@pytest.mark.parametrize("name", sorted(REDUCED))
def test_a_trace_without_the_collection_is_refused_in_the_same_words(trace, name):
    (needed,) = REDUCED[name].requires & {*REDUCTIONS, *PASSES}
    words = f"trace: expected the collection '{needed}', received none in this trace; have '{needed}' among what it collects"
    with pytest.raises(OptionError, match=f"^{re.escape(words)}$"):
        REDUCED[name].measure(trace)


def test_what_was_collected_is_what_is_read(trace):
    there = dataclasses.replace(trace, reductions={"flips": trace.attention})
    assert reduction(there, "flips") is trace.attention


@pytest.mark.parametrize(("sink", "first"), [("exclude", "excluded"), ("include", "included")])
def test_the_sink_policy_of_the_trace_comes_first(trace, sink, first):
    chosen = dataclasses.replace(trace, provenance={"options": {"sink": sink}})
    assert sink_order(chosen)[0] == first
    assert sorted(sink_order(chosen)) == ["excluded", "included"]
