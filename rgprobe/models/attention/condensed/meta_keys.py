"""Meta-keys: what a set of keys becomes when queries are to meet it as one, and how far that can be wrong.

With scores s_ij = <q_i, k_j>, members j of a cluster c of size n_c and mean key k_c, the weight of the cluster is

    ln sum_(j in c) exp s_ij = ln n_c + <q_i, k_c> + g_ic,    0 <= g_ic <= (|q_i| rho_c)^2 / 2,   rho_c = max_j |k_j - k_c|

because the mean of <q_i, k_j - k_c> over j is zero and its values lie in an interval of length 2 |q_i| rho_c (Jensen;
Hoeffding's lemma). The mean is taken of features: for divergences that is the log-linear pool of the beliefs with the mean
of their normalisers and log-priors, so the score of the mean is the mean of the scores, exactly. A meta-key has the bias
ln n_c, and the mean of the members' values.

Spread evenly over members, the weights b_i of meta-keys are a distribution over keys. With f_i the flat one,

    KL(b_i || f_i) = ln sum_c b_ic exp g_ic     nats, exactly,
    |output_i - flat output_i| <= diameter of the values * sqrt(KL(b_i || f_i) / 2).

The first is the difference of two free energies, ln Z - ln Z', because log(b_ij / f_ij) = mean score - score + ln Z - ln Z',
and the first two cancel in the mean over members: the Gibbs-Bogoliubov bound with its gap. The second is Pinsker's
inequality. `divergence_bound` puts the bound on g into the first. To second order g is half the variance of the members'
scores, which is what `loss` estimates and the budget limits. (Added to the bias it makes things worse where it is large.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rgprobe.models.attention.condensed.clusters import sums_of
from rgprobe.models.attention.priors import HIDDEN

__all__ = ["MetaKeys", "divergence_bound", "members_as_meta_keys", "merge_keys"]


@dataclass(frozen=True, eq=False)
class MetaKeys:
    """Clusters of keys, or single keys.

    Args:
        keys: mean features of the members; the last one is the bias, without ln n.
        values: mean values.
        log_size: ln n; HIDDEN where there is no member.
        loss: nats; half the variance of the members' scores, mean over the queries that judge.
    """

    keys: Float[Tensor, "*batch n W"]
    values: Float[Tensor, "*batch n D"]
    log_size: Float[Tensor, "*batch n"]
    loss: Float[Tensor, "*batch n"]

    def biased_keys(self) -> Float[Tensor, "*batch n W"]:
        """Features whose product with a query is ln n_c + <q, k_c>."""
        bias = self.keys[..., -1:] + self.log_size.unsqueeze(-1)
        return torch.cat([self.keys[..., :-1], bias], -1)

    def grouped(self, size: int) -> MetaKeys:
        """Every `size` neighbours along the first dimension side by side; what is left over is dropped."""
        whole = len(self.keys) // size * size
        parts = (x[:whole].unflatten(0, (-1, size)).flatten(1, 2) for x in (self.keys, self.values))
        rest = (x[:whole].unflatten(0, (-1, size)).flatten(1) for x in (self.log_size, self.loss))
        return MetaKeys(*parts, *rest)


def members_as_meta_keys(keys: Float[Tensor, "A n W"], values: Float[Tensor, "A n D"]) -> MetaKeys:
    """Single keys: nothing merged, nothing lost."""
    nothing = torch.zeros_like(keys[..., 0])
    return MetaKeys(keys, values, nothing, nothing)


def merge_keys(members: MetaKeys, labels: Int[Tensor, "A n"], count: int, scores: Float[Tensor, "A n r"]) -> MetaKeys:
    """One meta-key per label; members count by their size, so that merging in two steps is merging in one.

    Args:
        members: keys, or meta-keys.
        labels: 0..count - 1.
        count: of clusters; those without members are hidden.
        scores: of the members at r queries, divided by sqrt(r): squared distances are mean squared differences.

    Example:
        >>> import torch
        >>> members = members_as_meta_keys(torch.tensor([[[0.0], [2.0]]]), torch.tensor([[[1.0], [3.0]]]))
        >>> meta = merge_keys(members, torch.tensor([[0, 0]]), 1, torch.tensor([[[0.0], [2.0]]]))
        >>> meta.keys.item(), meta.values.item(), round(meta.log_size.item(), 4), meta.loss.item()
        (1.0, 2.0, 0.6931, 0.5)
    """
    size = members.log_size.exp().unsqueeze(-1)
    total = sums_of(size, labels, count)
    share = size / total.clamp_min(1e-30).gather(1, labels.unsqueeze(-1))
    widths = [members.keys.shape[-1], members.values.shape[-1], scores.shape[-1]]
    means = sums_of(torch.cat([members.keys, members.values, scores], -1) * share, labels, count)
    keys, values, centre = means.split(widths, -1)
    step = scores - centre.gather(1, labels.unsqueeze(-1).expand(-1, -1, widths[-1]))
    loss = sums_of((0.5 * _without_rounding(step, scores) + members.loss.unsqueeze(-1)) * share, labels, count)
    log_size = total.clamp_min(1e-30).log().masked_fill(total == 0, HIDDEN)
    return MetaKeys(keys, values, log_size.squeeze(-1), loss.squeeze(-1))


def divergence_bound(
    queries: Float[Tensor, "A N W"], scores: Float[Tensor, "A N n"], radius: Float[Tensor, "A n"]
) -> Float[Tensor, "A N"]:
    """Upper bound on KL(condensed weights || flat weights) of every query, nats: ln sum_c b_c exp((|q| rho_c)^2 / 2).

    Args:
        queries: features.
        scores: of all that the query attends to, ln n_c included, -inf where hidden.
        radius: rho_c, the largest distance of a member's features from their mean; 0 for single keys.

    Example:
        >>> import torch
        >>> one = torch.ones(1, 1, 1)
        >>> round(divergence_bound(one, one, torch.tensor([[0.2]])).item(), 4)  # 0.2^2 / 2
        0.02
    """
    largest = 0.5 * (queries.norm(dim=-1, keepdim=True) * radius.unsqueeze(-2)).square()
    return (scores.log_softmax(-1) + largest).logsumexp(-1)


def _without_rounding(step: Tensor, scores: Tensor) -> Tensor:
    """|step|^2, with what is no more than rounding of the scores as zero: equal keys lose nothing."""
    square = step.square().sum(-1, keepdim=True)
    unit = 32 * torch.finfo(scores.dtype).eps
    return square.masked_fill(square <= unit * unit * scores.detach().square().sum(-1, keepdim=True), 0.0)
