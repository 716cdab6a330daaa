"""Who is filmed: a player that senses what the picture shows."""

from __future__ import annotations

import dataclasses
import functools

from policies.evaluation.players import EXPERT, Player
from policies.films.film import MODALITIES
from vtenv.vector_env import VTInsertVectorEnv

_FILMED_EXPERT = dataclasses.replace(
    EXPERT,
    make=functools.partial(VTInsertVectorEnv, modalities=MODALITIES),
    modalities=MODALITIES,
)


def for_film(player: Player) -> Player:
    """A player to film: of the expert, which needs no sensors, one that has them all."""
    return _FILMED_EXPERT if player is EXPERT else player
