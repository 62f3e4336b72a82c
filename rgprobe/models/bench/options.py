"""What the attention ladder measures, and for how long. Importing this module imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from rgprobe.errors import OptionError

__all__ = ["LadderOptions"]

FULL = ((32, 64), (64, 16), (128, 8), (128, 16), (128, 32), (128, 64), (256, 16), (512, 16), (1024, 16), (4096, 16))
QUICK = ((32, 16), (64, 4), (64, 8), (64, 16), (128, 16), (256, 16))


@dataclass(frozen=True)
class LadderOptions:
    """Sizes, seed and effort of the ladder.

    Args:
        points: (tokens N, belief dimension K).
        rounds: timed calls of every method at most, one per round, the methods taking turns.
        budget: CPU seconds that one call may take; a method predicted to need more is left out at that point.
        patience: CPU seconds after which a method is called no more at that point, in that direction.
        growth_dim: K at which growth in N is fitted.
        growth_tokens: N at which growth in K is fitted.
        panel: the point at which error is drawn against time.
        seed: of frames, beliefs and values.
        kappa: temperature.
        window: of the local windows.
        rank_divisor: low rank is K over this.

    Raises:
        OptionError: a size, number of rounds or budget that is not positive.

    Example:
        >>> LadderOptions.quick().rounds < LadderOptions().rounds
        True
    """

    points: tuple[tuple[int, int], ...] = FULL
    rounds: int = 7
    budget: float = 12.0
    patience: float = 3.0
    growth_dim: int = 16
    growth_tokens: int = 128
    panel: tuple[int, int] = (128, 64)
    seed: int = 0
    kappa: float = 4.0
    window: int = 32
    rank_divisor: int = 4

    def __post_init__(self) -> None:
        positive: dict[str, float] = {
            "points": min((min(point) for point in self.points), default=0),
            **{
                name: getattr(self, name)
                for name in ("rounds", "budget", "patience", "kappa", "window", "rank_divisor")
            },
        }
        for name, value in positive.items():
            if not value > 0:
                raise OptionError(
                    name, expected="a positive number", received=f"{value}", remedy="leave it out for the default"
                )
        if self.panel not in self.points:
            raise OptionError(
                "panel", expected="one of the points", received=f"{self.panel}", remedy="measure that point as well"
            )

    @classmethod
    def quick(cls, seed: int = 0) -> LadderOptions:
        """Small sizes and few calls: a minute at most."""
        return cls(points=QUICK, rounds=3, budget=0.7, patience=0.7, growth_tokens=64, panel=(128, 16), seed=seed)
