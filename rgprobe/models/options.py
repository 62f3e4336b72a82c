"""What a training run is asked to do, checked before anything is computed. Imports no torch."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

from rgprobe.checks import whole_number
from rgprobe.errors import OptionError

__all__ = ["TrainingOptions"]

_WITHOUT_EFFECT = (
    "out",
    "corpus",
    "resume",
    "device",
    "gradient_checkpointing",
)  # on the weights; the corpus has a hash


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options of `train`; the defaults are those of the shipped checkpoint.

    Args:
        out: directory to write to.
        family: `"standard"` or `"gauge"`.
        corpus: a text file, or `None` for Shakespeare's plays.
        level: `"token"` (byte-level BPE) or `"character"`.
        steps: optimizer steps.
        batch: windows per step.
        context: window length in tokens, and the model's context.
        layers, width, heads: size of the model.
        vocabulary: tokens of the BPE tokenizer; at character level the text decides.
        learning_rate: peak of the schedule.
        warmup: steps of linear warm-up; then a cosine falls to 10% of the peak.
        weight_decay: on matrices other than embeddings.
        clip: largest norm of the gradient.
        seed: of initial weights and of batches.
        resume: continue a run that was killed in `out`.
        checkpoints: keep this many checkpoints: step 0 and then steps spaced evenly in log(step), the last included.
        validate_every: steps between two points of the validation curve.
        save_every: steps between two saves that `resume` can start from.
        device: `"cpu"` or `"cuda"`.
        precision: `"float32"`, or `"bfloat16"`: products of activations with weights in bfloat16 (autocast); weights, their
            optimizer, norms, attention and every evaluation stay float32.
        gradient_checkpointing: keep states between blocks only and compute the blocks again on the way back: less memory for
            a forward pass more, the same weights.
        settings: switches of a gauge model, fields of `GaugeConfig`, each as `"name=value"`.

    Raises:
        OptionError: a value outside its domain.
    """

    out: Path
    family: str = "standard"
    corpus: Path | None = None
    level: str = "token"
    steps: int = 3000
    batch: int = 8
    context: int = 256
    layers: int = 6
    width: int = 128
    heads: int = 8
    vocabulary: int = 2048
    learning_rate: float = 3e-3
    warmup: int = 100
    weight_decay: float = 0.1
    clip: float = 1.0
    seed: int = 0
    resume: bool = False
    checkpoints: int = 0
    validate_every: int = 100
    save_every: int = 100
    device: str = "cpu"
    precision: str = "float32"
    gradient_checkpointing: bool = False
    settings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "layers", "width", "heads", "validate_every", "save_every"):
            whole_number(_flag(name), getattr(self, name), least=1)
        whole_number("--context", self.context, least=2)
        for name in ("warmup", "seed", "checkpoints"):
            whole_number(_flag(name), getattr(self, name), least=0)
        for name in ("learning_rate", "clip"):
            self._require(name, "a positive number", 0 < getattr(self, name) < float("inf"))
        self._require("weight_decay", "a number of at least 0", 0 <= self.weight_decay < float("inf"))
        self._require("level", "token or character", self.level in ("token", "character"))
        self._require("precision", "float32 or bfloat16", self.precision in ("float32", "bfloat16"))
        for setting in self.settings:
            if not all(setting.partition("=")):
                raise OptionError(
                    "--set", expected="name=value", received=setting, remedy="write, say, --set alpha=0.5"
                )

    def _require(self, name: str, expected: str, holds: bool) -> None:
        if not holds:
            remedy = f"the default is {_flag(name)} {type(self).__dataclass_fields__[name].default}"
            raise OptionError(_flag(name), expected=expected, received=str(getattr(self, name)), remedy=remedy)

    def switches(self) -> dict[str, object]:
        """`settings` by name; a value that reads as JSON (true, 3, 0.5) is taken as such, any other as text.

        Example:
            >>> TrainingOptions(out=Path("x"), settings=("log_prior=false", "frames=rotary")).switches()
            {'log_prior': False, 'frames': 'rotary'}
        """
        return {name: _value(text) for name, _, text in (setting.partition("=") for setting in self.settings)}

    def identity(self) -> str:
        """JSON of every option that changes the weights: a run may only be resumed under an equal identity."""
        kept = {key: value for key, value in asdict(self).items() if key not in _WITHOUT_EFFECT}
        return json.dumps(kept, sort_keys=True)

    def command(self) -> str:
        """The command line that repeats this run, defaults spelled out (`identity` also holds what has no flag).

        Example:
            >>> TrainingOptions(out=Path("runs/a"), steps=5).command()
            'rgprobe train --family standard --out runs/a --level token --steps 5 --batch 8 --context 256 --layers 6
            --width 128 --heads 8 --vocabulary 2048 --learning-rate 0.003 --seed 0'
        """
        words = ["rgprobe train", f"--family {self.family}", f"--out {shlex.quote(str(self.out))}"]
        if self.corpus is not None:
            words.append(f"--corpus {shlex.quote(str(self.corpus))}")
        size = ("layers", "width", "heads", "vocabulary")
        spelled = ("level", "steps", "batch", "context", *size, "learning_rate", "seed")
        words += [f"--{name.replace('_', '-')} {getattr(self, name)}" for name in spelled]
        if self.checkpoints:
            words.append(f"--checkpoints {self.checkpoints}")
        if self.device != "cpu":
            words.append(f"--device {self.device}")
        if self.precision != "float32":
            words.append(f"--precision {self.precision}")
        if self.gradient_checkpointing:
            words.append("--gradient-checkpointing")
        words += [f"--set {shlex.quote(setting)}" for setting in self.settings]
        return " ".join(words)


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _flag(name: str) -> str:
    """How the command line spells a field."""
    return "--" + name.replace("_", "-")
