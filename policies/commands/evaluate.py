"""`vtinsert evaluate`: how well a policy does, and where it fails."""

from __future__ import annotations

import csv
import datetime
import io
import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import tyro
from gymnasium.error import DependencyNotInstalled
from rich.console import Console
from rich.table import Table

from policies.commands import CommandError, ConnectorName
from policies.environment_settings import settings_to_json
from policies.evaluation.conditions import SUITES, Condition, condition
from policies.evaluation.episodes import EpisodeRecord
from policies.evaluation.evaluate import EPISODES, SEED
from policies.evaluation.evaluate import evaluate as play_episodes
from policies.evaluation.players import EXPERT, Player, load_player
from policies.evaluation.summary import (
    COLUMNS,
    LEGEND,
    Summary,
    by_connector,
    overview,
    to_markdown,
)
from policies.films.side_by_side import film_pairs
from vtenv import provenance
from vtenv.atomic_write import atomic_write
from vtenv.progress import progress_bar

Records = Mapping[str, Sequence[EpisodeRecord]]


def evaluate(
    policy: tyro.conf.Positional[str],
    *,
    conditions: tuple[str, ...] = (),
    suite: Literal["default", "full"] = "default",
    connector: tuple[ConnectorName, ...] = ("aux", "pin", "usb", "stud"),
    episodes: int = EPISODES,
    seed: int = SEED,
    num_envs: int | None = None,
    engine: Literal["cpu", "warp"] = "cpu",
    device: str | None = None,
    num_threads: int | None = None,
    filmed: int = 1,
    output: Path = Path("outputs/evaluation"),
) -> int:
    """Play a policy on fixed seeds: success, steps, forces and failures, with a video.

    Every policy starts in the same initial states, shared out evenly among the connectors. Writes
    `episodes.csv`, `summary.json`, `summary.md` and `episodes.mp4`.

    Args:
        policy: The folder of a training run, the folder of a policy, the name of a bundled one,
            or "expert", the scripted expert.
        conditions: Conditions by name, in place of a suite.
        suite: Conditions that belong together: "default" alone, or "full", all but "training".
        connector: Connectors to play.
        episodes: Episodes of each condition.
        seed: Where the seeds of the episodes start.
        num_envs: Worlds played at once; by default at most 16 on the CPU engine, 1024 on Warp.
        engine: The physics engine.
        device: Device of the Warp engine; by default "cuda:0".
        num_threads: Threads of the CPU engine; by default one a core.
        filmed: Most successes and failures of each connector in the video, which shows the first
            condition; 0 for no video.
        output: Folder for what is written.
    """
    for option, value, least in (
        ("episodes", episodes, 1),
        ("seed", seed, 0),
        ("num-envs", num_envs, 1),
        ("filmed", filmed, 0),
    ):
        if value is not None and value < least:
            raise CommandError(f"--{option} {value} is not allowed; it must be at least {least}")
    if conditions and suite != "default":
        raise CommandError("--conditions and --suite exclude each other; leave one out")
    if not connector:
        raise CommandError("--connector needs one or more of aux, pin, usb, stud")
    try:
        chosen = [condition(name) for name in dict.fromkeys(conditions or SUITES[suite])]
        player = load_player(policy)
        for one in chosen:
            player.config(one)
    except (ValueError, TypeError) as error:
        raise CommandError(str(error)) from None
    output = _folder(output)

    console = Console(highlight=False)
    played: dict[str, list[EpisodeRecord]] = {}
    with progress_bar() as progress:
        # The bar comes first: the first run of all compiles the sensors and settles the grasps.
        task = progress.add_task("", total=episodes * len(chosen))
        for one in chosen:
            progress.update(task, description=f"Playing {one.name}")
            try:
                played[one.name] = play_episodes(
                    player,
                    one,
                    episodes,
                    seed,
                    connectors=connector,
                    engine=engine,
                    device=device,
                    num_threads=num_threads,
                    num_envs=num_envs,
                    on_episode=lambda _: progress.advance(task),
                )
            except (ValueError, DependencyNotInstalled) as error:
                raise CommandError(f"{one.name}: {error}") from None
            # After each condition: what was played is not lost if the next is interrupted.
            _write_episodes(output, player.name, played)
    summaries = {name: by_connector(records) for name, records in played.items()}
    asked = {"connectors": connector, "episodes": episodes, "seed": seed}
    where = {"engine": engine, "device": device}
    _write_summary(output, player, asked | where, chosen, summaries)
    _print(console, player, summaries)
    if filmed:
        _film(console, player, chosen[0], played[chosen[0].name], filmed, engine, output)
    console.print(f"Episodes and summaries: {output}", soft_wrap=True)
    return 0


def _folder(output: Path) -> Path:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(
            f"cannot use {output} as a folder ({error.strerror}); choose another with --output"
        ) from None
    return output


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    """Say what is wrong with a folder that cannot be written."""
    try:
        yield
    except OSError as error:
        raise CommandError(f"cannot write to {output}: {error}") from None


def _write_episodes(output: Path, name: str, played: Records) -> None:
    rows = [
        {"policy": name, "condition": condition, **record.row()}
        for condition, records in played.items()
        for record in records
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with _writing(output), atomic_write(output / "episodes.csv") as path:
        path.write_text(text.getvalue(), encoding="utf-8", newline="")


def _write_summary(
    output: Path,
    player: Player,
    asked: Mapping[str, Any],
    conditions: Sequence[Condition],
    summaries: Mapping[str, Mapping[str, Summary]],
) -> None:
    command = shlex.join(["vtinsert", *sys.argv[1:]])
    document = {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": provenance.commit(),
        "hardware": provenance.hardware(),
        "versions": provenance.versions(),
        "policy": player.name,
        **player.told,
        **asked,
        "conditions": {
            one.name: {
                "description": one.description,
                "settings": settings_to_json(one.environment(player.modalities, player.settings)),
                "results": {name: s.to_dict() for name, s in summaries[one.name].items()},
            }
            for one in conditions
        },
    }
    page = f"{to_markdown(_title(player), summaries)}\nMade by `{command}`.\n"
    for name, text in (
        ("summary.json", json.dumps(document, indent=1) + "\n"),
        ("summary.md", page),
    ):
        with _writing(output), atomic_write(output / name) as path:
            path.write_text(text, encoding="utf-8")


def _title(player: Player) -> str:
    return "The scripted expert" if player is EXPERT else player.name


def _print(
    console: Console, player: Player, conditions: Mapping[str, Mapping[str, Summary]]
) -> None:
    """A condition in full; of several, success alone."""
    if len(conditions) > 1:
        caption = "Success. All the rest is in summary.md."
        head, *rows = overview(conditions)
        table = Table(title=_title(player), caption=caption)
    else:
        ((condition, summaries),) = conditions.items()
        table = Table(title=f"{_title(player)}: {condition}", caption=LEGEND)
        head = ["connector", *COLUMNS]
        rows = [[connector, *summary.cells()] for connector, summary in summaries.items()]
    for heading in head:
        left = heading in ("condition", "connector", "failures")
        table.add_column(heading, justify="left" if left else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _film(
    console: Console,
    player: Player,
    condition: Condition,
    records: Sequence[EpisodeRecord],
    filmed: int,
    engine: str,
    output: Path,
) -> None:
    video = output / "episodes.mp4"
    with progress_bar() as progress, _writing(output):
        task = progress.add_task("Filming", total=None)
        missing = film_pairs(
            player,
            condition,
            records,
            video,
            number=filmed,
            same_engine=engine == "cpu",
            on_frame=lambda done, total: progress.update(task, completed=done, total=total),
        )
    if missing:
        console.print(f"The video has no third-person view. {missing}")
    console.print(f"Video: {video} (successes on the left, failures on the right)", soft_wrap=True)
