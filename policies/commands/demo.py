"""`vtinsert demo`: a policy, or the scripted expert, on all four connectors."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import imageio.v3
from rich.console import Console
from rich.table import Table

from policies.commands import CommandError, ConnectorName
from policies.evaluation.conditions import Condition
from policies.evaluation.episodes import EpisodeRecord
from policies.evaluation.evaluate import evaluate
from policies.evaluation.players import EXPERT, Player, load_player
from policies.films import film
from policies.films.filmed_player import for_film
from policies.films.video import write_video
from vtenv.atomic_write import atomic_write
from vtenv.progress import progress_bar
from vtenv.tasks.insertion.connectors import CONNECTORS
from vtenv.tasks.insertion.task import SUCCESS_FRACTION

DEFAULT_POLICY = "resnet-dynamics"
"""Who is shown unless another is asked for."""

_SHEET_COLUMNS = (0.0, 0.65, 1.0)
"""Parts of an episode that the contact sheet shows."""


def demo(
    *,
    policy: str = DEFAULT_POLICY,
    connector: tuple[ConnectorName, ...] = ("aux", "pin", "usb", "stud"),
    episodes: int = 5,
    filmed: int = 1,
    clearance_mm: float = 0.4,
    seed: int = 0,
    output: Path = Path("vtinsert-demo"),
) -> int:
    """Watch a learned policy insert all four connectors: a table and a video.

    The policy knows what its encoder sees and feels; the scripted expert, which can be shown in
    its place, knows where plug and socket are. Writes `demo.mp4` and a contact sheet, `demo.png`.

    Args:
        policy: A bundled policy's name, the folder of a policy or a training run, or "expert".
        connector: Connectors to insert.
        episodes: Episodes of each connector.
        filmed: How many of each connector's episodes go into the video; 0 for no video.
        clearance_mm: Room between plug and socket on each side, 0.1 to 2 mm.
        seed: Where the seeds of the episodes start.
        output: Folder for the video and the contact sheet.
    """
    if episodes < 1:
        raise CommandError(f"--episodes {episodes} is not allowed; it must be at least 1")
    if filmed < 0:
        raise CommandError(f"--filmed {filmed} is not allowed; it must be 0 or more")
    if seed < 0:
        raise CommandError(f"--seed {seed} is not allowed; it must be 0 or more")
    if not connector:
        raise CommandError(f"--connector needs one or more of {', '.join(CONNECTORS)}")
    connector = tuple(dict.fromkeys(connector))
    condition = Condition(
        "demo", f"a clearance of {clearance_mm:g} mm a side", {"clearance_mm": clearance_mm}
    )
    try:
        player = load_player(policy)
        player.config(condition)
        if filmed:
            output.mkdir(parents=True, exist_ok=True)
    except ValueError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(
            f"cannot use {output} as a folder ({error.strerror}); choose another with --output"
        ) from None

    console = Console(highlight=False)
    records = _play(player, condition, connector, episodes, seed)
    console.print(_table(player, condition, records))
    if filmed:
        shown = [record for of_it in records.values() for record in of_it[:filmed]]
        try:
            _film(console, for_film(player), condition, shown, output)
        except OSError as error:
            raise CommandError(f"cannot write to {output}: {error}") from None
    return 0


def _play(
    player: Player, condition: Condition, connectors: Sequence[str], episodes: int, seed: int
) -> dict[str, list[EpisodeRecord]]:
    """What came of the episodes of each connector, by seed."""
    total = episodes * len(connectors)
    with progress_bar() as progress:
        # The bar comes first: the first run of all compiles the sensors and settles the grasps.
        task = progress.add_task("Playing episodes", total=total)
        records = evaluate(
            player,
            condition,
            total,
            seed,
            connectors=connectors,
            on_episode=lambda _: progress.advance(task),
        )
    return {name: [r for r in records if r.connector == name] for name in connectors}


def _table(player: Player, condition: Condition, records: dict[str, list[EpisodeRecord]]) -> Table:
    who = "Scripted expert" if player is EXPERT else f"Policy {player.name}"
    table = Table(
        title=f"{who} at {condition.description}",
        caption=f"An episode ends in success once {SUCCESS_FRACTION:.0%} of the travel is in. "
        "Depth and force: means over episodes. Steps: the median; one takes 20 ms.",
    )
    for heading in ("connector", "success", "depth", "of travel", "steps", "peak force"):
        table.add_column(heading, justify="left" if heading == "connector" else "right")
    for connector, of_it in records.items():
        won = [record for record in of_it if record.success]
        steps = f"{statistics.median(r.steps for r in won):g}" if won else "-"
        table.add_row(
            CONNECTORS[connector].label,
            f"{len(won)} of {len(of_it)}",
            f"{statistics.mean(max(r.depth, 0.0) for r in of_it) * 1e3:.1f} mm",
            f"{statistics.mean(r.inserted for r in of_it):.0%}",
            steps,
            f"{statistics.mean(r.peak_force for r in of_it):.1f} N",
        )
    return table


def _film(
    console: Console,
    player: Player,
    condition: Condition,
    records: Sequence[EpisodeRecord],
    output: Path,
) -> None:
    """Film episodes whose outcomes are known; write the video and the contact sheet."""
    envs = player.worlds(condition, 1)
    envs.reset(seed=0)
    camera = film.Camera(envs)
    if camera.missing:
        console.print(f"The video has no third-person view. {camera.missing}")
    rows: dict[str, list[film.Image]] = {}

    def frames() -> Iterator[film.Image]:
        for record in records:
            shots = film.film_episodes(envs, camera, player.act, [record.seed])
            kept = [film.HOLD_FIRST + round(record.steps * part) for part in _SHEET_COLUMNS]
            row: list[film.Image] = []
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
        count = write_video(video, filming, film.FPS)
    with atomic_write(sheet) as temporary:
        imageio.v3.imwrite(temporary, film.contact_sheet(list(rows.values())))
    camera.close()
    envs.close()
    beside = "the sensor panel" if camera.missing else "third person beside the sensor panel"
    console.print(
        f"Video: {video} ({len(records)} episodes, {count / film.FPS:.0f} s at half speed, "
        f"{beside})",
        soft_wrap=True,
    )
    console.print(f"Contact sheet: {sheet}", soft_wrap=True)
