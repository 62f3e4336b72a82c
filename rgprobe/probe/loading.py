"""`load`: whatever names or holds a transformer becomes a `Probe`.

The model that a person passes in is never changed. Booting a bridge rewires the module it is given, so a `transformers`
model is copied first; a bridge already in hand is used as it is, through hooks that are removed again.
"""

from __future__ import annotations

import copy
import errno
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rgprobe.checks import one_of
from rgprobe.errors import CheckpointError, DeviceError, EnvironmentFault, OptionError, is_out_of_memory, nearest
from rgprobe.models.building import one_at_a_time
from rgprobe.models.gauge.config import MODEL_TYPE
from rgprobe.models.shipped import shipped_names, shipped_path, verify_shipped
from rgprobe.probe.checkpoint import CheckpointDirectory, inspect_directory
from rgprobe.probe.hooked import Hooked, is_hooked, settings_of
from rgprobe.probe.model import Probe, Source
from rgprobe.probe.placement import Placement, require_finite_files
from rgprobe.probe.reading import first_line, read_model, read_tokenizer, require_finite
from rgprobe.probe.reinitialise import skeleton

__all__ = ["find_device", "find_source", "load"]

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


@one_at_a_time
def load(
    source: Any,
    *,
    tokenizer: Any = None,
    device: str = "auto",
    dtype: str | torch.dtype = "float32",
    revision: str | None = None,
    allow_pickle: bool = False,
    device_map: str | Mapping[str, Any] | None = None,
    max_memory: Mapping[int | str, int | str] | None = None,
    offload_folder: str | Path | None = None,
    layers: int | None = None,
) -> Probe:
    """Load a transformer for measurement.

    Args:
        source: a shipped name ("standard-small"), a local directory in Hugging Face format, a hub id, a `transformers`
            model, a `TransformerBridge`, what behaves like transformer_lens's former `HookedTransformer`, a gauge checkpoint or
            `GaugeTransformer`, or a `Probe` (returned as it is).
        tokenizer: overrides the tokenizer found with the model; a model in hand without one takes token ids as prompts.
        device: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N". Ignored for a model already in hand.
        dtype: of the weights of a checkpoint. Statistics are never computed below float32. Ignored for a model in hand.
        revision: of a hub id.
        allow_pickle: accept pickled weights of a checkpoint in Hugging Face format, `pytorch_model.bin`, read with
            `weights_only=True`.
        device_map: of a checkpoint in Hugging Face format, instead of `device`: "auto" spreads it over the GPUs there are, then
            memory, then disk; or a device, "cpu" or "disk" for each module. See `docs/scaling.md`.
        max_memory: per device number and "cpu", for `device_map`, such as {0: "70GiB", "cpu": "200GiB"}.
        offload_folder: where weights go that fit nowhere and cannot stay in their own files.
        layers: read the first so many blocks only; what is measured is then that shorter model.

    Raises:
        CheckpointError: the source cannot be found or trusted, or its tensors do not fit its configuration.
        EnvironmentFault: what a hub sends cannot be written into its cache.
        DeviceError: the device does not exist here.
        OptionError: options that exclude each other, or that this source does not take.

    Example:
        >>> import rgprobe as rg
        >>> model = rg.load("standard-small", device="cpu")
        >>> model.family
        'standard'
    """
    if isinstance(source, Probe):
        return source
    placement = Placement(device_map, max_memory, offload_folder, layers)
    if isinstance(source, (str, Path)):
        where, kind = find_device(device), _dtype(dtype)
        if device_map is not None and device != "auto":
            raise OptionError("device", expected="auto, where device_map says it", received=repr(device),
                              remedy="leave one of them out")  # fmt: skip
        probe = _load_named(source, tokenizer, where, kind, placement, revision=revision, allow_pickle=allow_pickle)
    elif placement != Placement():
        raise OptionError("device_map, layers", expected="a checkpoint to be read", received="a model in hand",
                          remedy="spread or shorten it before")  # fmt: skip
    else:
        probe = _load_object(source, tokenizer)
    probe.calibrate()
    return probe


def _load_object(source: Any, tokenizer: Any) -> Probe:
    if type(source).__name__ == "TransformerBridge":
        return Probe(
            source,
            tokenizer if tokenizer is not None else source.tokenizer,
            Source(
                "bridge", str(source.cfg.model_name), {"state_dict": _digest_of(source.original_model)}, _config(source)
            ),
            owned=False,
            n_parameters=_count(skeleton(source.original_model)) if hasattr(source.original_model, "config") else None,
        )
    if type(source).__name__ == "GaugeTransformer":
        record = Source("module", "GaugeTransformer", {"state_dict": _digest_of(source)}, source.cfg.to_dict())
        return Probe(source, tokenizer if tokenizer is not None else source.tokenizer, record, owned=False)
    if is_hooked(source):
        name = str(getattr(source.cfg, "model_name", None) or type(source).__name__)
        record = Source("hooked", name, {"state_dict": _digest_of(source)}, settings_of(source))
        given = tokenizer if tokenizer is not None else getattr(source, "tokenizer", None)
        return Probe(Hooked(source), given, record, owned=False)
    if isinstance(source, nn.Module) and hasattr(source, "config"):
        return _load_module(source, tokenizer)
    raise CheckpointError(
        "source",
        expected="a shipped name, directory, hub id, transformers model, hooked model, TransformerBridge or GaugeTransformer",
        received=type(source).__name__,
        remedy=f"shipped names are: {', '.join(shipped_names())}",
    )


def _digest_of(model: nn.Module) -> str:
    """sha256 over the names, shapes and bytes of a model's tensors, in name order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def find_source(source: str | Path, *, revision: str | None = None, allow_pickle: bool = False) -> Source:
    """Where a named checkpoint is and what its files hash to, without reading it into memory.

    Args:
        source: a shipped name, a local directory or a hub id, which is downloaded if need be.
        revision: of a hub id.
        allow_pickle: accept pickled weights.

    Raises:
        CheckpointError: it cannot be found or trusted.

    Example:
        >>> sorted(find_source("standard-small").sha256)
        ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']
    """
    return _find(source, revision, allow_pickle)[1]


def _find(source: str | Path, revision: str | None, allow_pickle: bool) -> tuple[CheckpointDirectory, Source]:
    name = str(source)
    if name in shipped_names():
        verify_shipped(name)
        directory, kind = inspect_directory(Path(shipped_path(name))), "shipped"
    elif Path(source).exists() or name.startswith((".", "/", "~")):
        path = Path(source).expanduser()
        directory, kind = inspect_directory(path, allow_pickle=allow_pickle), "directory"
        name = path.resolve().name
    else:
        directory, kind = inspect_directory(_download(name, revision), allow_pickle=allow_pickle), "hub"
    return directory, Source(kind, name, directory.sha256, directory.config, directory.path)


def _load_named(
    source: str | Path, tokenizer: Any, device: str, dtype: torch.dtype, placement: Placement, *, revision: str | None,
    allow_pickle: bool,
) -> Probe:  # fmt: skip
    directory, record = _find(source, revision, allow_pickle)
    if directory.config["model_type"] == MODEL_TYPE:
        if placement != Placement():
            raise OptionError("device_map, layers", expected="a checkpoint in Hugging Face format",
                              received=f"{record.name}, a gauge model", remedy="leave them out")  # fmt: skip
        return _read_gauge(directory, record, tokenizer, device, dtype)
    model = read_model(directory, dtype, allow_pickle=allow_pickle, placement=placement)
    require_finite(model, directory.path)
    if any(parameter.is_meta for parameter in model.parameters()):
        require_finite_files(directory)
    if placement.layers is not None:
        config = {**record.config, "num_hidden_layers": placement.layers}
        record = replace(record, name=f"{record.name}-first-{placement.layers}", config=config)
    tokenizer = tokenizer if tokenizer is not None else read_tokenizer(directory)
    count = _count(model)  # before booting, which may split fused matrices into copies
    placed = model if placement.device_map is not None else model.to(device)
    return Probe(_boot(placed, record.name), tokenizer, record, owned=True, n_parameters=count)


def _read_gauge(
    directory: CheckpointDirectory, record: Source, tokenizer: Any, device: str, dtype: torch.dtype
) -> Probe:
    """A gauge model hooks itself; nothing is bridged."""
    from rgprobe.models.gauge import GaugeTransformer

    model = GaugeTransformer.from_pretrained(directory.path).to(device=device, dtype=dtype)
    model.tokenizer = tokenizer if tokenizer is not None else read_tokenizer(directory)
    return Probe(model, model.tokenizer, record, owned=True)


def _load_module(source: Any, tokenizer: Any) -> Probe:
    model = copy.deepcopy(source).eval()
    name = getattr(source.config, "_name_or_path", "") or type(source).__name__
    record = Source("module", name, {"state_dict": _digest_of(model)}, source.config.to_dict())
    count = _count(model)
    return Probe(_boot(model, name), tokenizer, record, owned=True, n_parameters=count)


def _boot(model: Any, name: str) -> Any:
    """Wrap a model that we own in a bridge; the bridge rewires it."""
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    model.eval()
    # sdpa returns no attention weights, so neither scores nor patterns would ever reach a hook
    model.set_attn_implementation("eager")
    architecture = type(model).__name__
    try:
        return build_bridge_from_module(model, architecture, hf_config=model.config, model_name=name)
    except (ValueError, KeyError, AttributeError, NotImplementedError) as error:
        raise CheckpointError(
            name,
            expected="an architecture that transformer_lens can bridge",
            received=f"{architecture} ({first_line(error)})",
            remedy="see transformer_lens's list of supported models",
        ) from error


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import errors, snapshot_download

    # its own errors, those of its HTTP library and of its transfers (RuntimeError) share no base class
    own = (each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception))
    expected: tuple[type[Exception], ...] = (OSError, ValueError, RuntimeError, *own)
    try:
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"])
        )
    except expected as error:
        if is_out_of_memory(error):
            raise
        if isinstance(error, OSError) and error.errno in DISK:
            raise EnvironmentFault(name, expected="a cache of the hub that can be written", received=first_line(error),
                                   remedy="free space there, or let HF_HOME name another folder") from error  # fmt: skip
        raise CheckpointError(
            name,
            expected="a shipped name, an existing directory, or a hub id that can be reached",
            received=first_line(error),
            remedy=nearest(
                name, shipped_names(), f"offline, pass a directory; shipped names are: {', '.join(shipped_names())}"
            ),
        ) from error


def find_device(device: str) -> str:
    """The device to compute on: "auto" is CUDA where there is one, any other has to be there.

    Raises:
        DeviceError: it does not exist here.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        wanted = torch.device(device)
    except RuntimeError:
        wanted = torch.device("meta")  # no device to compute on
    if wanted.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(device, expected="auto, cpu or cuda", received=repr(device), remedy="use --device auto")
    if wanted.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(device, expected="a CUDA device", received="none on this machine", remedy="use --device cpu")
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise DeviceError(device, expected=f"an index below {count}", received=device, remedy="use --device auto")
    if wanted.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(device, expected="a Metal device", received="none on this machine", remedy="use --device cpu")
    return device


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    if isinstance(dtype, torch.dtype) and dtype in DTYPES.values():
        return dtype
    return DTYPES[one_of("dtype", dtype, DTYPES)]


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _config(bridge: Any) -> dict[str, Any]:
    config = getattr(bridge.original_model, "config", None)
    return config.to_dict() if config is not None and hasattr(config, "to_dict") else dict(bridge.cfg.to_dict())
