"""What a benchmark measures, and on what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro

from policies.choices import default, require_at_least
from representation.require import require

_WORLDS = {"cpu": (16,), "warp": (64, 256, 1024, 4096, 16384)}
"""Worlds that are stepped together, unless given."""


@dataclass(frozen=True)
class BenchmarkConfig:
    """What is measured, and on what.

    Raises:
        ValueError: If a value is not allowed; names it and what is.
    """

    task: str = "VTInsert-v0"
    """What to run: an id of Gymnasium's registry. Its environment's settings are options too, such
    as --image-size 128; --help beside --task lists them."""
    engine: Literal["cpu", "warp"] = "cpu"
    """The physics engine."""
    device: Annotated[str | None, default("cuda:0 with warp")] = None
    """Device of the Warp engine."""
    worlds: Annotated[tuple[int, ...], default("16, or 64 to 16384 with warp")] = ()
    """Numbers of worlds that are stepped together."""
    threads: Annotated[int | None, default("one a core")] = None
    """Threads of the CPU engine to compare with one."""
    steps: int = 100
    """Most control steps of each world in a repetition, which ends after a second."""
    repetitions: int = 5
    """Repetitions; the table shows medians."""
    actions: Literal["random", "expert"] = "random"
    """Random ones, or those of the scripted expert, whose episodes are shorter and have more
    contact."""
    seed: int = 0
    """Seed of worlds and actions."""
    encoders: Annotated[tuple[str, ...], default("none")] = ()
    """Bundled encoders, folders, or names of timm's networks such as resnet18. With the CPU engine,
    measure these instead, beside the environment's step; with the Warp engine, the environment with
    each of them too."""
    precision: tuple[Literal["float32", "bfloat16"], ...] = ("float32",)
    """What encoders compute in behind the Warp engine, by turns; bfloat16 is for a GPU."""
    modalities: Annotated[tuple[str, ...], default("the task's")] = ()
    """What is observed: keys of the task's modalities, such as gel."""
    touch: bool = False
    """Measure what each modality of touch adds to a step instead: with it and without it by
    turns."""
    settings: tyro.conf.Suppress[Mapping[str, Any]] = field(default_factory=dict)
    """Keyword arguments of the task's environment."""

    def __post_init__(self) -> None:
        require_at_least(self, threads=1, steps=1, repetitions=1, seed=0)
        require(min(self.sizes) >= 1, "worlds", self.worlds, "at least 1")
        for name, engine in (("threads", "cpu"), ("device", "warp")):
            only = f"left out, as it is for engine={engine!r}"
            given = getattr(self, name)
            require(given is None or self.engine == engine, name, given, only)
        single = "float32, as it is without encoders behind the Warp engine"
        behind = self.encoders and self.engine == "warp"
        require(behind or self.precision == ("float32",), "precision", self.precision, single)
        alone = "left out, as touch is measured without encoders"
        require(not (self.touch and self.encoders), "encoders", self.encoders, alone)
        theirs = "left out, as encoders name the images that they take"
        require(not (self.modalities and self.encoders), "modalities", self.modalities, theirs)
        one = "one number, to measure encoders beside"
        require(not self.encodes_alone or len(self.sizes) == 1, "worlds", self.worlds, one)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of worlds that are stepped together."""
        return self.worlds or _WORLDS[self.engine]

    @property
    def encodes_alone(self) -> bool:
        """Whether encoders are measured in place of the environment."""
        return bool(self.encoders) and self.engine == "cpu"

    @property
    def on(self) -> str | None:
        """Device of the Warp engine; None on the CPU engine."""
        return None if self.engine == "cpu" else self.device or "cuda:0"
