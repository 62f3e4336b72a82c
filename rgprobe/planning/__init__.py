"""What a run will take, before there is a machine for it: time, memory and disk from a rehearsal on small relatives."""

from __future__ import annotations

from rgprobe.planning.predicting import Plan, plan
from rgprobe.planning.rates import Rates

__all__ = ["Plan", "Rates", "plan"]
