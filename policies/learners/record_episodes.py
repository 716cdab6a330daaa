"""What became of the episodes that ended lately, summed up where the worlds are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from gymnasium.vector import VectorEnv, VectorWrapper

from policies.worlds import simulation_of
from vtenv.arrays import Array, namespace


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
        self._add = simulation_of(env).engine.arrays.capture(_added)
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
        told = {name: info[name] for name in self._running if name in info}
        final = info.get("final_info")
        if final is not None:
            final = {name: final[name] for name in ("is_success", *told)}
        done = terminated | truncated
        self._running, self._ended = self._add(self._running, self._ended, done, told, final)
        return result

    def take(self) -> Counter[str]:
        """Sums over the episodes that ended since the last call, by name; empty if none did."""
        sums = Counter({name: float(value) for name, value in self._ended.items()})
        self._ended = {name: value * 0 for name, value in self._ended.items()}
        return sums if sums["episodes"] else Counter()


def _added(
    running: dict[str, Array],
    ended: dict[str, Array],
    done: Array,
    told: dict[str, Array],
    final: dict[str, Array] | None,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Sums of the episodes that are played, (N,) each, and of those that ended, after a step.

    Args:
        running: Sums before it.
        ended: Sums before it.
        done: Whether an episode ended in it, (N,).
        told: Terms of its reward by name; of a world that has begun anew, zeros.
        final: The same, and `is_success`, of the episodes that ended; None if none did.
    """
    xp = namespace(done)
    after = {}
    for name, value in running.items():
        term: Any = told.get(name, 1.0)  # a term of the reward, or a step more
        if final is not None and name in final:
            term = xp.where(done, final[name], term)
        after[name] = value + term
    if final is None:
        return after, dict(ended)
    ones = xp.astype(done, running["episode_length"].dtype)
    sums = {"episodes": ones, "success": ones * final["is_success"]}
    sums |= {name: value * ones for name, value in after.items()}
    running = {name: xp.where(done, xp.zeros_like(v), v) for name, v in after.items()}
    return running, {name: value + xp.sum(sums[name]) for name, value in ended.items()}
