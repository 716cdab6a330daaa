"""Seeded episodes played to their end, many at once, and what came of each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from array_api_compat import to_device
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from vtenv.simulation import Simulation
from vtenv.state import Array, namespace
from vtenv.tasks.insertion import task
from vtenv.tasks.insertion.config import VTInsertConfig
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES
from vtenv.tasks.insertion.expert import expert_action
from vtenv.tasks.insertion.regions import JAMMED_DEPTH_MM, NEAR_LATERAL_MM, jammed
from vtenv.vector_env import VTInsertVectorEnv

Act = Callable[[Any, Simulation, NDArray[np.bool_]], Array]
"""Chooses the actions of all worlds, (N, 5), from their observation, the simulation behind them,
and which of them have just started an episode, (N,)."""

OUT_OF_TIME = {
    "jammed": "pressed on the socket's face",
    "partial": "in the mouth, but not deep enough",
    "missed": "anywhere else",
}
"""Where the tip was when time was over, by cause of failure."""
CAUSES = (*filter(None, task.FAILURES), *OUT_OF_TIME)
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


def expert(simulation: Simulation) -> Array:
    """The scripted expert's actions in all worlds, (N, 5)."""
    action = expert_action(simulation.state, simulation.geometry)
    xp = namespace(action)
    return xp.astype(action, xp.float32)


def expert_acts(_: Any, simulation: Simulation, __: NDArray[np.bool_]) -> Array:
    """The scripted expert as an `Act`: it looks at the simulation alone."""
    return expert(simulation)


def episode_seeds(
    config: VTInsertConfig, episodes: int, seed: int, connectors: Collection[str] = CONNECTOR_NAMES
) -> list[int]:
    """Seeds of episodes that are shared out evenly among connectors.

    A seed draws its connector, as `VTInsertEnv.reset(seed=...)` does. Of each connector these are
    its first seeds from `seed` on, so that fewer episodes, or fewer connectors, are a part of more.

    Args:
        config: The environment's settings, of which what is drawn depends.
        episodes: Number of seeds; where it cannot be shared out, the first connectors get one more.
        seed: Where to start.
        connectors: The connectors to play, of those that the environment draws from.

    Returns:
        Seeds, ascending.

    Raises:
        ValueError: If the environment draws none of the connectors.
    """
    drawn = [name for name in config.connectors if name in connectors]
    if not drawn:
        raise ValueError(
            f"this environment has {', '.join(config.connectors)}, and none of "
            f"{', '.join(connectors)}"
        )
    wanted = Counter({name: episodes // len(drawn) for name in drawn})
    wanted.update(drawn[: episodes % len(drawn)])
    seeds = []
    while wanted.total():
        name = _connector(config, seed)
        if wanted[name]:
            wanted[name] -= 1
            seeds.append(seed)
        seed += 1
    return seeds


def _connector(config: VTInsertConfig, seed: int) -> str:
    """The connector that a seed draws."""
    uniforms = seeding.np_random(seed)[0].random((1, task.NUM_UNIFORMS))
    return CONNECTOR_NAMES[int(task.initial_state(uniforms, config, 1, {}).connector[0])]


def play(envs: VectorEnv[Any, Any, Any], act: Act, seeds: Sequence[int]) -> Iterator[EpisodeRecord]:
    """Play one episode from each seed, as many at once as there are worlds.

    A world goes on with the next seed as soon as its episode has ended. What comes of an episode
    depends on its seed alone, as far as actions do not depend on other worlds.

    Args:
        envs: `VTInsertVectorEnv`, or wrappers of one, with `AutoresetMode.NEXT_STEP`.
        act: Who acts.
        seeds: Seeds of the episodes' worlds.

    Yields:
        Records, in the order in which episodes end.

    Raises:
        ValueError: If the environments reset themselves in another way.
    """
    if envs.metadata["autoreset_mode"] is not AutoresetMode.NEXT_STEP:
        raise ValueError("episodes are played in AutoresetMode.NEXT_STEP; make environments so")
    simulation = cast(VTInsertVectorEnv, envs.unwrapped).simulation
    number = envs.num_envs
    # Worlds without an episode of their own play the last; nobody looks at them.
    first: Any = list(seeds[:number])
    observation, info = envs.reset(seed=first + first[-1:] * (number - len(first)))
    episode = np.where(np.arange(number) < len(first), np.arange(number), -1)
    following = len(first)
    steps = np.zeros(number, np.int64)
    peak_force = _host(info["contact_force"])
    started = np.ones(number, bool)
    finished = np.zeros(number, bool)
    while (episode >= 0).any():
        action = act(observation, simulation, started)
        observation, _, terminated, truncated, info = envs.step(action)
        started, finished = finished, _host(terminated) | _host(truncated)
        steps = np.where(started, 0, steps + 1)
        force = _host(info["contact_force"])
        peak_force = np.where(started, force, np.maximum(peak_force, force))
        ended = np.flatnonzero(finished & (episode >= 0))
        if not ended.size:
            continue
        told = {name: _host(info[name])[ended] for name in _TOLD}
        travel = _host(simulation.geometry.travel)[ended]
        for row, world in enumerate(ended):
            number_of_it = int(episode[world])
            end = {name: values[row] for name, values in told.items()}
            yield _record(
                end, number_of_it, seeds, steps[world], peak_force[world], float(travel[row])
            )
            episode[world] = -1
            if following < len(seeds):
                # The world resets itself in the next step, from this generator.
                simulation.generators[world] = seeding.np_random(seeds[following])[0]
                episode[world] = following
                following += 1


_TOLD = (
    "connector",
    "is_success",
    "failure",
    "insertion_depth",
    "lateral_error",
    "angular_error",
    "contact_force",
)
"""What is read of the info of an episode's last step."""


def _record(
    end: dict[str, Any],
    episode: int,
    seeds: Sequence[int],
    steps: Any,
    peak_force: Any,
    travel: float,
) -> EpisodeRecord:
    """A record from one world's info at its episode's end."""
    success = bool(end["is_success"])
    depth, lateral = float(end["insertion_depth"]), float(end["lateral_error"])
    failure = _name(end["failure"], task.FAILURES)
    if not success and not failure:
        failure = _out_of_time(depth * 1e3, lateral * 1e3, float(end["contact_force"]))
    return EpisodeRecord(
        episode=episode,
        seed=seeds[episode],
        connector=_name(end["connector"], CONNECTOR_NAMES),
        success=success,
        failure=failure,
        steps=int(steps),
        depth=depth,
        inserted=min(max(depth / travel, 0.0), 1.0),
        lateral_error=lateral,
        angular_error=float(end["angular_error"]),
        peak_force=float(peak_force),
    )


def _out_of_time(depth_mm: float, lateral_mm: float, force: float) -> str:
    """Which of `OUT_OF_TIME` an episode's end is."""
    if jammed(depth_mm, lateral_mm, force):
        return "jammed"
    inside = depth_mm > JAMMED_DEPTH_MM and lateral_mm <= NEAR_LATERAL_MM
    return "partial" if inside else "missed"


def _name(value: Any, names: Sequence[str]) -> str:
    """A name that is told as itself, or as a code."""
    return value if isinstance(value, str) else names[int(value)]


def _host(values: Array) -> NDArray[Any]:
    """An array of any library as NumPy's."""
    return np.asarray(to_device(values, "cpu"))
