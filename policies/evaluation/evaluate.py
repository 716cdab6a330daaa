"""Playing policies on fixed seeds: the same initial states for every one of them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from policies.evaluation.conditions import Condition
from policies.evaluation.conditions import condition as condition_by_name
from policies.evaluation.episodes import EpisodeRecord, episode_seeds, play
from policies.evaluation.evaluation_config import EPISODES, MOST_WORLDS
from policies.evaluation.players import Player, player_of
from policies.seeds import SeedRange
from policies.worlds import simulation_of
from vtenv.arrays import Array
from vtenv.simulation import Intervention
from vtenv.validation import require


def evaluate(
    policy: Player | Callable[[Any], Array],
    condition: Condition | str = "default",
    episodes: int = EPISODES,
    seeds: SeedRange = "development",
    *,
    first: int = 0,
    connectors: Collection[str] = (),
    engine: str = "cpu",
    device: str | None = None,
    num_threads: int | None = None,
    num_envs: int | None = None,
    intervention: Intervention | None = None,
    on_episode: Callable[[EpisodeRecord], None] = lambda _: None,
) -> list[EpisodeRecord]:
    """Play a policy's episodes of a condition.

    Every policy starts in the same initial states. On the CPU engine the same arguments give the
    same records, to the bit.

    Args:
        policy: Who plays: a `Player`, or any callable as `player_of` takes it.
        condition: A condition, or the name of one.
        episodes: How many, shared out evenly among the connectors.
        seeds: The range of seeds that they are of.
        first: How far from the first of the range they start.
        connectors: The connectors, or other variants of the task, to play; all by default.
        engine: One of `vtenv.engines.ENGINE_NAMES`.
        device: Device of the Warp engine; None for "cuda:0".
        num_threads: Threads of the CPU engine; None for one a core.
        num_envs: Worlds played at once; by default at most 16 on the CPU engine, 1024 on Warp.
        intervention: What is done to its observations before it is told them, if anything.
        on_episode: Called with each record as its episode ends.

    Returns:
        A record of each episode, in the order of their seeds.

    Raises:
        ValueError, TypeError: If an argument is not allowed; says what is.
    """
    player = policy if isinstance(policy, Player) else player_of(policy)
    if isinstance(condition, str):
        condition = condition_by_name(condition)
    require(episodes >= 1, "episodes", episodes, "at least 1")
    require(num_envs is None or num_envs >= 1, "num_envs", num_envs, "at least 1")
    chosen = episode_seeds(player.played(condition), episodes, seeds, first, connectors)
    number = min(num_envs or MOST_WORLDS.get(engine, 1), episodes)
    envs = player.make(condition, number, engine=engine, device=device, num_threads=num_threads)
    simulation_of(envs).intervention = intervention
    records = []
    try:
        for record in play(envs, player.act, chosen):
            records.append(record)
            on_episode(record)
    finally:
        envs.close()
    return sorted(records, key=lambda record: record.episode)
