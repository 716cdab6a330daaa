"""Seeded episodes played to their end, many at once, and what came of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from policies.seeds import SeedRange, seeds_from
from policies.worlds import (
    FAILURE,
    decode,
    require_variants,
    simulation_of,
    variant_key,
    variant_names,
    variant_of_seed,
)
from vtenv.arrays import Array, to_host
from vtenv.rollout import rollout
from vtenv.simulation import Simulation
from vtenv.tasks import Task

Act = Callable[[Any, Simulation, NDArray[np.bool_]], Array]
"""Chooses the actions of all worlds, (N, A), from their observation, the simulation behind them,
and which of them have just started an episode, (N,)."""


@dataclass(frozen=True)
class EpisodeRecord:
    """What came of an episode.

    Attributes:
        episode: Its number among those played, from 0.
        seed: Seed of its world.
        connector: The connector, or other variant of the task, that it was about.
        success: Whether it succeeded.
        failure: Why it did not, one of the task's `failures` or `timeouts`; empty if it did.
        steps: Control steps until it ended.
        progress: The mean of the task's potentials at the end, each of which rises to 1 as the
            task is solved.
        peak_force: Greatest contact force, in [N]; 0 for a task that tells none.
        labels: The task's labels at the end, by name.
    """

    episode: int
    seed: int
    connector: str
    success: bool
    failure: str
    steps: int
    progress: float
    peak_force: float
    labels: Mapping[str, float]

    def row(self) -> dict[str, Any]:
        """The record as a table's row."""
        return {
            "episode": self.episode,
            "connector": self.connector,
            "seed": self.seed,
            "success": int(self.success),
            "failure": self.failure,
            "steps": self.steps,
            "progress": round(self.progress, 4),
            "peak_force_n": round(self.peak_force, 3),
            **{name: round(value, 3) for name, value in self.labels.items()},
        }


def episode_seeds(
    task: Task,
    episodes: int,
    seeds: SeedRange = "development",
    first: int = 0,
    variants: Collection[str] = (),
) -> list[int]:
    """Seeds of episodes that are shared out evenly among a task's variants.

    A seed draws its variant, as the environment's `reset(seed=...)` does. Of each variant these
    are the range's first seeds from `first` on, so that fewer episodes, or fewer variants, are a
    part of more.

    Args:
        task: The task with its settings, on which what is drawn depends.
        episodes: Number of seeds; where it cannot be shared out, the first variants get one more.
        seeds: The range that they are of.
        first: How far from the first of the range they start.
        variants: The variants to play, of those that the environment draws; all by default.

    Raises:
        ValueError: If the environment lacks one of the variants, or the range has too few seeds.
    """
    require_variants(task, variants)
    drawn = [name for name in variant_names(task) if not variants or name in variants]
    wanted = Counter({name: episodes // len(drawn) for name in drawn})
    wanted.update(drawn[: episodes % len(drawn)])
    chosen: list[int] = []
    for seed in seeds_from(seeds, first, episodes):
        name = variant_of_seed(task, seed)
        if wanted[name]:
            wanted[name] -= 1
            chosen.append(seed)
        if not wanted.total():
            return chosen
    raise ValueError(
        f"{seeds} has no {episodes} episodes from its seed {first} on; start earlier, or play fewer"
    )


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
    peak_force = np.zeros(number)

    def choose(observation: Any, _: Mapping[str, Any]) -> Array:
        return act(observation, simulation, started)

    for step in rollout(envs, choose, seed=first + first[-1:] * (number - len(first))):
        if started.all():
            peak_force = _force(step.info, number)
        started, finished = finished, to_host(step.terminated) | to_host(step.truncated)
        steps = np.where(started, 0, steps + 1)
        force = _force(step.next_info, number)
        peak_force = np.where(started, force, np.maximum(peak_force, force))
        ended = np.flatnonzero(finished & (episode >= 0))
        if not ended.size:
            continue
        info, task, now = step.next_info, simulation.task, simulation.evaluation
        codes = {k: decode(to_host(info[k])[ended], names) for k, names in task.code_names.items()}
        labels = {name: to_host(value)[ended] for name, value in task.labels(now).items()}
        timeouts = task.timeouts(labels)
        potentials = [to_host(value)[ended] for value in now.potentials.values()]
        success = to_host(info["is_success"])[ended]
        for row, world in enumerate(ended):
            failure = codes[FAILURE][row]
            if not failure and not success[row]:
                failure = next(name for name, holds in timeouts.items() if holds[row])
            yield EpisodeRecord(
                episode=int(episode[world]),
                seed=seeds[episode[world]],
                connector=codes[variant_key(task)][row],
                success=bool(success[row]),
                failure=failure,
                steps=int(steps[world]),
                progress=float(np.mean([potential[row] for potential in potentials])),
                peak_force=float(peak_force[world]),
                labels={name: float(values[row]) for name, values in labels.items()},
            )
            episode[world] = -1
            if following < len(seeds):
                # The world resets itself in the next step, from this generator.
                simulation.generators[world] = seeding.np_random(seeds[following])[0]
                episode[world] = following
                following += 1
        if not (episode >= 0).any():
            return


def _force(info: Mapping[str, Any], number: int) -> NDArray[Any]:
    """The contact force of all worlds, (N,), in [N]; 0 for a task that tells none."""
    return to_host(info["contact_force"]) if "contact_force" in info else np.zeros(number)
