"""Weights and tokenizers read from an inspected directory; what does not fit is refused by name."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rgprobe.errors import CheckpointError, RGProbeError, is_out_of_memory
from rgprobe.probe.checkpoint import CheckpointDirectory
from rgprobe.probe.placement import Placement

__all__ = ["first_line", "quiet", "read_model", "read_tokenizer", "require_finite"]

LARGEST_RATIO, SMALL = 4, 2**20  # parameters per byte: two of four bits each, tied ones counted twice


def read_model(
    directory: CheckpointDirectory, dtype: torch.dtype, *, allow_pickle: bool, placement: Placement | None = None
) -> nn.Module:
    """A transformers model of the architecture that config.json names, in evaluation mode.

    Raises:
        CheckpointError: unreadable weights, or tensors missing, left over or of another shape, with their names.
    """
    import transformers

    architecture = (directory.config.get("architectures") or [None])[0]
    model_class = getattr(transformers, str(architecture), transformers.AutoModelForCausalLM)
    _require_same_type(directory, model_class)
    placement = placement or Placement()
    try:
        with quiet():
            _require_fitting_size(directory, model_class)
            config = transformers.AutoConfig.from_pretrained(
                directory.path, local_files_only=True, trust_remote_code=False
            )
            model, info = model_class.from_pretrained(
                directory.path,
                config=placement.shorten(config, directory.path),
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                # a configuration may name an implementation, and one with a slash is code to be downloaded
                attn_implementation="eager",
                use_safetensors=not allow_pickle,
                # a mismatch is refused below, with the names that transformers' own error leaves out
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **placement.keywords(),
            )
    except Exception as error:  # transformers, safetensors and tokenizers raise a dozen unrelated types for bad files
        if isinstance(error, RGProbeError) or is_out_of_memory(error):
            raise
        raise CheckpointError(
            _culprit(directory),
            expected="weights that fit config.json",
            received=first_line(error),
            remedy="download the checkpoint again or correct its config.json",
        ) from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        names = sorted(name for key in info.get(kind) or () if not placement.leaves_out(name := _tensor_name(key)))
        if names:
            raise CheckpointError(
                str(directory.path),
                expected=f"exactly the tensors of {type(model).__name__}",
                received=f"{len(names)} {kind.replace('_keys', '')} tensor(s): {', '.join(names[:5])}",
                remedy="use the config.json that was saved with these weights",
            )
    return model.eval()


def read_tokenizer(directory: CheckpointDirectory) -> Any:
    """The tokenizer beside the weights, or None.

    Raises:
        CheckpointError: its files cannot be read.
    """
    if not directory.has_tokenizer:
        return None
    from transformers import AutoTokenizer

    try:
        with quiet():  # transformers wonders aloud about a model type that is not its own
            return AutoTokenizer.from_pretrained(directory.path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare Exception
        if is_out_of_memory(error):
            raise
        raise CheckpointError(
            str(directory.path),
            expected="a tokenizer that transformers can read",
            received=first_line(error),
            remedy="save the tokenizer again beside the model",
        ) from error


def require_finite(model: nn.Module, path: Path) -> None:
    """Refuse a model that holds a NaN or an infinity, naming the tensor and how many.

    Raises:
        CheckpointError: there is one.
    """
    for name, tensor in model.named_parameters():
        if tensor.is_meta:  # not in memory: `require_finite_files`
            continue
        bad = tensor.numel() - int(tensor.isfinite().sum())
        if bad:
            raise CheckpointError(
                f"{path}: {name}", expected="finite weights", received=f"{bad} NaN or infinite value(s)",
                remedy="use another checkpoint",
            )  # fmt: skip


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


def _require_fitting_size(directory: CheckpointDirectory, model_class: Any) -> None:
    """Tensors that do not fit are drawn at random before they are reported, whatever memory their configuration asks for."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(directory.path, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        build = getattr(model_class, "_from_config", None) or model_class.from_config
        model = build(config)
    declared = sum(parameter.numel() for parameter in model.parameters())
    stored = sum(file.stat().st_size for file in directory.weights)
    if declared > stored * LARGEST_RATIO + SMALL:
        raise CheckpointError(
            str(directory.path / "config.json"),
            expected=f"a model that {stored:,} bytes of weights can fill",
            received=f"one of {declared:,} parameters",
            remedy="use the config.json that was saved with these weights",
        )


def _tensor_name(key: Any) -> str:
    """A key of transformers' loading report; mismatched ones come with both shapes."""
    if isinstance(key, str):
        return key
    name, *shapes = key
    return f"{name} of shape {', not '.join(str(list(shape)) for shape in shapes)}"


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


def first_line(error: BaseException) -> str:
    """What an error of another library says, in one line; never torch's advice to read a pickle without its guard."""
    if "weights_only" in str(error):
        called = re.search(r"GLOBAL ([\w.]+)", str(error))
        return f"a pickle of more than tensors{f', which would use {called[1]}' if called else ''}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0].removeprefix("Got: ") if lines else type(error).__name__)[:300]


@contextmanager
def quiet() -> Iterator[None]:
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
