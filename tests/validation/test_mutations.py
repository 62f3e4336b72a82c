"""A row that would pass whatever its diagnostic said checks nothing: each must fail once that is wrong by 5 tolerances."""

import copy
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
import torch
import xarray as xr
from validation_rows import NAMES, ROWS, module_of

from rgprobe.diagnostics import Measurement
from rgprobe.errors import RGProbeError
from rgprobe.validation import validate

TOLERANCES = 5


def spoil(value, change):
    """The same structure, every floating number in it changed; whole numbers, words and truth values stay."""
    if isinstance(value, (bool, np.bool_, int, np.integer, str, bytes, type(None))):
        return value
    if isinstance(value, (float, np.floating)):
        return change(value)
    if isinstance(value, np.ndarray):
        return change(value) if np.issubdtype(value.dtype, np.floating) else value
    if isinstance(value, torch.Tensor):
        return change(value) if value.dtype.is_floating_point else value
    if isinstance(value, xr.DataArray):
        return value.copy(data=spoil(value.values, change))
    if isinstance(value, xr.Dataset):
        return value.map(lambda each: spoil(each, change))
    if isinstance(value, Measurement):
        return Measurement(spoil(value.values, change), value.details, value.internal_nulls, value.private)
    if is_dataclass(value):
        return spoil_record(value, change)
    if isinstance(value, dict):
        return {name: spoil(each, change) for name, each in value.items()}
    if isinstance(value, (tuple, list)):
        parts = [spoil(each, change) for each in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    raise TypeError(f"teach this test to spoil {type(value)}")


def spoil_record(record, change):
    """A frozen record may check its fields when it is made, and keep what it derived from them: neither is wanted here."""
    spoilt = copy.copy(record)
    names = {field.name for field in fields(record)}
    for name in set(vars(spoilt)) - names:
        object.__delattr__(spoilt, name)
    for name in names:
        object.__setattr__(spoilt, name, spoil(getattr(record, name), change))
    return spoilt


def change_of(row):
    """What five tolerances do to a number."""
    return {
        "shift": lambda x: x + TOLERANCES * row.tolerance,
        "scale": lambda x: x * (1 + TOLERANCES * row.tolerance / abs(row.answer)) if row.answer else x,
        "negate": lambda x: -x,
    }[row.perturbation]


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_a_row_fails_when_its_diagnostic_is_wrong_by_five_tolerances(row, monkeypatch):
    module, name = module_of(row)
    right, change, calls = getattr(module, name), change_of(row), []

    def wrong(*args, **options):
        calls.append(name)
        return spoil(right(*args, **options), change)

    answer = row.answer  # the answer is not the diagnostic's to spoil
    monkeypatch.setattr(module, name, wrong)
    try:
        (outcome,) = validate([row])
    except RGProbeError:  # numbers so wrong that what reads them refuses them
        return
    assert calls, f"the row does not call {row.diagnostic} as an attribute of its module"
    measured = type(outcome)(row, answer, outcome.measured)
    assert measured.verdict == "FAIL", f"expected {answer}, still measured {outcome.measured} to {row.tolerance}"
