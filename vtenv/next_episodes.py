"""How episodes start: drawn from the worlds' generators, ahead of time where the engine can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtenv.engines import PreparingEngine
from vtenv.state import InitialState
from vtenv.tasks.insertion import task
from vtenv.tasks.insertion.config import VTInsertConfig
from vtenv.tasks.insertion.domain import NUM_DOMAIN_UNIFORMS, Domain, draw_domain


def draw_episodes(
    generators: Sequence[np.random.Generator],
    config: VTInsertConfig,
    bank_size: int,
    options: Mapping[str, object],
) -> tuple[InitialState, Domain | None]:
    """Draw how episodes start, one from each generator.

    A generator gives the numbers of the initial state first, then those of the domain if
    domains are randomised.

    Args:
        generators: N generators.
        config: Connectors, ranges and domains to draw from.
        bank_size: Number of settled grasps of each connector.
        options: Values that are fixed rather than drawn, checked by `task.check_options`.
    """
    randomised = config.domain_randomization is not None
    count = task.NUM_UNIFORMS + (NUM_DOMAIN_UNIFORMS if randomised else 0)
    uniforms = np.stack([generator.random(count) for generator in generators])
    initial = task.initial_state(uniforms[:, : task.NUM_UNIFORMS], config, bank_size, options)
    domain = draw_domain(uniforms[:, task.NUM_UNIFORMS :], config) if randomised else None
    return initial, domain


class NextEpisodes:
    """The next episodes of N worlds, drawn and made ready before they are needed.

    What was drawn ahead can be put back: the generator is as if it had never been asked. What
    was drawn from another generator than a world has now, or with other ranges, is not used.

    Args:
        engine: Makes them ready.
        domain: Any domains of all worlds; None if none are randomised.

    Attributes:
        engine: As given.
    """

    def __init__(self, engine: PreparingEngine, domain: Domain | None) -> None:
        self.engine = engine
        self._domain = domain
        self._rows: NDArray[np.float32] | None = None
        self._config: VTInsertConfig | None = None
        self._drawn = np.zeros(engine.num_worlds, bool)
        self._before: dict[int, tuple[np.random.Generator, Any]] = {}

    def draw(self, generators: Sequence[np.random.Generator], config: VTInsertConfig) -> None:
        """Draw the next episode of every world that has none drawn, from its generator."""
        if config is not self._config:
            self.put_back()
            self._config = config
        worlds = np.flatnonzero(~self._drawn)
        if not worlds.size:
            return
        listed = worlds.tolist()
        chosen = [generators[world] for world in listed]
        for world, generator in zip(listed, chosen, strict=True):
            self._before[world] = generator, generator.bit_generator.state
        initial, domain = draw_episodes(chosen, config, self.engine.bank_size, {})
        rows = self.engine.prepare(initial, domain)
        if self._rows is None:
            self._rows = np.empty((len(self._drawn), rows.shape[1]), rows.dtype)
        self._rows[worlds] = rows
        if self._domain is not None and domain is not None:
            self._domain = self._domain.replaced(worlds, domain)
        self._drawn[worlds] = True

    def take(
        self,
        worlds: NDArray[np.int64],
        generators: Sequence[np.random.Generator],
        config: VTInsertConfig,
    ) -> tuple[NDArray[np.float32], Domain | None] | None:
        """What was drawn for worlds, which then have none drawn.

        Returns:
            Rows for `PreparingEngine.reset_prepared`, and the domains, a row each. None if one
            of the worlds has none drawn that it may start; theirs are put back, then.
        """
        listed = worlds.tolist()
        if (
            self._rows is None
            or config is not self._config
            or not self._drawn[worlds].all()
            or any(self._before[world][0] is not generators[world] for world in listed)
        ):
            self.put_back(listed)
            return None
        for world in listed:
            del self._before[world]
        self._drawn[worlds] = False
        domain = None if self._domain is None else self._domain.rows(worlds)
        return self._rows[worlds], domain

    def put_back(self, worlds: Sequence[int] | None = None) -> None:
        """Forget what was drawn for worlds, None for all, and set their generators back."""
        for world in list(self._before) if worlds is None else worlds:
            if self._drawn[world]:
                generator, state = self._before.pop(world)
                generator.bit_generator.state = state
                self._drawn[world] = False
