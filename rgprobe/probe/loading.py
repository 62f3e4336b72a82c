"""`load`: whatever names or holds a transformer becomes a `Probe`.

The model that a person passes in is never changed. Booting a bridge rewires the module it is given, so a `transformers`
model is copied first; a bridge already in hand is used as it is, through hooks that are removed again.
"""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rgprobe.errors import CheckpointError, DeviceError, OptionError
from rgprobe.models.shipped import shipped_names, shipped_path, verify_shipped
from rgprobe.probe.checkpoint import CheckpointDirectory, inspect_directory
from rgprobe.probe.model import Probe, Source
from rgprobe.probe.reinitialise import skeleton

__all__ = ["load"]

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(
    source: Any,
    *,
    tokenizer: Any = None,
    device: str = "auto",
    dtype: str | torch.dtype = "float32",
    revision: str | None = None,
    allow_pickle: bool = False,
) -> Probe:
    """Load a transformer for measurement.

    Args:
        source: a shipped name ("standard-small"), a local directory in Hugging Face format, a hub id, a `transformers`
            model, a `TransformerBridge`, a gauge checkpoint or `GaugeTransformer`, or a `Probe` (returned as it is).
        tokenizer: overrides the tokenizer found with the model; a model in hand without one takes token ids as prompts.
        device: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N". Ignored for a model already in hand.
        dtype: of the weights of a checkpoint. Statistics are never computed below float32. Ignored for a model in hand.
        revision: of a hub id.
        allow_pickle: accept pickled weights, read with `weights_only=True`.

    Raises:
        CheckpointError: the source cannot be found or trusted, or its tensors do not fit its configuration.
        DeviceError: the device does not exist here.

    Example:
        >>> import rgprobe as rg
        >>> model = rg.load("standard-small", device="cpu")
        >>> model.family
        'standard'
    """
    if isinstance(source, Probe):
        return source
    if isinstance(source, (str, Path)):
        where, kind = _device(device), _dtype(dtype)
        probe = _load_named(source, tokenizer, where, kind, revision=revision, allow_pickle=allow_pickle)
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
                "bridge", str(source.cfg.model_name), {"state_dict": digest_of(source.original_model)}, _config(source)
            ),
            owned=False,
            n_parameters=_count(skeleton(source.original_model)) if hasattr(source.original_model, "config") else None,
        )
    if type(source).__name__ == "GaugeTransformer":
        record = Source("module", "GaugeTransformer", {"state_dict": digest_of(source)}, source.cfg.to_dict())
        return Probe(source, tokenizer if tokenizer is not None else source.tokenizer, record, owned=False)
    if isinstance(source, nn.Module) and hasattr(source, "config"):
        return _load_module(source, tokenizer)
    raise CheckpointError(
        "source",
        expected="a shipped name, directory, hub id, transformers model, TransformerBridge or GaugeTransformer",
        received=type(source).__name__,
        remedy=f"shipped names are: {', '.join(shipped_names())}",
    )


def digest_of(model: nn.Module) -> str:
    """sha256 over the names, shapes and bytes of a model's tensors, in name order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _load_named(
    source: str | Path, tokenizer: Any, device: str, dtype: torch.dtype, *, revision: str | None, allow_pickle: bool
) -> Probe:
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
    record = Source(kind, name, directory.sha256, directory.config, directory.path)
    if directory.config["model_type"] == "gauge_transformer":
        return _read_gauge(directory, record, tokenizer, device, dtype)
    model = _read_model(directory, dtype, allow_pickle=allow_pickle)
    _require_finite(model, directory.path)
    tokenizer = tokenizer if tokenizer is not None else _read_tokenizer(directory)
    count = _count(model)  # before booting, which may split fused matrices into copies
    return Probe(_boot(model.to(device), name), tokenizer, record, owned=True, n_parameters=count)


def _read_gauge(
    directory: CheckpointDirectory, record: Source, tokenizer: Any, device: str, dtype: torch.dtype
) -> Probe:
    """A gauge model hooks itself; nothing is bridged."""
    from rgprobe.models.gauge import GaugeTransformer

    model = GaugeTransformer.from_pretrained(directory.path).to(device=device, dtype=dtype)
    model.tokenizer = tokenizer if tokenizer is not None else _read_tokenizer(directory)
    return Probe(model, model.tokenizer, record, owned=True)


def _load_module(source: Any, tokenizer: Any) -> Probe:
    model = copy.deepcopy(source).eval()
    name = getattr(source.config, "_name_or_path", "") or type(source).__name__
    record = Source("module", name, {"state_dict": digest_of(model)}, source.config.to_dict())
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
            received=f"{architecture} ({_first_line(error)})",
            remedy="see transformer_lens's list of supported models",
        ) from error


def _read_model(directory: CheckpointDirectory, dtype: torch.dtype, *, allow_pickle: bool) -> nn.Module:
    import transformers

    architecture = (directory.config.get("architectures") or [None])[0]
    model_class = getattr(transformers, str(architecture), transformers.AutoModelForCausalLM)
    _require_same_type(directory, model_class)
    try:
        with _quiet():
            model, info = model_class.from_pretrained(
                directory.path,
                dtype=dtype,
                local_files_only=True,
                use_safetensors=not allow_pickle,
                # a mismatch is refused below, with the names that transformers' own error leaves out
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except Exception as error:  # transformers, safetensors and tokenizers raise a dozen unrelated types for bad files
        raise CheckpointError(
            _culprit(directory),
            expected="weights that fit config.json",
            received=_first_line(error),
            remedy="download the checkpoint again or correct its config.json",
        ) from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info.get(kind):
            names = sorted(_tensor_name(key) for key in info[kind])
            raise CheckpointError(
                str(directory.path),
                expected=f"exactly the tensors of {type(model).__name__}",
                received=f"{len(names)} {kind.replace('_keys', '')} tensor(s): {', '.join(names[:5])}",
                remedy="use the config.json that was saved with these weights",
            )
    return model.eval()


def _require_same_type(directory: CheckpointDirectory, model_class: Any) -> None:
    """transformers would build the architecture from whatever the other type's configuration happens to share with it."""
    expected = getattr(getattr(model_class, "config_class", None), "model_type", None)
    if expected is not None and expected != directory.config["model_type"]:
        raise CheckpointError(
            str(directory.path / "config.json"),
            expected=f"model_type {expected!r}, that of {model_class.__name__}",
            received=repr(directory.config["model_type"]),
            remedy="correct model_type or architectures",
        )


def _tensor_name(key: Any) -> str:
    """A key of transformers' loading report; mismatched ones come with both shapes."""
    if isinstance(key, str):
        return key
    name, *shapes = key
    return f"{name} of shape {', not '.join(str(list(shape)) for shape in shapes)}"


def _read_tokenizer(directory: CheckpointDirectory) -> Any:
    if not directory.has_tokenizer:
        return None
    from transformers import AutoTokenizer

    try:
        with _quiet():  # transformers wonders aloud about a model type that is not its own
            return AutoTokenizer.from_pretrained(directory.path, local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise CheckpointError(
            str(directory.path),
            expected="a tokenizer that transformers can read",
            received=_first_line(error),
            remedy="save the tokenizer again beside the model",
        ) from error


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"])
        )
    except Exception as error:  # requests, httpx and huggingface_hub errors share no base class
        raise CheckpointError(
            name,
            expected="a shipped name, an existing directory, or a hub id that can be reached",
            received=_first_line(error),
            remedy=f"offline, pass a directory; shipped names are: {', '.join(shipped_names())}",
        ) from error


def _require_finite(model: nn.Module, path: Path) -> None:
    for name, tensor in model.named_parameters():
        bad = tensor.numel() - int(tensor.isfinite().sum())
        if bad:
            raise CheckpointError(
                f"{path}: {name}", expected="finite weights", received=f"{bad} NaN or infinite value(s)",
                remedy="use another checkpoint",
            )  # fmt: skip


def _culprit(directory: CheckpointDirectory) -> str:
    """The weight file whose own header is broken, if one is, else the directory."""
    from safetensors import SafetensorError, safe_open

    for file in directory.weights:
        if file.suffix == ".safetensors":
            try:
                with safe_open(file, framework="pt"):
                    continue
            except (SafetensorError, OSError, ValueError):
                return str(file)
    return str(directory.path)


def _device(device: str) -> str:
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
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in DTYPES:
        raise OptionError("dtype", expected=" | ".join(DTYPES), received=repr(dtype), remedy="choose one of these")
    return DTYPES[dtype]


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _config(bridge: Any) -> dict[str, Any]:
    config = getattr(bridge.original_model, "config", None)
    return config.to_dict() if config is not None and hasattr(config, "to_dict") else dict(bridge.cfg.to_dict())


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0].removeprefix("Got: ") if lines else type(error).__name__)[:300]


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars or advice from transformers while it reads weights; its settings are put back."""
    from transformers.utils import logging as hf_logging

    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hf_logging.set_verbosity(verbosity)
        if bars:
            hf_logging.enable_progress_bar()
