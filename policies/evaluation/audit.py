"""Does a world need touch? Who plays it with and without, on the same episodes.

Players are the expert, a scripted search that feels nothing, chance, and policies: as they are,
with their touch taken away, and with the part of their proprioception that tells force taken away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.evaluation.conditions import Condition
from policies.evaluation.evaluate import evaluate
from policies.evaluation.players import Player, load_player
from policies.evaluation.statistics import wilson
from policies.representation_names import EXPERT, RANDOM
from policies.seeds import SeedRange
from representation.encoder_config import SENSES
from vtenv.arrays import Array, constant, namespace, renewed
from vtenv.simulation import Intervention, Simulation
from vtenv.tasks.insertion.no_touch import first_look_action, search_action
from vtenv.tasks.insertion.task import InsertionTask

_LAG = slice(5, 10)
"""Where `proprio` has how far the target is ahead of the hand, which tells its force."""


def without_touch(observation: dict[str, Array], _: NDArray[np.bool_]) -> dict[str, Array]:
    """Nothing is felt."""
    return {k: v * 0 if k in SENSES["touch"] else v for k, v in observation.items()}


def without_a_finger(observation: dict[str, Array], _: NDArray[np.bool_]) -> dict[str, Array]:
    """The left finger feels nothing."""
    told = dict(observation)
    for key in set(SENSES["touch"]) & set(observation):
        image = observation[key]
        told[key] = namespace(image).concat([image[:, :1] * 0, image[:, 1:]], axis=1)
    return told


def without_lag(observation: dict[str, Array], _: NDArray[np.bool_]) -> dict[str, Array]:
    """Proprioception does not tell how far the target is ahead."""
    if "proprio" not in observation:
        return observation
    values = observation["proprio"]
    parts = [values[:, : _LAG.start], values[:, _LAG] * 0, values[:, _LAG.stop :]]
    return {**observation, "proprio": namespace(values).concat(parts, axis=1)}


class FrozenTouch:
    """What was felt first is felt throughout the episode."""

    def __init__(self) -> None:
        self._first: dict[str, Array] = {}

    def __call__(
        self, observation: dict[str, Array], started: NDArray[np.bool_]
    ) -> dict[str, Array]:
        """Observations with the touch of their episodes' first."""
        told = dict(observation)
        for key in set(SENSES["touch"]) & set(observation):
            image = observation[key]
            begun = constant(started, image, namespace(image).bool)
            first = self._first.get(key, image)
            self._first[key] = told[key] = renewed(begun, image, first)
        return told


INTERVENTIONS: Mapping[str, Callable[[], Intervention | None]] = {
    "as it is": lambda: None,
    "no touch": lambda: without_touch,
    "touch of the first step": FrozenTouch,
    "one finger dead": lambda: without_a_finger,
    "no lag": lambda: without_lag,
}
"""What is done to policies' observations, by name; each makes one that has seen nothing yet."""


@dataclass(frozen=True)
class AuditRow:
    """How often a player succeeded.

    Attributes:
        player: Its name.
        intervention: One of `INTERVENTIONS`.
        connector: Whose episodes these were; "all" for everybody's.
        episodes: How many.
        successes: How many of them succeeded.
        low: Lower end of Wilson's 95% interval of the rate.
        high: Its upper end.
        force_n: 95th percentile of the peak force of those that succeeded, [N]; NaN for none.
        steps: Median of their control steps; NaN for none.
    """

    player: str
    intervention: str
    connector: str
    episodes: int
    successes: int
    low: float
    high: float
    force_n: float
    steps: float

    @property
    def rate(self) -> float:
        """Part of the episodes that succeeded."""
        return self.successes / self.episodes


def no_touch_search() -> Player:
    """The scripted search of `vtenv.tasks.insertion.no_touch`."""

    def act(_: Any, simulation: Simulation, __: NDArray[np.bool_]) -> Array:
        config = simulation.task.config
        return search_action(
            simulation.state,
            simulation.measures.travel,
            simulation.elapsed,
            config.initial_state,  # type: ignore[attr-defined] # of an insertion
            delay=config.action_delay,
        )

    return Player("no-touch search", act, looks=False)


class FirstLook:
    """The expert that knows where the plug was in the hand at first, and not where it is."""

    def __init__(self) -> None:
        self._first: Array | None = None

    def __call__(self, _: Any, simulation: Simulation, started: NDArray[np.bool_]) -> Array:
        """Actions, (N, 5)."""
        now = simulation.measures.in_hand
        begun = constant(started, now, namespace(now).bool)
        self._first = renewed(begun, now, now if self._first is None else self._first)
        task = simulation.task
        assert isinstance(task, InsertionTask)
        return first_look_action(task, simulation.state, self._first)


def play_audit(
    settings: Mapping[str, Any],
    policies: Iterable[Player] = (),
    episodes: int = 800,
    seeds: SeedRange = "development",
    *,
    on_episode: Callable[[], None] = lambda: None,
    **where: Any,
) -> list[AuditRow]:
    """Play a world of `VTInsert-v0` with the scripted players and policies.

    Everybody plays the same episodes.

    Args:
        settings: The world: keyword arguments of the environment, `track` among them.
        policies: Learned players, as `players.load_player` makes.
        episodes: How many, shared out evenly among the connectors.
        seeds: The range of seeds that they are of.
        on_episode: Called after each episode.
        where: `engine`, `device`, `num_threads` and `num_envs`, as `evaluate` takes them.

    Returns:
        A row for each player, intervention and connector, and for all connectors together.

    Raises:
        ValueError, TypeError: If an argument is not allowed.
    """
    condition = Condition("audit", "the world that is audited", dict(settings))
    first_look = Player("expert of the first look", FirstLook(), looks=False)
    scripted = (load_player(EXPERT), first_look, no_touch_search(), load_player(RANDOM))
    played = [(player, "as it is") for player in scripted]
    played += [(player, name) for player in policies for name in INTERVENTIONS]
    rows: list[AuditRow] = []
    for player, name in played:
        records = evaluate(
            player,
            condition,
            episodes,
            seeds,
            intervention=INTERVENTIONS[name](),
            on_episode=lambda _: on_episode(),
            **where,
        )
        connectors = sorted({record.connector for record in records})
        groups = {c: [r for r in records if r.connector == c] for c in connectors}
        for connector, those in {**groups, "all": records}.items():
            won = [record for record in those if record.success]
            force = np.percentile([record.peak_force for record in won], 95) if won else np.nan
            steps = np.median([record.steps for record in won]) if won else np.nan
            counts = (len(those), len(won), *wilson(len(won), len(those)))
            rows.append(AuditRow(player.name, name, connector, *counts, float(force), float(steps)))
    return rows


def table(rows: Iterable[AuditRow]) -> str:
    """Rows as a Markdown table."""
    lines = [
        "| Player | Observations | Connector | Success | 95% interval | Steps | Force (N) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.player} | {row.intervention} | {row.connector} "
            f"| {row.successes}/{row.episodes} = {row.rate:.1%} "
            f"| {row.low:.1%} to {row.high:.1%} | {_number(row.steps)} | {_number(row.force_n)} |"
        )
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:.0f}" if np.isfinite(value) else ""
