"""`vtinsert demo`: a policy, or the scripted expert, on all connectors."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from policies.choices import default, make_output
from policies.representation_names import check_player
from representation.require import require

if TYPE_CHECKING:
    from policies.evaluation.conditions import Condition
    from policies.evaluation.episodes import EpisodeRecord
    from policies.evaluation.players import Player
    from policies.films.film import Image

DEFAULT_POLICY = "resnet-dynamics"
"""Who is shown unless another is asked for."""

_SHEET_COLUMNS = (0.0, 0.65, 1.0)
"""Parts of an episode that the contact sheet shows."""


def demo(
    *,
    task: str = "VTInsert-v0",
    policy: str = DEFAULT_POLICY,
    connectors: Annotated[tuple[str, ...], default("all there are")] = (),
    episodes: int = 5,
    filmed: int = 1,
    first: int = 0,
    output: Path = Path("vtinsert-demo"),
    settings: tyro.conf.Suppress[dict[str, Any] | None] = None,
) -> int:
    """Watch a learned policy insert all four connectors: a table and a video.

    The policy knows what its encoder sees and feels; the scripted expert, which can be shown in
    its place, knows where plug and socket are. Writes `demo.mp4` and a contact sheet, `demo.png`.

    Args:
        task: What to show: an id of Gymnasium's registry. Its environment's settings are options
            too, such as --clearance-mm 0.2; --help beside --task lists them.
        policy: As `vtinsert evaluate` takes it.
        connectors: Connectors, or other variants of the task.
        episodes: Episodes of each.
        filmed: How many of each one's episodes go into the video; 0 for no video.
        first: How far from the first of development's seeds those of the episodes start.
        output: Folder for the video and the contact sheet.
        settings: Settings of the task's environment.
    """
    for name, value, least in (("episodes", episodes, 1), ("filmed", filmed, 0)):
        require(value >= least, name, value, f"{least} or more")
    check_player(policy)  # the rest of what is judged loads the simulator

    from policies.evaluation.conditions import Condition, made_with
    from policies.evaluation.judge import require_playable, trained_in
    from policies.worlds import variant_names

    connectors, chosen = made_with(connectors, settings or {})
    described = ", ".join(f"{name} {value}" for name, value in chosen.items())
    condition = Condition("demo", described or "the default settings", chosen)
    require_playable(condition, *trained_in(policy, task), connectors)

    # Slow to import.
    from rich.console import Console

    from policies.evaluation.evaluate import evaluate
    from policies.evaluation.players import load_player
    from policies.films.film import MODALITIES
    from vtenv.progress import progress_bar

    player = load_player(policy, task)
    variants = connectors or variant_names(player.played(condition))
    if filmed:
        make_output(output)
    total = episodes * len(variants)
    with progress_bar() as progress:
        # The bar comes first: the first run of all compiles the sensors and settles the grasps.
        bar = progress.add_task("Playing episodes", total=total)
        played = evaluate(
            player,
            condition,
            total,
            first=first,
            connectors=variants,
            on_episode=lambda _: progress.advance(bar),
        )
    records = {name: [r for r in played if r.connector == name] for name in variants}
    Console(highlight=False).print(_table(player, condition, records))
    if filmed:
        shown = [record for of_it in records.values() for record in of_it[:filmed]]
        _film(player.filmed(MODALITIES), condition, shown, output)
    return 0


def _table(player: Player, condition: Condition, records: dict[str, list[EpisodeRecord]]) -> Any:
    from rich.table import Table

    from policies.worlds import variant_label

    task = player.played(condition)
    label = next(iter(next(iter(records.values()))[0].labels))
    who = "Scripted expert" if player.name == "expert" else f"Policy {player.name}"
    table = Table(
        "connector",
        title=f"{who}: {condition.description}",
        caption="Means over episodes; steps of 20 ms: the median of successes.",
    )
    for heading in ("success", label.replace("_", " "), "steps", "peak force"):
        table.add_column(heading, justify="right")
    for connector, of_it in records.items():
        steps = [record.steps for record in of_it if record.success]
        table.add_row(
            variant_label(task, connector),
            f"{len(steps)} of {len(of_it)}",
            f"{statistics.mean(r.labels[label] for r in of_it):.1f}",
            f"{statistics.median(steps):g}" if steps else "-",
            f"{statistics.mean(r.peak_force for r in of_it):.1f} N",
        )
    return table


def _film(
    player: Player,
    condition: Condition,
    records: Sequence[EpisodeRecord],
    output: Path,
) -> None:
    """Film episodes whose outcomes are known; write the video and the contact sheet."""
    import imageio.v3

    from policies.films import film
    from policies.films.video import FPS, write_video
    from vtenv.atomic_write import atomic_write
    from vtenv.progress import progress_bar

    envs = player.make(condition, 1)
    envs.reset(seed=0)
    camera = film.Camera(envs)
    if camera.missing:
        print(f"The video has no third-person view. {camera.missing}")
    rows: dict[str, list[Image]] = {}

    def frames() -> Iterator[Image]:
        for record in records:
            shots = film.film_episodes(envs, camera, player.act, [record.seed])
            kept = [film.HOLD_FIRST + round(record.steps * part) for part in _SHEET_COLUMNS]
            row: list[Image] = []
            for number, (frame,) in enumerate(shots, start=1):
                if number in kept:
                    row.append(frame)
                yield frame
            # Played alone, a policy's rounding is another: the episode may be over sooner.
            row += [frame] * (len(_SHEET_COLUMNS) - len(row))
            rows.setdefault(record.connector, row)

    total = sum(film.num_frames(record.steps) for record in records)
    video, sheet = output / "demo.mp4", output / "demo.png"
    with progress_bar() as progress:
        filming = progress.track(frames(), total=total, description="Filming")
        count = write_video(video, filming)
    with atomic_write(sheet) as temporary:
        imageio.v3.imwrite(temporary, film.contact_sheet(list(rows.values())))
    camera.close()
    envs.close()
    beside = "the sensor panel" if camera.missing else "third person beside the sensor panel"
    shown = f"{len(records)} episode{'' if len(records) == 1 else 's'}"
    print(f"Video: {video} ({shown}, {count / FPS:.0f} s at half speed, {beside})")
    print(f"Contact sheet: {sheet}")
