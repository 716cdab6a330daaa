"""Seeded episodes played to their end, many at once, and what came of each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from policies.worlds import (
    FAILURE,
    decode,
    simulation_of,
    to_host,
    variant_key,
    variant_names,
    variant_of_seed,
)
from vtenv.arrays import Array
from vtenv.rollout import rollout
from vtenv.simulation import Simulation
from vtenv.tasks import Task
from vtenv.tasks.insertion.measures import FAILURES
from vtenv.tasks.insertion.regions import JAMMED_DEPTH_MM, NEAR_LATERAL_MM, jammed

Act = Callable[[Any, Simulation, NDArray[np.bool_]], Array]
"""Chooses the actions of all worlds, (N, A), from their observation, the simulation behind them,
and which of them have just started an episode, (N,)."""

OUT_OF_TIME = {
    "jammed": "pressed on the socket's face",
    "partial": "in the mouth, but not deep enough",
    "missed": "anywhere else",
}
"""Where the tip was when time was over, by cause of failure."""
CAUSES = (*filter(None, FAILURES), *OUT_OF_TIME)
"""Every cause of failure: those that end an episode, and where time ran out."""


@dataclass(frozen=True)
class EpisodeRecord:
    """What came of an episode.

    Attributes:
        episode: Its number among those played, from 0.
        seed: Seed of its world.
        connector: The connector it was about.
        success: Whether the plug went in.
        failure: Why it did not, one of `CAUSES`; empty if it did.
        steps: Control steps until it ended.
        depth: How far the tip was past the mouth at the end, in [m]; negative outside.
        inserted: Part of the plug's travel that was in the socket at the end, 0 to 1.
        lateral_error: Distance of the tip from the socket's axis at the end, in [m].
        angular_error: Angle between the axes of plug and socket at the end, in [rad].
        peak_force: Greatest force between socket and plug, in [N].
    """

    episode: int
    seed: int
    connector: str
    success: bool
    failure: str
    steps: int
    depth: float
    inserted: float
    lateral_error: float
    angular_error: float
    peak_force: float

    def row(self) -> dict[str, Any]:
        """The record as a table's row, lengths in millimetres and angles in degrees."""
        return {
            "episode": self.episode,
            "connector": self.connector,
            "seed": self.seed,
            "success": int(self.success),
            "failure": self.failure,
            "steps": self.steps,
            "insertion_depth_mm": round(self.depth * 1e3, 3),
            "inserted_fraction": round(self.inserted, 4),
            "lateral_error_mm": round(self.lateral_error * 1e3, 3),
            "angular_error_deg": round(math.degrees(self.angular_error), 3),
            "peak_force_n": round(self.peak_force, 3),
        }


def episode_seeds(
    task: Task, episodes: int, seed: int, variants: Collection[str] = ()
) -> list[int]:
    """Seeds of episodes that are shared out evenly among a task's variants.

    A seed draws its variant, as the environment's `reset(seed=...)` does. Of each variant these
    are its first seeds from `seed` on, so that fewer episodes, or fewer variants, are a part of
    more.

    Args:
        task: The task with its settings, of which what is drawn depends.
        episodes: Number of seeds; where it cannot be shared out, the first variants get one more.
        seed: Where to start.
        variants: The variants to play, of those that the environment draws; all by default.

    Returns:
        Seeds, ascending.

    Raises:
        ValueError: If the environment draws none of the variants.
    """
    there = variant_names(task)
    drawn = [name for name in there if not variants or name in variants]
    if not drawn:
        raise ValueError(
            f"this environment has {', '.join(there)}, and none of {', '.join(variants)}"
        )
    wanted = Counter({name: episodes // len(drawn) for name in drawn})
    wanted.update(drawn[: episodes % len(drawn)])
    seeds = []
    while wanted.total():
        name = variant_of_seed(task, seed)
        if wanted[name]:
            wanted[name] -= 1
            seeds.append(seed)
        seed += 1
    return seeds


def play(envs: VectorEnv[Any, Any, Any], act: Act, seeds: Sequence[int]) -> Iterator[EpisodeRecord]:
    """Play one episode from each seed, as many at once as there are worlds.

    A world goes on with the next seed as soon as its episode has ended. What comes of an episode
    depends on its seed alone, as far as actions do not depend on other worlds.

    Args:
        envs: The worlds, or wrappers of them, with `AutoresetMode.NEXT_STEP`.
        act: Who acts.
        seeds: Seeds of the episodes' worlds.

    Yields:
        Records, in the order in which episodes end.

    Raises:
        ValueError: If the environments reset themselves in another way.
    """
    if envs.metadata["autoreset_mode"] is not AutoresetMode.NEXT_STEP:
        raise ValueError("episodes are played in AutoresetMode.NEXT_STEP; make environments so")
    simulation = simulation_of(envs)
    number = envs.num_envs
    # Worlds without an episode of their own play the last; nobody looks at them.
    first: Any = list(seeds[:number])
    episode = np.where(np.arange(number) < len(first), np.arange(number), -1)
    following = len(first)
    steps = np.zeros(number, np.int64)
    started, finished = np.ones(number, bool), np.zeros(number, bool)
    peak_force: Any = None

    def choose(observation: Any, _: Mapping[str, Any]) -> Array:
        return act(observation, simulation, started)

    for step in rollout(envs, choose, seed=first + first[-1:] * (number - len(first))):
        if peak_force is None:
            peak_force = to_host(step.info["contact_force"])
        started, finished = finished, to_host(step.terminated) | to_host(step.truncated)
        steps = np.where(started, 0, steps + 1)
        force = to_host(step.next_info["contact_force"])
        peak_force = np.where(started, force, np.maximum(peak_force, force))
        ended = np.flatnonzero(finished & (episode >= 0))
        if not ended.size:
            continue
        info, names = step.next_info, simulation.task.code_names
        end: dict[str, Any] = {n: to_host(info[n])[ended] for n in _MEASURED if n in info}
        end |= {key: decode(to_host(info[key])[ended], names[key]) for key in names}
        if "insertion_depth" in end:
            travel = to_host(simulation.measures.travel)[ended]
            end["inserted"] = np.clip(end["insertion_depth"] / travel, 0.0, 1.0)
        for row, world in enumerate(ended):
            yield EpisodeRecord(
                episode=int(episode[world]),
                seed=seeds[episode[world]],
                connector=end[variant_key(simulation.task)][row],
                success=bool(end["is_success"][row]),
                failure=end[FAILURE][row] or _out_of_time(end, row),
                steps=int(steps[world]),
                depth=_number(end, "insertion_depth", row),
                inserted=_number(end, "inserted", row),
                lateral_error=_number(end, "lateral_error", row),
                angular_error=_number(end, "angular_error", row),
                peak_force=float(peak_force[world]),
            )
            episode[world] = -1
            if following < len(seeds):
                # The world resets itself in the next step, from this generator.
                simulation.generators[world] = seeding.np_random(seeds[following])[0]
                episode[world] = following
                following += 1
        if not (episode >= 0).any():
            return


_MEASURED = ("is_success", "insertion_depth", "lateral_error", "angular_error", "contact_force")
"""What is read of the info of an episode's last step, beside names."""


def _number(end: Mapping[str, Any], name: str, row: int) -> float:
    """A number of an episode's end; NaN for a task that does not tell it."""
    return float(end[name][row]) if name in end else math.nan


def _out_of_time(end: Mapping[str, Any], row: int) -> str:
    """Which of `OUT_OF_TIME` an episode's end is; empty for a success."""
    if end["is_success"][row]:
        return ""
    if "insertion_depth" not in end:
        return "out of time"
    depth_mm, lateral_mm = end["insertion_depth"][row] * 1e3, end["lateral_error"][row] * 1e3
    if jammed(depth_mm, lateral_mm, end["contact_force"][row]):
        return "jammed"
    inside = depth_mm > JAMMED_DEPTH_MM and lateral_mm <= NEAR_LATERAL_MM
    return "partial" if inside else "missed"
