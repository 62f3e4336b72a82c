r"""Interaction between tokens: how much the prediction of one changes when the state of another is exchanged halfway.

    I_l(i -> j) = E_c KL(p_j(c) || p_j(c with x_(l,i) exchanged)),   nats

In a context c, token i becomes another one, and up to layer l that is undone everywhere but in the state of i itself: all
that later blocks make of the exchange is seen by the prediction of j, and what earlier blocks had passed on from i to others
stays as it was. At the input end this is exchanging the token. At the output end, where predictions read their own state
only, it is zero.

Contexts are versions of *one* prompt, with other tokens hidden, say: averaged over them, the interaction is about how
the sentence hangs together, and less about what its last open choice happens to be. A pair enters a mean in those contexts
in which i is exchanged and the prediction of j is scored; a pair that never is has NaN.

Beside it stands a differential one, `gradient_interaction`, of the same shape, from gradients of the log-probability of drawn
outputs.

Sources: interchange of states as in Vig et al. (NeurIPS 2020) and Geiger et al. (NeurIPS 2021); change of a masked prediction
by a second mask as in the perturbed masking of Wu, Chen, Kao, Liu (ACL 2020).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from rgprobe import categorical
from rgprobe.errors import PromptError
from rgprobe.probe.model import Hook, Probe

__all__ = ["Contexts", "gradient_interaction", "interaction"]

BATCH = 512  # rows that run at once


@dataclass(frozen=True, eq=False)
class Contexts:
    """Versions of one prompt, and what each token becomes in them where it is exchanged.

    Attributes:
        rows: token ids, (contexts, length).
        exchanged: ids of the same shape; a token that is the same here as in `rows` is not exchanged.
        tokens: where each of the n tokens stands, (n, copies): all copies are exchanged together.
        readers: where each is predicted, (n,): its own place in a masked model, the place before it in a causal one.
        scored: predictions that count, (contexts, n): hidden ones, in a masked model.

    Raises:
        PromptError: shapes that do not fit, or indices outside the rows.
    """

    rows: Int[Tensor, "contexts length"]
    exchanged: Int[Tensor, "_ _"]
    tokens: Int[Tensor, "n copies"]
    readers: Int[Tensor, " _"]
    scored: Bool[Tensor, "_ _"]

    def __post_init__(self) -> None:
        n, length = len(self.tokens), self.rows.shape[1]
        if self.exchanged.shape != self.rows.shape:
            raise _misfit(
                "exchanged", f"shape {tuple(self.rows.shape)}, as rows have", f"{tuple(self.exchanged.shape)}"
            )
        if self.readers.shape != (n,) or self.scored.shape != (len(self.rows), n):
            raise _misfit("scored", f"a reader and a column for each of {n} tokens",
                          f"{len(self.readers)} and {self.scored.shape[1]}")  # fmt: skip
        for name, index in (("tokens", self.tokens), ("readers", self.readers)):
            if index.numel() == 0 or int(index.min()) < 0 or int(index.max()) >= length:
                raise _misfit(
                    name,
                    f"indices from 0 to {length - 1}",
                    f"{index.min()} to {index.max()}" if index.numel() else "none",
                )

    @property
    def moves(self) -> Bool[Tensor, "contexts n"]:
        """Whether a token is exchanged in a context."""
        changed: Tensor = (self.rows != self.exchanged)[:, self.tokens].any(-1)
        return changed


def interaction(
    probe: Probe, contexts: Contexts, *, states: Sequence[int] | None = None
) -> Float64[Tensor, "states n n"]:
    """I_l(i -> j), nats, mean over contexts; entry (l, i, j), zero on the diagonal, NaN where no context has the pair.

    Args:
        probe: the model.
        contexts: of one prompt.
        states: residual states, 0 (input end) to L - 1; all of them by default.

    Raises:
        NumericalRefusal: no known readout reproduces this model's own logits.

    Example:
        >>> import rgprobe as rg, torch
        >>> model = rg.load("standard-small", device="cpu")
        >>> row = torch.tensor([[5, 9, 70, 11]])
        >>> places = torch.arange(1, 4)  # each of the last three tokens is predicted one place before
        >>> found = Contexts(row, row + 1, places[:, None], places - 1, torch.ones(1, 3, dtype=torch.bool))
        >>> nats = interaction(model, found, states=[0])[0]
        >>> bool((nats.triu(1) > 0).sum() == 3), float(nats.tril().abs().max())  # nothing acts on the past
        (True, 0.0)
    """
    wanted = list(range(probe.n_blocks)) if states is None else list(states)
    context, token = torch.nonzero(contexts.moves, as_tuple=True)  # one patched row for each
    size = min(BATCH, max(len(contexts.rows), len(token)))
    plain = _plain(probe, contexts, wanted, size)
    found = torch.zeros(len(wanted), len(contexts.tokens), len(contexts.tokens), dtype=torch.float64)
    counts = torch.zeros(found.shape[1:], dtype=torch.float64)
    for part, real in _parts(len(token), size):
        c, i = context[part], token[part]
        own = torch.zeros_like(contexts.rows[c], dtype=torch.bool).scatter(1, contexts.tokens[i], True)
        rows = torch.where(own, contexts.exchanged[c], contexts.rows[c])
        scored = contexts.scored[c].double()[:real]
        counts.index_add_(0, i[:real], scored)
        for k, state in enumerate(wanted):
            changed = _log_probabilities(probe, rows, contexts.readers, _restoring(probe, state, plain[state][c], own))
            nats = categorical.kl(plain[probe.n_blocks][c], changed)[:real].cpu()
            found[k].index_add_(0, i[:real], torch.where(scored > 0, nats, 0.0))
    return _off_diagonal(found / counts)  # 0 / 0 is NaN: never seen


def gradient_interaction(
    probe: Probe, contexts: Contexts, *, draws: int = 1, states: Sequence[int] | None = None, seed: int = 0
) -> Float64[Tensor, "states n n"]:
    """E |g|^2 |x|^2 / d over contexts and drawn outputs, g = d log p_j(y) / d x_(l,i), x the state: pure numbers.

    To second order, half of it is the KL divergence, nats, that exchanging i for a state at a distance |x| in a random
    direction has at j. Entries as in `interaction`; where i is exchanged counts, what it is exchanged for does not.

    Args:
        probe: the model.
        contexts: of one prompt.
        draws: outputs drawn per context and prediction; each is one pass back.
        states: as in `interaction`.
        seed: of the draws.
    """
    wanted = list(range(probe.n_blocks)) if states is None else list(states)
    n = len(contexts.tokens)
    found = torch.zeros(len(wanted), n, n, dtype=torch.float64)
    weight = torch.einsum("ci,cj->ij", contexts.moves.double(), contexts.scored.double())
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False), torch.enable_grad():
        kept, log_p = _graph(probe, contexts, wanted)
        sizes = [state.detach().double().square().mean(-1) for state in kept]
        for _ in range(draws):
            for j in range(n):
                output = torch.multinomial(log_p[:, j].detach().exp().cpu(), 1, generator=generator).to(log_p.device)
                drawn = log_p[:, j].gather(1, output)[:, 0][contexts.scored[:, j]].sum()
                if not contexts.scored[:, j].any():
                    continue
                gradients = torch.autograd.grad(drawn, kept, retain_graph=True, materialize_grads=True)
                for k, (gradient, size) in enumerate(zip(gradients, sizes, strict=True)):
                    squares = (gradient.double().square().sum(-1) * size)[:, contexts.tokens].sum(-1).cpu()
                    found[k, :, j] += (squares * contexts.moves).sum(0) / draws
    return _off_diagonal(found / weight)


def _graph(probe: Probe, contexts: Contexts, states: Sequence[int]) -> tuple[list[Tensor], Tensor]:
    """States of all contexts and log-probabilities at the readers, connected."""
    kept: dict[int, Tensor] = {}

    def keeping(state: int) -> Hook:
        def keep(tensor: Tensor, hook: Any) -> None:
            if not tensor.requires_grad:  # a model whose weights are frozen
                tensor.requires_grad_()
            kept[state] = tensor

        return keep

    names = [(probe.state_hook(state), keeping(state)) for state in sorted({*states, probe.n_blocks})]
    probe.rows_to_last_state(contexts.rows, names)
    last = kept[probe.n_blocks][:, contexts.readers]
    return [kept[state] for state in states], probe.differentiable_readout(last).double().log_softmax(-1)


def _plain(probe: Probe, contexts: Contexts, states: Sequence[int], size: int) -> dict[int, Tensor]:
    """States of the contexts as they are, by number, and under L the log-probabilities at the readers."""
    kept: dict[int, list[Tensor]] = {state: [] for state in [*states, probe.n_blocks]}
    for part, real in _parts(len(contexts.rows), size):
        hooks: list[tuple[str, Hook]] = [
            (probe.state_hook(state), lambda tensor, hook, at=state, real=real: kept[at].append(tensor[:real].clone()))
            for state in states
        ]
        log_p = _log_probabilities(probe, contexts.rows[part], contexts.readers, hooks)
        kept[probe.n_blocks].append(log_p[:real])
    return {state: torch.cat(values) for state, values in kept.items()}


def _restoring(probe: Probe, state: int, plain: Tensor, own: Bool[Tensor, "rows length"]) -> list[tuple[str, Hook]]:
    """Puts back the states of all tokens but the exchanged one.

    The pass itself is that of the exchanged prompt, not the other way round: in a gauge model the frame and part of the
    precision of a token follow from its id, whatever its state is, and belong to what is exchanged.
    """

    def restore(tensor: Tensor, hook: Any) -> Tensor:
        return torch.where(own[..., None].to(tensor.device), tensor, plain)

    return [(probe.state_hook(state), restore)]


@torch.inference_mode()
def _log_probabilities(
    probe: Probe, rows: Int[Tensor, "rows length"], readers: Int[Tensor, " n"], hooks: list[tuple[str, Hook]]
) -> Float64[Tensor, "rows n vocabulary"]:
    last: list[Tensor] = []
    ending = (probe.state_hook(probe.n_blocks), lambda tensor, hook: last.append(tensor[:, readers]))
    probe.rows_to_last_state(rows, [*hooks, ending])
    return probe.readout(last[0]).double().log_softmax(-1)


def _parts(count: int, size: int) -> Iterator[tuple[Int[Tensor, " size"], int]]:
    """Indices in batches of one size, filled up from the start, and how many of each batch are not filling.

    The same rows give the same last digit only in batches of one size: where nothing acts, the interaction is exactly zero.
    """
    for start in range(0, count, size):
        yield torch.arange(start, start + size) % count, min(size, count - start)


def _off_diagonal(found: Float64[Tensor, "states n n"]) -> Float64[Tensor, "states n n"]:
    return found.masked_fill(torch.eye(found.shape[-1], dtype=torch.bool), 0.0)


def _misfit(culprit: str, expected: str, received: str) -> PromptError:
    return PromptError(culprit, expected=expected, received=received, remedy="describe one prompt and its versions")
