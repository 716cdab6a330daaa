"""How episodes start: drawn from the worlds' generators, ahead of time where the engine can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtenv.arrays import leaves, rebuild
from vtenv.tasks import Task
from vtenv.world_model import Episodes


def draw_episodes(
    task: Task,
    generators: Sequence[np.random.Generator],
    options: Sequence[Mapping[str, object]],
) -> Episodes:
    """Draw how episodes start, one from each generator.

    Args:
        task: Says how.
        generators: N generators.
        options: Values that are fixed rather than drawn, checked by `Task.check_options`: one
            mapping for all, or one for each.
    """
    uniforms = np.stack([generator.random(task.num_uniforms) for generator in generators])
    if len(options) == 1:
        return task.draw(uniforms, options[0])
    each = [task.draw(uniforms[row : row + 1], fixed) for row, fixed in enumerate(options)]
    return rebuild(each[0], map(np.concatenate, zip(*map(leaves, each), strict=True)))


class NextEpisodes:
    """The next episodes of N worlds, drawn before they are needed.

    What was drawn ahead can be put back: the generator is as if it had never been asked. What
    was drawn from another generator than a world has now, or for another task, is not used.

    Args:
        num_worlds: Worlds.
    """

    def __init__(self, num_worlds: int) -> None:
        self._episodes: Episodes | None = None
        self._task: Task | None = None
        self._drawn = np.zeros(num_worlds, bool)
        self._before: dict[int, tuple[np.random.Generator, Any]] = {}

    def draw(self, task: Task, generators: Sequence[np.random.Generator]) -> None:
        """Draw the next episode of every world that has none drawn, from its generator."""
        if task is not self._task:
            self.put_back()
            self._task = task
        worlds = np.flatnonzero(~self._drawn)
        if not worlds.size:
            return
        listed = worlds.tolist()
        chosen = [generators[world] for world in listed]
        for world, generator in zip(listed, chosen, strict=True):
            self._before[world] = generator, generator.bit_generator.state
        episodes = draw_episodes(task, chosen, [{}])
        if self._episodes is None:
            self._episodes = episodes.empty(len(self._drawn))
        self._episodes.write(worlds, episodes)
        self._drawn[worlds] = True

    def take(
        self, task: Task, worlds: NDArray[np.int64], generators: Sequence[np.random.Generator]
    ) -> Episodes | None:
        """What was drawn for worlds, which then have none drawn.

        Returns:
            Their episodes, a row each. None if one of the worlds has none drawn that it may
            start; theirs are put back, then.
        """
        listed = worlds.tolist()
        if (
            self._episodes is None
            or task is not self._task
            or not self._drawn[worlds].all()
            or any(self._before[world][0] is not generators[world] for world in listed)
        ):
            self.put_back(listed)
            return None
        for world in listed:
            del self._before[world]
        self._drawn[worlds] = False
        return self._episodes.rows(worlds)

    def put_back(self, worlds: Sequence[int] | None = None) -> None:
        """Forget what was drawn for worlds, None for all, and set their generators back."""
        for world in list(self._before) if worlds is None else worlds:
            if self._drawn[world]:
                generator, state = self._before.pop(world)
                generator.bit_generator.state = state
                self._drawn[world] = False
