"""A film of an evaluation: a success and a failure of each connector, side by side."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from policies.evaluation.conditions import Condition
from policies.evaluation.episodes import EpisodeRecord, play
from policies.evaluation.players import Player
from policies.films import film
from policies.films.video import write_video

_CANDIDATES = 4
"""Episodes played again for each one that is filmed, where another engine evaluated."""
_MUTED = (152, 159, 170)


@dataclass(frozen=True)
class Pair:
    """What is shown at once.

    Attributes:
        success: An episode; None if none of that connector succeeded.
        failure: An episode of the same connector; None if none failed.
    """

    success: EpisodeRecord | None
    failure: EpisodeRecord | None

    @property
    def there(self) -> tuple[EpisodeRecord, ...]:
        """The episodes there are."""
        return tuple(record for record in (self.success, self.failure) if record is not None)


def choose_pairs(records: Sequence[EpisodeRecord], number: int) -> list[Pair]:
    """The first successes and failures of each connector.

    Args:
        records: Records of episodes, in the order of their seeds.
        number: Most pairs of a connector.
    """
    pairs = []
    for connector in sorted({record.connector for record in records}):
        of_it = [record for record in records if record.connector == connector]
        won = [record for record in of_it if record.success][:number]
        lost = [record for record in of_it if not record.success][:number]
        pairs += [Pair(*both) for both in itertools.zip_longest(won, lost)]
    return pairs


def film_pairs(
    player: Player,
    condition: Condition,
    records: Sequence[EpisodeRecord],
    path: Path,
    *,
    number: int = 1,
    same_engine: bool = True,
    on_frame: Callable[[int, int], None] = lambda done, total: None,
) -> str:
    """Film successes and failures of an evaluation, on the CPU engine.

    Args:
        player: Who played.
        condition: The condition that it was in.
        records: What came of it.
        path: The file, `.mp4`.
        number: Most pairs of each connector.
        same_engine: Whether the CPU engine played the episodes. Where another did, an episode
            may end otherwise here: some are played again, and pairs are chosen among those.
        on_frame: Called with the number of frames that are done, and of all.

    Returns:
        Why there is no third-person view; empty if there is one.

    Raises:
        OSError: If the file cannot be written.
    """
    player = player.filmed(film.MODALITIES)
    envs = player.make(condition, 2)
    if not same_engine:
        seeds = [r.seed for pair in choose_pairs(records, _CANDIDATES * number) for r in pair.there]
        records = sorted(play(envs, player.act, sorted(seeds)), key=lambda r: r.episode)
    pairs = choose_pairs(records, number)
    envs.reset(seed=0)
    camera = film.Camera(envs, stacked=True)
    counts = [film.num_frames(max(r.steps for r in pair.there)) for pair in pairs]

    def frames() -> Iterator[film.Image]:
        done = itertools.count(1)
        for pair in pairs:
            seeds = [record.seed for record in pair.there]
            for pictures in film.film_episodes(envs, camera, player.act, seeds):
                yield _beside(pair, pictures)
                on_frame(next(done), sum(counts))

    write_video(path, frames(), film.FPS)
    camera.close()
    envs.close()
    return camera.missing


def _beside(pair: Pair, pictures: list[film.Image]) -> film.Image:
    """A frame: the success on the left, the failure on the right."""
    shown = iter(pictures)
    nothing = film.blank(pictures[0].shape[:2])
    titles = (
        (pair.success, "Success: seed {0.seed}", film.GOOD, "No success"),
        (pair.failure, "Failure: seed {0.seed}, {0.failure}", film.BAD, "No failure"),
    )
    sides = [
        film.titled(nothing, f"{without} with this connector", _MUTED)
        if record is None
        else film.titled(next(shown), title.format(record), colour)
        for record, title, colour, without in titles
    ]
    return np.hstack(sides)
