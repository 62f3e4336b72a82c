"""The matched random-initialisation null: the same architecture, weights drawn afresh by its own initialiser.

A model that rgprobe loaded itself is re-initialised in place and put back afterwards (from its files where it has some),
so that no second copy of the weights is held; a model that a person passed in is never touched, a fresh one is built.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn

from rgprobe.errors import OptionError
from rgprobe.models.building import seeded
from rgprobe.probe.model import Probe, Source

__all__ = ["random_initialisation", "skeleton"]


@contextmanager
def random_initialisation(probe: Probe, seed: int) -> Iterator[Probe]:
    """A probe of the same architecture with weights drawn under `seed`; the given probe is as before afterwards.

    The draw is the architecture's own (`_init_weights` of transformers, with the configuration's `initializer_range`;
    `reset_parameters` of a gauge model), made under a forked generator, so that no global random state changes.

    Example:
        >>> import rgprobe as rg
        >>> model = rg.load("standard-small", device="cpu")
        >>> with model.randomised(seed=0) as null:
        ...     null.n_parameters == model.n_parameters
        True
    """
    model: Any = probe.bridge.original_model
    if any(parameter.is_meta for parameter in model.parameters()):
        raise OptionError("nulls", expected="0, or a model whose weights are all on devices",
                          received=f"{probe.name}, of which a device_map keeps weights elsewhere",
                          remedy="pass nulls=0, or give it more memory")  # fmt: skip
    if probe.family == "gauge":
        with _redrawn(probe, seed) as null:
            yield null
    elif not hasattr(model, "_init_weights"):
        yield _fresh_native(probe, seed)
    elif probe.owned and (shared := _parameters_by_plain_name(model)) is not None:
        restore = _restorer(probe, shared)
        try:
            with torch.no_grad(), _drawing(seed):
                complete = _initialise_in_place(model, shared)
            yield _wrap(probe, probe.bridge, seed) if complete else _fresh(probe, model, seed)
        finally:
            restore()
    else:
        yield _fresh(probe, model, seed)


@contextmanager
def _redrawn(probe: Probe, seed: int) -> Iterator[Probe]:
    """A gauge model draws itself: in place where rgprobe made it, else a copy of it."""
    if not probe.owned:
        model = copy.deepcopy(probe.bridge)
        model.reset_parameters(seed)
        yield _wrap(probe, model, seed)
        return
    parameters = dict(probe.bridge.named_parameters())
    kept = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    try:
        probe.bridge.reset_parameters(seed)
        yield _wrap(probe, probe.bridge, seed)
    finally:
        _copy_into(parameters, kept.items())


def _wrap(probe: Probe, bridge: Any, seed: int) -> Probe:
    source = Source("random", f"{probe.name} (random init, seed {seed})", {}, probe.source.config)
    null = Probe(bridge, probe.tokenizer, source, owned=False, n_parameters=probe.n_parameters)
    null.adopt_calibration(probe)
    return null


def _parameters_by_plain_name(model: nn.Module) -> dict[str, nn.Parameter] | None:
    """The wrapped model's parameters under the names they had before bridging, or None where bridging copied some.

    A bridge that splits a fused query-key-value matrix computes with copies; writing to the original would change nothing.
    """
    names = {name for name, _ in skeleton(model).named_parameters()}
    found = {
        name.replace("._original_component", ""): parameter
        for name, parameter in model.named_parameters(remove_duplicate=False)
    }
    if not names <= found.keys():
        return None
    plain = {name: found[name] for name in names}
    storages = {parameter.untyped_storage().data_ptr() for parameter in plain.values()}
    # a zero bias that the bridge adds to the unembedding is no weight of the architecture
    copies = [p for p in model.parameters() if p.untyped_storage().data_ptr() not in storages and bool(p.any())]
    return None if copies else plain


def skeleton(model: Any) -> Any:
    """The unbridged architecture without storage."""
    with torch.device("meta"):
        return type(model)(copy.deepcopy(model.config))


def _initialise_in_place(model: Any, parameters: dict[str, nn.Parameter]) -> bool:
    """Run the architecture's initialiser on a skeleton that shares the bridged model's storage.

    Returns:
        whether it wrote every weight; a trained one that it passed over would make the null no null.
    """
    unbridged = skeleton(model)
    for name, parameter in parameters.items():
        owner, _, leaf = name.rpartition(".")
        module = unbridged.get_submodule(owner)
        module._parameters[leaf] = nn.Parameter(parameter.detach().fill_(torch.nan), requires_grad=False)
    unbridged.tie_weights()
    for module in unbridged.modules():
        module._is_hf_initialized = False
    # children before parents: GPT-2's blocks scale down what its linear layers drew
    unbridged.initialize_weights()
    return not any(bool(parameter.isnan().any()) for parameter in parameters.values())


def _restorer(probe: Probe, parameters: dict[str, nn.Parameter]) -> Callable[[], None]:
    """Puts the loaded weights back: from their files where those hold them under their names, else from a copy in memory."""
    from safetensors import safe_open

    files = sorted(probe.source.path.glob("*.safetensors")) if probe.source.path is not None else []
    # names in the files are those of the architecture only where no conversion ran at loading
    saved: set[str] = set()
    for file in files:
        with safe_open(file, framework="pt") as weights:
            saved |= set(weights.keys())
    tied = {id(parameter) for name, parameter in parameters.items() if name in saved}
    if not all(name in saved or id(parameter) in tied for name, parameter in parameters.items()):
        kept = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        return lambda: _copy_into(parameters, kept.items())

    def from_files() -> None:
        for file in files:
            with safe_open(file, framework="pt") as weights:
                _copy_into(parameters, ((name, weights.get_tensor(name)) for name in weights.keys()))  # noqa: SIM118

    return from_files


def _copy_into(parameters: dict[str, nn.Parameter], tensors: Any) -> None:
    with torch.no_grad():
        for name, tensor in tensors:
            if name in parameters:
                parameters[name].copy_(tensor)


def _fresh(probe: Probe, model: Any, seed: int) -> Probe:
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    with _drawing(seed):
        fresh = type(model)(copy.deepcopy(model.config))
    fresh = fresh.to(device=probe.device, dtype=probe.dtype).eval()
    fresh.set_attn_implementation("eager")
    bridge = build_bridge_from_module(fresh, type(fresh).__name__, hf_config=fresh.config, model_name=probe.name)
    return _wrap(probe, bridge, seed)


def _fresh_native(probe: Probe, seed: int) -> Probe:
    """transformer_lens's own models carry their initialiser on the bridge."""
    bridge = copy.deepcopy(probe.bridge)
    # a seed in the configuration outranks the generator's: every null would be the model's own first weights
    bridge.cfg.seed = seed
    with _drawing(seed):
        bridge.init_weights()
    return _wrap(probe, bridge, seed)


def _drawing(seed: int) -> AbstractContextManager[None]:
    """An initialiser draws where its weights are."""
    return seeded(seed, devices=range(torch.cuda.device_count()))
