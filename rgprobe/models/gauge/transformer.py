"""The gauge-KL transformer: token ids in, logits out, hooks of transformer_lens in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint

from rgprobe.checks import one_of
from rgprobe.errors import OptionError, PromptError
from rgprobe.models.building import seeded
from rgprobe.models.gauge.attention import GaugeAttention, condensation_of
from rgprobe.models.gauge.beliefs import BeliefMap, TokenTable
from rgprobe.models.gauge.block import EPSILON, GaugeBlock
from rgprobe.models.gauge.checkpoint import check_layers, check_tensors, read_config, read_tensors, write_checkpoint
from rgprobe.models.gauge.config import GaugeConfig
from rgprobe.models.gauge.precision import wide
from rgprobe.models.gauge.readout import KLReadout, LinearReadout
from rgprobe.models.gauge.vfe import FreeEnergyDescent

__all__ = ["GaugeTransformer"]


class GaugeTransformer(HookedRootModule):
    """A causal language model whose attention is the divergence between beliefs; no query and no key projections.

    Each block turns the normalised state x_i into one Gaussian belief per head, q_i = N(mu_i, Sigma_i) with mu = G x,
    carried between tokens by rotations Omega_ij = U_i U_j^-1 (`frames`), and averages values by
    beta_ij = softmax_j(log pi_j - KL(q_i || Omega_ij q_j) / tau). The rest is the standard model: RMSNorm, SwiGLU, a
    readout tied to the embedding.

    Hooks: those of transformer_lens by their names (`blocks.{l}.hook_resid_pre`, `blocks.{l}.attn.hook_pattern`, ...),
    and `blocks.{l}.hook_belief_mean`, `hook_belief_scale_tril`, `hook_belief_log_precision`, `hook_frames`; with
    `update="vfe"` also `blocks.{l}.descent.hook_free_energy`.

    Args:
        config: sizes and switches.
        tokenizer: for `to_tokens`, or None.

    Example:
        >>> import torch
        >>> config = GaugeConfig(n_layers=1, n_heads=2, d_model=16, d_vocab=11, n_ctx=8, d_mlp=32)
        >>> model = GaugeTransformer(config)
        >>> model(torch.tensor([[0, 3, 5]])).shape
        torch.Size([1, 3, 11])
    """

    family = "gauge"

    def __init__(self, config: GaugeConfig, tokenizer: Any = None) -> None:
        super().__init__()
        self.cfg, self.tokenizer = config, tokenizer
        self.embed = nn.Embedding(config.d_vocab, config.d_model)
        self.tokens = TokenTable(config)
        self.hook_embed = HookPoint()  # (B, N, d)
        self.blocks = nn.ModuleList(GaugeBlock(config) for _ in range(config.n_layers))
        self.ln_final = nn.RMSNorm(config.d_model, eps=EPSILON)
        linear = config.decode == "linear"
        self.unembed = LinearReadout(self.embed) if linear else KLReadout(config, self.embed, self.tokens)
        self.checkpointing = False
        self.set_condensation()
        self.reset_parameters()
        self.setup()

    def forward(
        self, ids: Int[Tensor, "B N"], *, return_type: str | None = "logits", stop_at_layer: int | None = None
    ) -> Any:
        """Logits (B, N, V), the mean next-token loss in nats, or nothing.

        Args:
            ids: token ids.
            return_type: "logits", "loss" or None.
            stop_at_layer: return the residual state (B, N, d) that enters this block; L for the last state.

        Raises:
            PromptError: no (B, N) whole numbers, more tokens than the context holds, or an id outside the vocabulary.
            OptionError: an unknown return type.
        """
        one_of("return_type", return_type, ("logits", "loss", None))
        self._check(ids)
        resid = self.hook_embed(self.embed(ids))  # (B, N, d)
        geometry = self.tokens(ids, resid)
        for block in self.blocks[:stop_at_layer]:
            if self.checkpointing and self.training and torch.is_grad_enabled():
                resid = checkpoint(block, resid, geometry, use_reentrant=False)
            else:
                resid = block(resid, geometry)
        if stop_at_layer is not None:
            return resid
        if return_type is None:
            return None
        logits = self.unembed(self.ln_final(resid))  # (B, N, V)
        if return_type == "logits":
            return logits
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())

    def activation_checkpointing_enable(self) -> None:
        """While training, keep the states between blocks only, and compute blocks again on the way back; as transformers.

        The gradient is the same to the last bit on a CPU.
        """
        self.checkpointing = True

    def set_condensation(self, **fields: Any) -> None:
        """Change how keys are condensed, without touching a weight: `condense="keys"`, `condense_budget=0.5`, ...

        Args:
            **fields: those of `GaugeConfig` whose names start with "condense".

        Raises:
            OptionError: another field, a value outside its domain, or two-way coupling, which belongs to the weights.
        """
        if "two-way" in (fields.get("condense", self.cfg.condense), self.cfg.condense) and fields:
            raise OptionError("condense", expected="off | keys", received="a model with or for two-way coupling",
                              remedy="train a model of its own for it")  # fmt: skip
        for name in fields:
            if not name.startswith("condense"):
                raise OptionError(name, expected="condense, or a field that starts with condense_", received=repr(name),
                                  remedy="train a model of its own for it")  # fmt: skip
        self.cfg = GaugeConfig.from_dict({**self.cfg.to_dict(), **fields})
        for layer, block in enumerate(self.blocks):
            cast(GaugeBlock, block).attn.condensation = condensation_of(self.cfg, layer)

    def reset_parameters(self, seed: int | None = None) -> None:
        """Draw every weight afresh, in place; under a forked generator if a seed is given, else from torch's own.

        Matrices are normal with standard deviation `initializer_range`, as in the standard model. A global frame starts
        as a random rotation: lengths, on which divergences depend, start as the norm left them.
        """
        if seed is not None:
            with seeded(seed, devices=[p.device for p in self.parameters() if p.is_cuda][:1]):
                return self.reset_parameters()
        with torch.no_grad():
            for module in self.modules():
                _draw(module, self.cfg.initializer_range)
            for module in self.modules():  # parents come before children, whose plain draw this overrides
                _draw_beliefs(module)

    def save_pretrained(self, directory: str | Path) -> None:
        """Write config.json and model.safetensors into a directory, which is made if need be."""
        write_checkpoint(Path(directory), self.cfg, dict(self.named_parameters()))

    @classmethod
    def from_pretrained(cls, directory: str | Path, *, tokenizer: Any = None) -> GaugeTransformer:
        """The model in a directory, float32, on the CPU.

        Raises:
            CheckpointError: files missing or corrupt; tensors missing, extra, of another shape, or not finite; an unknown
                model type or version. The message names the file and the tensor or field.
        """
        directory = Path(directory)
        config, tensors = read_config(directory), read_tensors(directory)
        check_layers(directory / "config.json", config, tensors)
        with torch.device("meta"):  # no memory is taken for what a configuration asks before its tensors are there
            check_tensors(directory / "model.safetensors", tensors, dict(cls(config).named_parameters()))
        with seeded(0):  # building draws weights, and the caller's generator is not ours
            model = cls(config, tokenizer)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(tensors[name])
        return model.eval()

    @property
    def original_model(self) -> GaugeTransformer:
        """Itself: where a bridge wraps a model, this one is its own."""
        return self

    def to_tokens(self, text: str | list[str]) -> Int[Tensor, "B N"]:
        """Token ids of texts of equal length, as the tokenizer gives them.

        Raises:
            PromptError: the model has no tokenizer, or the texts have unequal numbers of tokens.
        """
        if self.tokenizer is None:
            raise PromptError("text", expected="token ids, for a model without a tokenizer", received="a text",
                              remedy="set model.tokenizer, or pass ids")  # fmt: skip
        rows = [list(self.tokenizer(one)["input_ids"]) for one in ([text] if isinstance(text, str) else text)]
        if len({len(row) for row in rows}) != 1:
            raise PromptError("text", expected="texts with equally many tokens",
                              received=" and ".join(str(n) for n in sorted({len(row) for row in rows})),
                              remedy="pass them one by one")  # fmt: skip
        return torch.tensor(rows, device=self.embed.weight.device)

    def _check(self, ids: Tensor) -> None:
        whole = isinstance(ids, Tensor) and not (ids.is_floating_point() or ids.is_complex() or ids.dtype is torch.bool)
        if not whole or ids.ndim != 2:
            kind = f"{ids.dtype} of shape {tuple(ids.shape)}" if isinstance(ids, Tensor) else type(ids).__name__
            raise PromptError("ids", expected="a tensor of whole numbers, (batch, tokens)", received=kind,
                              remedy="pass token ids as torch.tensor([[5, 6, 7]])")  # fmt: skip
        if ids.shape[-1] > self.cfg.n_ctx:
            raise PromptError("prompt", expected=f"at most {self.cfg.n_ctx} tokens", received=f"{ids.shape[-1]}",
                              remedy="shorten it, or cut it with --truncate")  # fmt: skip
        if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < self.cfg.d_vocab):
            worst = int(ids.max()) if int(ids.max()) >= self.cfg.d_vocab else int(ids.min())
            raise PromptError("prompt", expected=f"token ids in 0..{self.cfg.d_vocab - 1}", received=f"id {worst}",
                              remedy="use the tokenizer that was saved with the model")  # fmt: skip


def _draw(module: nn.Module, spread: float) -> None:
    """What gauge and standard models have in common."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=spread)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.RMSNorm):
        nn.init.ones_(module.weight)


def _draw_beliefs(module: nn.Module) -> None:
    """What beliefs are made from."""
    if isinstance(module, TokenTable) and module.code is not None:
        nn.init.normal_(module.code.weight)  # of order one: what it is multiplied with is small
    if isinstance(module, BeliefMap) and module.global_frame is not None:
        weight = module.global_frame.weight
        weight.copy_(nn.init.orthogonal_(torch.empty_like(weight, dtype=wide(weight).dtype)))  # none in half precision
    if isinstance(module, GaugeAttention) and module.log_temperature is not None:
        nn.init.zeros_(module.log_temperature)
    if isinstance(module, GaugeAttention) and module.successor is not None:
        nn.init.constant_(module.successor, 0.5)
    if isinstance(module, FreeEnergyDescent) and module.top_down is not None:
        nn.init.constant_(module.top_down, -2.0)  # meta-tokens start with little to say, an eighth
