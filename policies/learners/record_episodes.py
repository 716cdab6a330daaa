"""What became of the episodes that ended lately, summed up where the worlds are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from gymnasium.vector import VectorEnv, VectorWrapper

from vtenv.arrays import Array, constant, namespace


def episode_means(sums: Mapping[str, float]) -> dict[str, float]:
    """Means over episodes from what `RecordEpisodes.take` returned; empty without any."""
    episodes = sums.get("episodes", 0.0)
    if not episodes:
        return {}
    means = {name: value / episodes for name, value in sums.items()}
    total = sum(value for name, value in means.items() if name.startswith("reward_"))
    return means | {"episodes": round(episodes), "return": total}


class RecordEpisodes(VectorWrapper):
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
        self._running = dict.fromkeys(("episode_length", *names), zeros)
        if not self._ended:
            nothing = namespace(zeros).sum(zeros)
            self._ended = dict.fromkeys(("episodes", "success", *self._running), nothing)
        return observation, info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """As the wrapped environment."""
        result = self.env.step(actions)
        terminated, truncated, info = result[2:]
        done = terminated | truncated
        final = info.get("final_info")
        for name in self._running:
            term = info.get(name, 1.0)  # a step more, or a term of the reward
            if final is not None and name in info:
                term = namespace(term).where(done, final[name], term)
            self._running[name] = self._running[name] + term
        if final is not None:
            self._end(done, final)
        return result

    def _end(self, done: Array, final: dict[str, Any]) -> None:
        """Sum up the episodes of the worlds of a mask, and begin anew there."""
        like = self._running["episode_length"]
        xp = namespace(like)
        ones = constant(done, like)
        ended = {"episodes": ones, "success": ones * final["is_success"]}
        ended |= {name: value * ones for name, value in self._running.items()}
        for name, value in ended.items():
            self._ended[name] = self._ended[name] + xp.sum(value)
        for name, value in self._running.items():
            self._running[name] = xp.where(done, xp.zeros_like(value), value)

    def take(self) -> Counter[str]:
        """Sums over the episodes that ended since the last call, by name; empty if none did."""
        sums = Counter({name: float(value) for name, value in self._ended.items()})
        self._ended = {name: value * 0 for name, value in self._ended.items()}
        return sums if sums["episodes"] else Counter()
