"""Where the weights of a checkpoint go: one device, several, or memory and disk; and how many of its blocks are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rgprobe.checks import whole_number
from rgprobe.errors import CheckpointError, OptionError
from rgprobe.probe.checkpoint import CheckpointDirectory

__all__ = ["Placement", "require_finite_files"]

INDEX = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True)
class Placement:
    """How a checkpoint is spread; names and meanings are those of `transformers.PreTrainedModel.from_pretrained`.

    Attributes:
        device_map: "auto", "balanced", "sequential", a device, or a device, "cpu" or "disk" for each module; None for one.
        max_memory: bytes, or texts such as "20GiB", per device number and "cpu"; what fits nowhere stays on disk.
        offload_folder: where weights are put that fit nowhere and cannot be read from the checkpoint as they are.
        layers: read the first so many blocks; None for all.
    """

    device_map: str | Mapping[str, Any] | None = None
    max_memory: Mapping[int | str, int | str] | None = None
    offload_folder: str | Path | None = None
    layers: int | None = None

    def __post_init__(self) -> None:
        if self.device_map is None and (self.max_memory is not None or self.offload_folder is not None):
            raise OptionError("max_memory, offload_folder", expected="a device_map that they apply to", received="none",
                              remedy='pass device_map="auto"')  # fmt: skip
        if self.layers is not None:
            whole = whole_number("layers", self.layers, least=1, remedy="leave it out for all")
            object.__setattr__(self, "layers", whole)  # a plain int: configurations are JSON

    def keywords(self) -> dict[str, Any]:
        """For `from_pretrained`."""
        given = {"device_map": self.device_map, "max_memory": self.max_memory, "offload_folder": self.offload_folder}
        return {
            name: value if name != "offload_folder" else str(value)
            for name, value in given.items()
            if value is not None
        }

    def shorten(self, config: Any, path: Path) -> Any:
        """The configuration of the blocks that are read.

        Raises:
            OptionError: there are not so many.
        """
        if self.layers is None:
            return config
        whole = int(config.num_hidden_layers)
        if self.layers > whole:
            raise OptionError("layers", expected=f"at most {whole}, the blocks of {path}", received=str(self.layers),
                              remedy="leave it out for all")  # fmt: skip
        config.num_hidden_layers = self.layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[: self.layers]
        return config

    def leaves_out(self, tensor: str) -> bool:
        """Whether a tensor belongs to a block that is not read.

        Example:
            >>> Placement(layers=2).leaves_out("model.layers.2.mlp.up_proj.weight"), Placement().leaves_out("h.9.ln_1.bias")
            (True, False)
        """
        found = INDEX.search(tensor)
        return self.layers is not None and found is not None and int(found[1]) >= self.layers


def require_finite_files(directory: CheckpointDirectory) -> None:
    """Refuse weights that hold a NaN or an infinity, read one at a time: for those that are not in memory.

    Raises:
        CheckpointError: there is one.
    """
    from safetensors import safe_open

    for file in directory.weights:
        if file.suffix != ".safetensors":
            continue
        with safe_open(file, framework="pt") as weights:
            for name in sorted(weights.keys()):
                tensor: torch.Tensor = weights.get_tensor(name)
                bad = tensor.numel() - int(tensor.isfinite().sum()) if tensor.is_floating_point() else 0
                if bad:
                    raise CheckpointError(
                        f"{file}: {name}", expected="finite weights", received=f"{bad} NaN or infinite value(s)",
                        remedy="use another checkpoint",
                    )  # fmt: skip
