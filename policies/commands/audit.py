"""`vtinsert audit`: does a world need touch?"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from policies.choices import default, make_output, require_at_least
from policies.representation_names import check_player
from policies.seeds import SeedRange


@dataclass(frozen=True)
class AuditOptions:
    """Options of `vtinsert audit`."""

    track: str = "nominal"
    """The world: one of the tracks; settings of the environment, as options, win over its own."""
    policies: Annotated[tuple[str, ...], default("none")] = ()
    """Learned policies to play besides, as `vtinsert evaluate` takes them."""
    episodes: int = 400
    """Episodes of each, shared out evenly among the connectors."""
    seeds: SeedRange = "development"
    """The range of seeds that they are of; test for what is reported."""
    engine: Literal["cpu", "warp"] = "cpu"
    """The physics engine."""
    device: Annotated[str | None, default("cuda:0 with warp")] = None
    """Device of the Warp engine."""
    threads: Annotated[int | None, default("one a core")] = None
    """Threads of the CPU engine."""
    output: Path = Path("outputs/audit")
    """Folder for audit.csv, audit.md and audit.json."""
    task: tyro.conf.Suppress[str] = "VTInsert-v0"

    def __post_init__(self) -> None:
        require_at_least(self, episodes=1, threads=1)


def audit(
    options: AuditOptions,
    settings: tyro.conf.Suppress[dict[str, Any] | None] = None,
) -> int:
    """Ask whether a world needs touch: who inserts with it, and who without.

    Plays the expert, the expert that knows where the plug was in the hand at first and not
    afterwards, a scripted search that knows the socket and feels nothing, random actions, and
    policies: as they are, without touch, with the touch of an episode's first step throughout, with
    one finger dead, and without the part of proprioception that tells force. All play the same
    episodes.

    Args:
        options: What is played.
        settings: Settings of the environment besides the track's.
    """
    for source in options.policies:
        check_player(source)  # the rest of what is judged loads the simulator
    from policies.evaluation.judge import trained_in
    from vtenv.registry import make_task

    for source in options.policies:
        trained_in(source)
    world = {"track": options.track, **(settings or {})}
    make_task(options.task, **world)  # judges them

    # Slow to import.
    from policies.evaluation.audit import INTERVENTIONS, play_audit, table
    from policies.evaluation.players import load_player
    from policies.worlds import settings_to_json
    from vtenv import provenance
    from vtenv.atomic_write import write_text
    from vtenv.progress import progress_bar
    from vtenv.run_folder import write_table

    policies = [load_player(source) for source in options.policies]
    make_output(options.output)
    with progress_bar() as progress:
        total = options.episodes * (4 + len(policies) * len(INTERVENTIONS))
        bar = progress.add_task("Playing", total=total)
        rows = play_audit(
            world,
            policies,
            options.episodes,
            options.seeds,
            engine=options.engine,
            device=options.device,
            num_threads=options.threads,
            on_episode=lambda: progress.advance(bar),
        )
    text = table(rows)
    made = provenance.record()
    document = {**made, **asdict(options), "world": settings_to_json(world)}
    told = [{**asdict(row), "seeds": options.seeds} for row in rows]
    write_table(options.output / "audit.csv", told)
    write_text(options.output / "audit.json", json.dumps(document, indent=1, default=str) + "\n")
    source = f"Seeds of {options.seeds}. Made by `{made['command']}`."
    write_text(options.output / "audit.md", f"{text}\n\n{source}\n")
    print(text)
    print(f"Audit: {options.output}")
    return 0
