"""`vtinsert evaluate`: how well a policy does, and where it fails."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from policies.choices import make_output
from policies.evaluation.conditions import condition, made_with, suite
from policies.evaluation.evaluation_config import EvaluationConfig
from policies.representation_names import check_player

if TYPE_CHECKING:
    from policies.evaluation.conditions import Condition
    from policies.evaluation.episodes import EpisodeRecord
    from policies.evaluation.players import Player
    from policies.evaluation.summary import Summary


def evaluate(
    policy: tyro.conf.Positional[str],
    config: EvaluationConfig = EvaluationConfig(),  # noqa: B008 (frozen)
    *,
    output: Path = Path("outputs/evaluation"),
    settings: tyro.conf.Suppress[dict[str, Any] | None] = None,
) -> int:
    """Play a policy on fixed seeds: success, steps, forces and failures, with a video.

    Every policy starts in the same initial states, shared out evenly among the connectors. Writes
    `episodes.csv`, `summary.json`, `summary.md` and `episodes.mp4`.

    Args:
        policy: The folder of a training run, the folder of a policy, the name of a bundled one;
            "expert", the scripted expert; "random", random actions; or MODULE:NAME, a function of
            yours from observations, a dictionary of (N, ...), to actions, (N, A).
        config: What is played.
        output: Folder for what is written.
        settings: Settings of the task's environment, in every condition.
    """
    check_player(policy)
    connectors, changes = made_with(config.connectors, settings or {})
    if config.task or changes:
        from policies.worlds import DEFAULT_TASK
        from vtenv.registry import make_task

        make_task(config.task or DEFAULT_TASK, **changes)  # judges them

    # Slow to import.
    from policies.evaluation.evaluate import evaluate as play
    from policies.evaluation.players import load_player
    from policies.evaluation.summary import by_connector
    from policies.films.side_by_side import film_pairs
    from policies.worlds import setting_names, settings_to_json
    from vtenv.progress import progress_bar
    from vtenv.run_folder import write_table

    player = load_player(policy, config.task)
    names = dict.fromkeys(config.conditions)
    there = setting_names(player.task)
    chosen = [condition(name) for name in names] or suite(config.suite, there)
    chosen = [one.changed(changes, player.settings) for one in chosen]
    for one in chosen:
        if lacking := sorted(set(one.settings or ()) - set(there)):
            raise ValueError(
                f"{player.task} cannot be put in the condition {one.name!r}: it has no setting "
                f"{lacking[0]!r}; leave that condition out"
            )
        player.played(one)
    make_output(output)

    played: dict[str, list[EpisodeRecord]] = {}
    with progress_bar() as progress:
        # The bar comes first: the first run of all compiles the sensors and settles the grasps.
        task = progress.add_task("", total=config.episodes * len(chosen))
        for one in chosen:
            progress.update(task, description=f"Playing {one.name}")
            played[one.name] = play(
                player,
                one,
                config.episodes,
                config.seeds,
                first=config.first,
                connectors=connectors,
                engine=config.engine,
                device=config.device,
                num_threads=config.num_threads,
                num_envs=config.num_envs,
                on_episode=lambda _: progress.advance(task),
            )
            # After each condition: what was played is not lost if the next is interrupted.
            rows = [
                {"policy": player.name, "condition": name, **record.row()}
                for name, records in played.items()
                for record in records
            ]
            write_table(output / "episodes.csv", rows)
    summaries = {name: by_connector(records) for name, records in played.items()}
    _write_summary(output, player, config, chosen, summaries)
    _print(player, summaries)
    if player.settings and "training" not in played:
        trained = json.dumps(settings_to_json(player.settings))
        print(f"The policy was trained with {trained}; --conditions training plays that.")
    if config.filmed:
        video = output / "episodes.mp4"
        with progress_bar() as progress:
            task = progress.add_task("Filming", total=None)
            missing = film_pairs(
                player,
                chosen[0],
                played[chosen[0].name],
                video,
                number=config.filmed,
                same_engine=config.engine == "cpu",
                on_frame=lambda done, total: progress.update(task, completed=done, total=total),
            )
        if missing:
            print(f"The video has no third-person view. {missing}")
        print(f"Video: {video} (successes beside failures, or two alike)")
    print(f"Episodes and summaries: {output}")
    return 0


def _write_summary(
    output: Path,
    player: Player,
    config: EvaluationConfig,
    conditions: Sequence[Condition],
    summaries: Mapping[str, Mapping[str, Summary]],
) -> None:
    from policies.evaluation.summary import to_markdown
    from policies.worlds import settings_to_json
    from vtenv import provenance
    from vtenv.atomic_write import write_text

    made = provenance.record()
    document = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **made,
        "policy": player.name,
        **player.told,
        **asdict(config),
        "task": player.task,
        "conditions": {
            one.name: {
                "description": one.description,
                "settings": settings_to_json(one.environment(player.modalities, player.settings)),
                "results": {name: s.to_dict() for name, s in summaries[one.name].items()},
            }
            for one in conditions
        },
    }
    source = f"Seeds of {config.seeds}. Made by `{made['command']}`."
    descriptions = {one.name: one.description for one in conditions}
    page = f"{to_markdown(_title(player), summaries, descriptions)}\n{source}\n"
    write_text(output / "summary.json", json.dumps(document, indent=1) + "\n")
    write_text(output / "summary.md", page)


def _title(player: Player) -> str:
    return "The scripted expert" if player.name == "expert" else player.name


def _print(player: Player, conditions: Mapping[str, Mapping[str, Summary]]) -> None:
    """A condition in full; of several, success alone."""
    from rich.console import Console
    from rich.table import Table

    from policies.evaluation.summary import COLUMNS, LEGEND, overview

    if len(conditions) > 1:
        title, caption = _title(player), "Success. All the rest is in summary.md."
        head, *rows = overview(conditions)
    else:
        ((condition, summaries),) = conditions.items()
        title, caption = f"{_title(player)}: {condition}", LEGEND
        head = ["connector", *COLUMNS]
        rows = [[connector, *summary.cells()] for connector, summary in summaries.items()]
    table = Table(title=title, caption=caption)
    for heading in head:
        left = heading in ("condition", "connector", "failures")
        table.add_column(heading, justify="left" if left else "right")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)
