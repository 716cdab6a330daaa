"""Does a world need touch? Audit a track and print the table.

uv run python scripts/audit_world.py contact --policies cnn --episodes 800
"""

from __future__ import annotations

import json

import tyro

from policies.evaluation.audit import audit, table
from policies.evaluation.players import load_player
from vtenv.seeds import seed_of


def main(
    track: str,
    /,
    policies: tuple[str, ...] = (),
    episodes: int = 800,
    purpose: str = "development",
    settings: str = "{}",
    threads: int = 1,
    worlds: int = 64,
) -> None:
    """Audit a track.

    Args:
        track: Its name.
        policies: Learned policies to play besides, as `vtinsert evaluate` takes them.
        episodes: How many, shared out evenly among the connectors.
        purpose: Of which of `vtenv.seeds.SEED_RANGES` the episodes are.
        settings: Settings besides, as a JSON object.
        threads: Threads of the physics.
        worlds: Worlds played at once.
    """
    rows = audit(
        {"track": track, **json.loads(settings)},
        [load_player(source) for source in policies],
        episodes,
        seed_of(purpose),
        num_threads=threads,
        num_envs=worlds,
    )
    print(table(rows))


if __name__ == "__main__":
    tyro.cli(main)
