"""rgprobe: renormalization-group flow in transformers, measured against null models.

    import rgprobe as rg

    model = rg.load("standard-small")
    flow = rg.run(model, ["To be, or not to be, that is the question"], nulls=3, seed=0)
    flow.to_dataframe("temperature")

Names are resolved on first use, so that `import rgprobe` imports neither torch nor transformer_lens.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rgprobe import gaussian as gaussian
    from rgprobe import plots as plots
    from rgprobe import testbeds as testbeds
    from rgprobe.cache_trace import trace_cache as trace_cache
    from rgprobe.comparison import FlowComparison as FlowComparison
    from rgprobe.comparison import compare as compare
    from rgprobe.comparison import open_comparison as open_comparison
    from rgprobe.condensation import CondensationTree as CondensationTree
    from rgprobe.condensation import condense as condense
    from rgprobe.flow import run as run
    from rgprobe.measuring import measure as measure
    from rgprobe.planning import Plan as Plan
    from rgprobe.planning import plan as plan
    from rgprobe.probe.loading import load as load
    from rgprobe.rate_distortion import RateDistortion as RateDistortion
    from rgprobe.rate_distortion import faithfulness as faithfulness
    from rgprobe.report import write_report as write_report
    from rgprobe.rg_flow import RGFlow as RGFlow
    from rgprobe.rg_flow import open_flow as open_flow
    from rgprobe.sweeping import Sweep as Sweep
    from rgprobe.sweeping import open_sweep as open_sweep
    from rgprobe.sweeping import sweep as sweep
    from rgprobe.tracing import BeliefTrace as BeliefTrace
    from rgprobe.tracing import trace as trace

_HOMES = {
    "BeliefTrace": "rgprobe.tracing",
    "CondensationTree": "rgprobe.condensation",
    "FlowComparison": "rgprobe.comparison",
    "Plan": "rgprobe.planning",
    "RGFlow": "rgprobe.rg_flow",
    "RateDistortion": "rgprobe.rate_distortion",
    "Sweep": "rgprobe.sweeping",
    "compare": "rgprobe.comparison",
    "condense": "rgprobe.condensation",
    "faithfulness": "rgprobe.rate_distortion",
    "load": "rgprobe.probe.loading",
    "measure": "rgprobe.measuring",
    "open_comparison": "rgprobe.comparison",
    "open_flow": "rgprobe.rg_flow",
    "open_sweep": "rgprobe.sweeping",
    "plan": "rgprobe.planning",
    "run": "rgprobe.flow",
    "sweep": "rgprobe.sweeping",
    "trace": "rgprobe.tracing",
    "trace_cache": "rgprobe.cache_trace",
    "write_report": "rgprobe.report",
}
_PACKAGES = ("gaussian", "plots", "testbeds")

__all__ = [*_HOMES, *_PACKAGES]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"{__name__}.{name}")
    if name == "__version__":
        return version("rgprobe")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
