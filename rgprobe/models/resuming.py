"""The state of a run in one safetensors file, so that a kill at any instant leaves either the old state or the new one.

Weights and both AdamW moments are tensors; step, curve and the identity of the run are JSON in the header. No pickle.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from rgprobe.errors import CheckpointError, OptionError
from rgprobe.files import write_bytes

__all__ = ["STATE_FILE", "CurvePoint", "Progress", "load_state", "save_state"]

STATE_FILE = "resume.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class CurvePoint:
    """One point of the training curve.

    Args:
        step: steps done.
        learning_rate: of the last step.
        train_nats_per_token: mean over the batches since the previous point.
        validation_nats_per_token: on the openings of the validation documents.
        validation_nats_per_character: the same loss per character.
    """

    step: int
    learning_rate: float
    train_nats_per_token: float
    validation_nats_per_token: float
    validation_nats_per_character: float


@dataclass
class Progress:
    """Where a run stands: steps done, losses since the last point of the curve, and the curve.

    This one record is mutable: it is the loop's own counter, and nothing outside the loop holds it.
    """

    step: int = 0
    recent_losses: list[float] = field(default_factory=list)
    curve: list[CurvePoint] = field(default_factory=list)


def save_state(
    directory: Path, model: nn.Module, optimizer: torch.optim.AdamW, progress: Progress, *, identity: str
) -> None:
    """Write everything that the next step depends on."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        tensors[f"weight:{name}"] = parameter.detach().cpu().contiguous()
        for moment in _MOMENTS:
            tensors[f"{moment}:{name}"] = optimizer.state[parameter][moment].cpu().contiguous()
    header = {"identity": identity, "progress": json.dumps(asdict(progress))}
    write_bytes(directory / STATE_FILE, save(tensors, metadata=header))


def load_state(directory: Path, model: nn.Module, optimizer: torch.optim.AdamW, *, identity: str) -> Progress:
    """Restore weights, moments and progress in place; a directory without a state starts at step 0.

    Raises:
        OptionError: the state belongs to a run with other options, corpus or tokenizer.
        CheckpointError: the file is damaged.
    """
    path = directory / STATE_FILE
    if not path.exists():
        return Progress()
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            _require_identity(path, header.get("identity", ""), identity)
            progress = _progress_from_json(header["progress"])
            for name, parameter in model.named_parameters():
                parameter.data.copy_(file.get_tensor(f"weight:{name}"))
                moments = {m: file.get_tensor(f"{m}:{name}").to(parameter.device) for m in _MOMENTS}
                optimizer.state[parameter] = {"step": torch.tensor(float(progress.step)), **moments}
    except OptionError:
        raise
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:  # torch: another shape
        raise CheckpointError(
            str(path),
            expected="the saved state of a training run",
            received=str(error),
            remedy="delete the file and train again",
        ) from error
    return progress


def _progress_from_json(text: str) -> Progress:
    record = json.loads(text)
    return Progress(record["step"], record["recent_losses"], [CurvePoint(**point) for point in record["curve"]])


def _require_identity(path: Path, found: str, wanted: str) -> None:
    if found != wanted:
        raise OptionError(
            "--resume",
            expected="the options, corpus and tokenizer of the run that was interrupted",
            received=f"others than those recorded in {path}",
            remedy="repeat the original command with --resume added, or pass another --out",
        )
