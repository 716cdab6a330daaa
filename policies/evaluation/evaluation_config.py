"""What is played in an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from policies.choices import default, require_at_least
from policies.evaluation.conditions import SUITES, condition
from policies.seeds import SeedRange, seeds_from
from representation.require import unbox_scalars

EPISODES = 400
"""Episodes of a condition: at a success of 97%, an interval of 95% to 98%."""
MOST_WORLDS = {"cpu": 16, "warp": 1024}
"""Worlds played at once unless told otherwise, by engine."""


@dataclass(frozen=True)
class EvaluationConfig:
    """What is played, and where.

    Raises:
        ValueError: If a value is not allowed; names it and what is.
    """

    task: Annotated[str | None, default("what the policy was trained on")] = None
    """What to play: an id of Gymnasium's registry, or MODULE:FUNCTION for worlds in wrappers. Its
    environment's settings are options too, such as --clearance-mm 0.2, and hold in every condition;
    --help beside --task lists them."""
    conditions: Annotated[tuple[str, ...], default("the suite's")] = ()
    """Conditions by name, in place of a suite."""
    suite: Literal["default", "full"] = "default"
    """Conditions that belong together: "default" alone, or "full", all but "training"."""
    connectors: Annotated[tuple[str, ...], default("all there are")] = ()
    """Connectors, or other variants of the task, to play."""
    episodes: int = EPISODES
    """Episodes of each condition."""
    seeds: SeedRange = "development"
    """The range of seeds that the episodes are of: development, or test for what is reported once a
    method is fixed; training and checkpoint are those that a run is trained with and chooses by."""
    first: int = 0
    """How far from the first of the range they start."""
    num_envs: Annotated[
        int | None,
        default(f"at most {MOST_WORLDS['cpu']}, or {MOST_WORLDS['warp']} with warp"),
    ] = None
    """Worlds played at once."""
    engine: Literal["cpu", "warp"] = "cpu"
    """The physics engine."""
    device: Annotated[str | None, default("cuda:0 with warp")] = None
    """Device of the Warp engine."""
    num_threads: Annotated[int | None, default("one a core")] = None
    """Threads of the CPU engine."""
    filmed: int = 1
    """Most successes and failures of each connector in the video, which shows the first condition;
    0 for no video."""

    def __post_init__(self) -> None:
        unbox_scalars(self)
        require_at_least(self, episodes=1, first=0, num_envs=1, num_threads=1, filmed=0)
        if self.conditions and self.suite != "default":
            raise ValueError("conditions and suite exclude each other; leave one out")
        if self.device is not None and self.engine == "cpu":
            raise ValueError("device is for engine='warp'; leave it out, or choose that engine")
        seeds_from(self.seeds, self.first, self.episodes)
        for one in (*self.conditions, *SUITES[self.suite]):
            condition(one)
