"""A film of an evaluation: successes and failures, two at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from policies.evaluation.conditions import Condition
from policies.evaluation.episodes import EpisodeRecord, play
from policies.evaluation.players import Player
from policies.films import film
from policies.films.video import write_video

Pair = tuple[EpisodeRecord, ...]
"""Two episodes that are shown at once, or the only one there is."""

_CANDIDATES = 4
"""Episodes played again for each one that is filmed, where another engine evaluated."""


def choose_pairs(records: Sequence[EpisodeRecord], number: int) -> list[Pair]:
    """The first successes and failures of each connector, two by two.

    A success stands beside a failure of the same connector; what has no counterpart stands beside
    another of its like, so that no half of a picture is empty.

    Args:
        records: In the order of their seeds.
        number: Most successes, and most failures, of each connector.
    """
    pairs: list[Pair] = []
    single: list[EpisodeRecord] = []
    for connector in sorted({record.connector for record in records}):
        of_it = [record for record in records if record.connector == connector]
        won = [record for record in of_it if record.success][:number]
        lost = [record for record in of_it if not record.success][:number]
        pairs += zip(won, lost, strict=False)
        single += won[len(lost) :] + lost[len(won) :]
    if len(single) % 2 and len(records) > 1:
        shown = [*itertools.chain(*pairs), *single]
        single.append(next((r for r in records if r not in shown), shown[0]))
    return pairs + [tuple(single[i : i + 2]) for i in range(0, len(single), 2)]


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
        number: Most successes, and most failures, of each connector.
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
        candidates = itertools.chain(*choose_pairs(records, _CANDIDATES * number))
        again = play(envs, player.act, sorted({record.seed for record in candidates}))
        records = sorted(again, key=lambda record: record.episode)
    pairs = choose_pairs(records, number)
    envs.reset(seed=0)
    camera = film.Camera(envs, stacked=True)
    total = sum(film.num_frames(max(record.steps for record in pair)) for pair in pairs)

    def frames() -> Iterator[film.Image]:
        done = itertools.count(1)
        for pair in pairs:
            seeds = [record.seed for record in pair]
            for pictures in film.film_episodes(envs, camera, player.act, seeds):
                titled = itertools.starmap(_titled, zip(pictures, pair, strict=True))
                yield np.hstack(list(titled))
                on_frame(next(done), total)

    write_video(path, frames())
    camera.close()
    envs.close()
    return camera.missing


def _titled(picture: film.Image, record: EpisodeRecord) -> film.Image:
    """A picture of an episode below what came of it."""
    if record.success:
        return film.titled(picture, f"Success: seed {record.seed}", film.GOOD)
    return film.titled(picture, f"Failure: seed {record.seed}, {record.failure}", film.BAD)
