"""`vtinsert demo`: the scripted expert on all four connectors."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import imageio.v3
from rich.console import Console
from rich.table import Table

from policies import film
from policies.commands import CommandError, ConnectorName
from policies.episodes import Outcome, expert, play
from policies.progress import progress_bar
from policies.video import write_video
from vtenv.config import VTInsertConfig
from vtenv.connectors import CONNECTORS
from vtenv.env import VTInsertEnv
from vtenv.task import SUCCESS_FRACTION
from vtenv.vector_env import VTInsertVectorEnv
from vtenv.whole_file import whole_file

_MAX_WORLDS = 64
"""Episodes played at once."""
_MAX_STEPS = 100
"""Steps of an episode, as registered for `VTInsert-v0`."""
_SHEET_COLUMNS = (0.0, 0.65, 1.0)
"""Parts of an episode that the contact sheet shows."""


def demo(
    *,
    connector: tuple[ConnectorName, ...] = ("aux", "pin", "usb", "stud"),
    episodes: int = 5,
    filmed: int = 1,
    clearance_mm: float = 0.4,
    seed: int = 0,
    output: Path = Path("vtinsert-demo"),
) -> int:
    """Watch the scripted expert insert all four connectors: a table and a video.

    The expert knows where plug and socket are; it shows that the task can be done, and what it
    looks and feels like. Writes `demo.mp4` and a contact sheet, `demo.png`.

    Args:
        connector: Connectors to insert.
        episodes: Episodes of each connector.
        filmed: How many of each connector's episodes go into the video; 0 for no video.
        clearance_mm: Room between plug and socket on each side, 0.1 to 2 mm.
        seed: Seed of the first episode; the others follow it.
        output: Folder for the video and the contact sheet.
    """
    if episodes < 1:
        raise CommandError(f"--episodes {episodes} is not allowed; it must be at least 1")
    if filmed < 0:
        raise CommandError(f"--filmed {filmed} is not allowed; it must be 0 or more")
    if not connector:
        raise CommandError(f"--connector needs one or more of {', '.join(CONNECTORS)}")
    try:
        VTInsertConfig.from_settings(clearance_mm=clearance_mm)
        if filmed:
            output.mkdir(parents=True, exist_ok=True)
    except ValueError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(
            f"cannot use {output} as a folder ({error.strerror}); choose another with --output"
        ) from None

    console = Console(highlight=False)
    outcomes = _play(connector, range(seed, seed + episodes), clearance_mm)
    console.print(_table(outcomes, clearance_mm))
    if filmed:
        shown = [outcome for outcome in outcomes if outcome.seed < seed + filmed]
        try:
            _film(console, shown, clearance_mm, output)
        except OSError as error:
            raise CommandError(f"cannot write to {output}: {error}") from None
    return 0


def _play(connectors: Sequence[str], seeds: Sequence[int], clearance_mm: float) -> list[Outcome]:
    """The outcomes of the expert's episodes, by connector and seed."""
    outcomes = []
    with progress_bar() as progress:
        # The bar comes first: the first run of all compiles the sensors and settles the grasps.
        task = progress.add_task("Playing episodes", total=len(connectors) * len(seeds))
        envs = VTInsertVectorEnv(
            min(len(seeds), _MAX_WORLDS), modalities=("proprio",), clearance_mm=clearance_mm
        )
        for connector in connectors:
            for outcome in play(envs, expert, seeds, {"connector": connector}):
                outcomes.append(outcome)
                progress.advance(task)
        envs.close()
    return sorted(outcomes, key=lambda o: (connectors.index(o.connector), o.seed))


def _table(outcomes: Sequence[Outcome], clearance_mm: float) -> Table:
    table = Table(
        title=f"Scripted expert at a clearance of {clearance_mm:g} mm a side",
        caption=f"An episode ends in success once {SUCCESS_FRACTION:.0%} of the travel is in. "
        "Depth and force: means over episodes. Steps: the median; one takes 20 ms.",
    )
    for heading in ("connector", "success", "depth", "of travel", "steps", "peak force"):
        table.add_column(heading, justify="left" if heading == "connector" else "right")
    for connector in dict.fromkeys(outcome.connector for outcome in outcomes):
        of_it = [outcome for outcome in outcomes if outcome.connector == connector]
        won = [outcome for outcome in of_it if outcome.success]
        steps = f"{statistics.median(o.steps for o in won):g}" if won else "-"
        table.add_row(
            CONNECTORS[connector].label,
            f"{len(won)} of {len(of_it)}",
            f"{statistics.mean(max(o.depth, 0.0) for o in of_it) * 1e3:.1f} mm",
            f"{statistics.mean(o.travel_fraction for o in of_it):.0%}",
            steps,
            f"{statistics.mean(o.peak_force for o in of_it):.1f} N",
        )
    return table


def _film(console: Console, outcomes: Sequence[Outcome], clearance_mm: float, output: Path) -> None:
    """Film episodes whose outcomes are known; write the video and the contact sheet."""
    env = VTInsertEnv(modalities=film.MODALITIES, clearance_mm=clearance_mm)
    env.reset(seed=0)
    camera = film.Camera(env)
    if camera.missing:
        console.print(f"The video has no third-person view. {camera.missing}")
    rows: list[list[film.Image]] = []

    def frames() -> Iterator[film.Image]:
        for outcome in outcomes:
            shots = film.film_episode(
                env, camera, expert, outcome.connector, outcome.seed, _MAX_STEPS
            )
            kept = [film.HOLD_FIRST + round(outcome.steps * part) for part in _SHEET_COLUMNS]
            first_of_it = outcome.seed == outcomes[0].seed
            if first_of_it:
                rows.append([])
            for number, frame in enumerate(shots, start=1):
                if first_of_it and number in kept:
                    rows[-1].append(frame)
                yield frame

    total = sum(film.num_frames(outcome.steps) for outcome in outcomes)
    video, sheet = output / "demo.mp4", output / "demo.png"
    with progress_bar() as progress:
        filming = progress.track(frames(), total=total, description="Filming")
        count = write_video(video, filming, film.FPS)
    with whole_file(sheet) as temporary:
        imageio.v3.imwrite(temporary, film.contact_sheet(rows))
    camera.close()
    env.close()
    beside = "the sensor panel" if camera.missing else "third person beside the sensor panel"
    console.print(
        f"Video: {video} ({len(outcomes)} episodes, {count / film.FPS:.0f} s at half speed, "
        f"{beside})",
        soft_wrap=True,
    )
    console.print(f"Contact sheet: {sheet}", soft_wrap=True)
