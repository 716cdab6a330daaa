"""How the scripted expert is distilled."""

from __future__ import annotations

from dataclasses import dataclass

from vtenv.validation import require


@dataclass(frozen=True)
class DaggerConfig:
    """How the expert is distilled. The defaults suit a few worlds on a CPU, where steps are dear.

    Raises:
        ValueError: If a value is not allowed; names it and what is.
    """

    steps: int | None = None
    """The budget: control steps, all worlds together; None where time is the budget alone."""
    seconds: float | None = None
    """The budget: time of collecting and learning; of two budgets the one that ends first."""
    rollout_steps: int = 8
    """Control steps of every world in a round."""
    updates_per_round: int = 8
    """Minibatches learned from after each of them."""
    batch_size: int = 512
    """Rows in a minibatch."""
    buffer_size: int = 400_000
    """Rows (steps of one world) that minibatches are drawn from, the latest ones; at least a
    round's are kept. They should span an episode of every world, which start together."""
    learning_starts: int = 4_000
    """Rows to have before learning starts, or goes on after a resumption; at most `buffer_size`."""
    learning_rate: float = 1e-3
    """Of Adam at first; it falls linearly with the budget, to a hundredth."""
    expert_part: float = 0.15
    """Part of the budget over which the expert's chance to act falls from 1 to 0, in [0, 1)."""
    gamma: float = 0.99
    """Discount of the returns that the critic is fitted to."""
    gae_lambda: float = 0.95
    """Weight of longer returns among them, in [0, 1]."""

    def __post_init__(self) -> None:
        if self.steps is None and self.seconds is None:
            raise ValueError("a budget is missing; give steps, seconds or both")
        for name in (
            *("steps", "seconds", "rollout_steps", "updates_per_round", "batch_size"),
            *("learning_rate", "buffer_size"),
        ):
            value = getattr(self, name)
            require(value is None or value > 0, name, value, "positive")
        starts, size = self.learning_starts, self.buffer_size
        allowed = f"from 0 to buffer_size, {size}"
        require(0 <= starts <= size, "learning_starts", starts, allowed)
        require(0 <= self.expert_part < 1, "expert_part", self.expert_part, "in [0, 1)")
        for name in ("gamma", "gae_lambda"):
            value = getattr(self, name)
            require(0 <= value <= 1, name, value, "in [0, 1]")
