"""Claims about renormalization-group flow, each a number with a sign, and the rules by which numbers decide them.

- holds: the slope over depth has the claimed sign, also without the first depth, and both beat the random initialisations
  (for a value at the output end: it is on the claimed side, and beats them);
- holds, order not needed: so, but it is not told apart from that of shuffled words;
- holds, shuffled words more so: so, but shuffled words have significantly more of it;
- fails: less so than untrained, or the other way; or one step at the input end, behind which it goes the other way;
- not shown: within the null, or too few prompts or seeds to say; behind the first step; or any direction does so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

END = "at the output end"
TREND = "over depth"
BEATS, WITHIN = "beats null", "within null"


@dataclass(frozen=True)
class Claim:
    """What renormalization-group language says of a transformer, as a number with a sign.

    Attributes:
        text: the claim.
        diagnostic, quantity: the node of a result, and what is read there.
        sign: +1 or -1, of the slope or the value and of the difference from the null.
        where: `TREND` (slope against relative depth) or `END` (value at the output end).
        bound: which side of it the sign speaks of; None where only the difference does.
        beside: an internal null of the diagnostic that has to be beaten too.
        scales: whether it grows with the scale of the logits alone, whatever made them large.
    """

    text: str
    diagnostic: str
    quantity: str
    sign: int
    where: str = TREND
    bound: float | None = 0.0
    beside: str = ""
    scales: bool = False


CLAIMS = (
    Claim("Attention cools with depth: reduced temperature falls", "temperature", "theta", -1),
    Claim("Attention rows narrow with depth", "attention_entropy", "normalised_entropy", -1),
    Claim("Attention reaches further with depth", "attention_distance", "distance", +1),
    Claim("Correlation length grows with depth", "correlation_length", "xi", +1),
    Claim("Layers approach a fixed point: angular steps shrink", "plateau", "angle", -1),
    Claim("Predictions settle: KL between layers shrinks", "plateau", "kl", -1, scales=True),
    Claim("Hypotheses are eliminated: KL to the output falls", "elimination", "kl_to_output", -1, scales=True),
    Claim("Token beliefs reach consensus", "consensus", "jeffreys", -1, scales=True),
    Claim("Token states align", "collapse", "cosine", +1),
    Claim("Degrees of freedom are integrated out: participation falls", "collapse", "participation_ratio", -1),
    Claim("Tokens condense: the loss at the root falls", "condensation", "information", -1, scales=True),
    Claim("States become more Gaussian with depth", "nongaussianity", "kurtosis", -1),
    Claim("Intrinsic dimension falls with depth", "intrinsic_dimension", "two_nn", -1),
    Claim("The input is forgotten: less overlap with it is left", "input_overlap", "overlap", -1, END, None),
    Claim("Attention becomes self-similar: like its own coarse-graining", "coarse_graining", "rescaled_2", +1),
    Claim("Paraphrases flow together: universality grows", "universality", "icc", +1),
    Claim("Word order is irrelevant: its gain falls", "operator_gain", "gain_order", -1, beside="random_directions"),
    Claim("Token identity is irrelevant: its gain falls", "operator_gain", "gain_token", -1, beside="random_directions"),
    Claim("Position is integrated out: shuffling the context matters less", "positional", "permutation", -1),
    Claim("Directions contract in the last block", "lyapunov", "angular_rate", -1, END),
    Claim("Basins form: tokens fall into fewer minima", "energy_landscape", "basins", -1),
    Claim("Couplings run by one map: it beats persistence on held-out layers", "running_couplings", "coupling_error", -1, END,
          1.0),
)  # fmt: skip


@dataclass(frozen=True)
class Against:
    """A difference from a null with its 95% interval and the word of the result."""

    difference: float = np.nan
    low: float = np.nan
    high: float = np.nan
    word: str = ""

    def beats(self, sign: int) -> bool:
        """With this sign."""
        return self.word == BEATS and np.sign(self.difference) == sign


@dataclass(frozen=True)
class Reading:
    """What one result says about one claim.

    Attributes:
        value, low, high: slope, or value at the output end, with its interval.
        untrained: against the random initialisations.
        later: the slope without the first depth; NaN for a value.
        later_untrained: that against the random initialisations.
        shuffled: the slope or value against shuffled words.
        beside: against the internal null that the claim names.
    """

    value: float
    low: float
    high: float
    untrained: Against
    later: float = np.nan
    later_untrained: Against = Against()
    shuffled: Against = Against()
    beside: Against = Against()


def verdict(reading: Reading, claim: Claim) -> str:
    """Decided by the rules above.

    Example:
        >>> falls = Claim("x", "d", "q", -1)
        >>> clearly = Against(-0.5, -0.7, -0.3, BEATS)
        >>> verdict(Reading(-1.0, -1.2, -0.8, clearly, -0.4, clearly, Against(0.0, -0.1, 0.1, WITHIN)), falls)
        'holds, order not needed'
        >>> verdict(Reading(-1.0, -1.2, -0.8, clearly, +0.4, clearly), falls)
        'fails: one step at the input end'
    """
    sign = claim.sign
    if reading.untrained.word != BEATS:
        return "not shown" if reading.untrained.word == WITHIN else "not shown: descriptive only"
    moves = claim.bound is None or np.sign(reading.value - claim.bound) == sign
    if not reading.untrained.beats(sign):
        return "fails: less so than untrained" if moves else "fails: the other way"
    if not moves:
        return "fails: the other way, though less than untrained"
    if claim.where == TREND and not reading.later_untrained.beats(sign):
        turns = np.sign(reading.later) == -sign
        return "fails: one step at the input end" if turns else "not shown behind the first step"
    if claim.where == TREND and np.sign(reading.later) != sign:
        return "fails: one step at the input end"
    if claim.beside and not reading.beside.beats(sign):
        return f"not shown: {claim.beside.replace('_', ' ')} do so too"
    if reading.shuffled.beats(-sign):
        return "holds, shuffled words more so"
    return "holds, order not needed" if reading.shuffled.word and not reading.shuffled.beats(sign) else "holds"
