"""What became of the episodes that ended lately, gathered where the worlds are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gymnasium.vector import VectorEnv, VectorWrapper

from vtenv.arrays import Array, constant, namespace


@dataclass(frozen=True)
class EpisodeMeans:
    """Means over episodes.

    Attributes:
        episodes: How many.
        success: Part of them that succeeded.
        length: Control steps.
        terms: Sum of each term of the reward over the episode, by name.
    """

    episodes: int
    success: float
    length: float
    terms: dict[str, float]

    def __add__(self, other: EpisodeMeans) -> EpisodeMeans:
        """The means over the episodes of both."""
        episodes = self.episodes + other.episodes
        part = other.episodes / episodes

        def mean(mine: float, theirs: float) -> float:
            return mine + part * (theirs - mine)

        return EpisodeMeans(
            episodes,
            mean(self.success, other.success),
            mean(self.length, other.length),
            {name: mean(term, other.terms[name]) for name, term in self.terms.items()},
        )

    def row(self) -> dict[str, float]:
        """The means as a part of a table's row."""
        return {
            "episodes": self.episodes,
            "success": self.success,
            "return": sum(self.terms.values()),
            "episode_length": self.length,
            **{f"reward_{name}": value for name, value in self.terms.items()},
        }


class RecordEpisodes(VectorWrapper[Any, Any, Any, Any, Any]):
    """Sums up episodes while they are played; on a GPU nothing waits for it.

    Args:
        env: Worlds, or wrappers of them, with `AutoresetMode.SAME_STEP`.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        self._running: dict[str, Array] = {}
        self._ended: dict[str, Array] = {}

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """As the wrapped environment; episodes under way are forgotten."""
        observation, info = self.env.reset(seed=seed, options=options)
        names = [name for name in info if name.startswith("reward_")]
        zeros = namespace(info[names[0]]).zeros_like(info[names[0]])
        self._running = dict.fromkeys(("length", *names), zeros)
        if not self._ended:
            nothing = namespace(zeros).sum(zeros)
            self._ended = dict.fromkeys(("episodes", "is_success", *self._running), nothing)
        return observation, info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """As the wrapped environment."""
        result = self.env.step(actions)
        terminated, truncated, info = result[2:]
        done = terminated | truncated
        final = info.get("final_info")
        self._running["length"] = self._running["length"] + 1
        for name in self._running.keys() - {"length"}:
            term = info[name]
            if final is not None:
                term = namespace(term).where(done, final[name], term)
            self._running[name] = self._running[name] + term
        if final is not None:
            self._end(done, final)
        return result

    def _end(self, done: Array, final: dict[str, Any]) -> None:
        """Sum up the episodes of the worlds of a mask, and begin anew there."""
        like = self._running["length"]
        xp = namespace(like)
        ones = constant(done, like)
        ended = {"episodes": ones, "is_success": ones * final["is_success"]}
        ended |= {name: value * ones for name, value in self._running.items()}
        for name, value in ended.items():
            self._ended[name] = self._ended[name] + xp.sum(value)
        for name, value in self._running.items():
            self._running[name] = xp.where(done, xp.zeros_like(value), value)

    def take(self) -> EpisodeMeans | None:
        """Means over the episodes that ended since the last call; None if none did."""
        sums = {name: float(value) for name, value in self._ended.items()}
        self._ended = {name: value * 0 for name, value in self._ended.items()}
        episodes = sums.pop("episodes", 0.0)
        if not episodes:
            return None
        means = {name: value / episodes for name, value in sums.items()}
        success, length = means.pop("is_success"), means.pop("length")
        terms = {name.removeprefix("reward_"): value for name, value in means.items()}
        return EpisodeMeans(round(episodes), success, length, terms)
