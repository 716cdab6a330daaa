"""The conditions that policies are evaluated in, by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from policies.choices import check_name


@dataclass(frozen=True)
class Condition:
    """What an environment is like while a policy is evaluated.

    Attributes:
        name: Its name.
        description: What is different from the environment's default settings, in a few words.
        settings: Keyword arguments of the environment; None for those that the policy was trained
            with.
    """

    name: str
    description: str
    settings: Mapping[str, Any] | None = field(default_factory=dict)

    def environment(
        self, modalities: Collection[str], trained: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The environment's keyword arguments for a policy.

        Args:
            modalities: What the policy senses: settings of the depth camera are left out for one
                that has none, and change nothing for it.
            trained: The settings that the policy was trained with. The sizes of its images are
                kept, whatever the condition, and its sensor of touch, unless the condition names
                another.
        """
        settings = trained if self.settings is None else self.settings
        kept = {name: trained[name] for name in (*_SIZES, _SENSOR) if name in trained}
        return {
            name: value
            for name, value in {**kept, **settings}.items()
            if "depth" in modalities or not name.startswith("depth_")
        }

    def changed(self, settings: Mapping[str, Any], trained: Mapping[str, Any]) -> Self:
        """The condition with other settings besides.

        Args:
            settings: Keyword arguments of the environment, which win over its own.
            trained: The settings that the policy was trained with.

        Raises:
            ValueError: If they change the size of the policy's images.
        """
        if not settings:
            return self
        for name in _SIZES:
            if settings.get(name, trained.get(name)) != trained.get(name, settings.get(name)):
                raise ValueError(
                    f"{name}={settings[name]} is not allowed: the policy was trained with "
                    f"{name}={trained[name]}; leave it out"
                )
        own = trained if self.settings is None else self.settings
        said = ", ".join(f"{name}={value}" for name, value in settings.items())
        description = f"{self.description}; here with {said}"
        return replace(self, description=description, settings={**own, **settings})


_SIZES = ("image_size", "contact_size", "taxel_size")
"""Settings of the sizes of images."""
_SENSOR = "touch_sensor"
"""The setting that gives the sizes of images of touch where no other does."""

_IN_HAND_WIDE = {
    "in_hand_x_mm": (-4.5, 4.5),
    "in_hand_z_mm": (-6.0, 6.0),
    "in_hand_pitch_deg": (-18.0, 18.0),
}
"""One and a half times as far as the default on either side."""

CONDITIONS = {
    condition.name: condition
    for condition in (
        Condition("default", "the default settings: own fits, springs, tilted sockets, delays"),
        Condition("training", "the settings that the policy was trained with", None),
        Condition("clearance-0.2", "clearance 0.2 mm", {"clearance_mm": 0.2}),
        Condition("clearance-0.8", "clearance 0.8 mm", {"clearance_mm": 0.8}),
        Condition("depth-noise-2", "depth noise 2 mm", {"depth_noise_mm": 2.0}),
        Condition("depth-noise-4", "depth noise 4 mm", {"depth_noise_mm": 4.0}),
        Condition(
            "in-hand-wide",
            "plug in the hand up to 4.5 mm along, 6 mm across and 18° off, not 3, 4 and 12",
            {"initial_state": _IN_HAND_WIDE},
        ),
        Condition("connectors-0.9", "plugs and sockets 10% thinner", {"connector_scale": 0.9}),
        Condition("connectors-1.1", "plugs and sockets 10% thicker", {"connector_scale": 1.1}),
    )
}
"""Every condition, by name."""

_TRACK = "track-"

SUITES = {
    "default": ("default",),
    "full": tuple(name for name in CONDITIONS if name != "training"),
}
"""Conditions that are evaluated together, by name."""


def condition(name: str) -> Condition:
    """A condition by its name, a track's as "track-NAME", or anybody's by `MODULE:NAME`.

    Raises:
        ValueError: If there is none of that name; names the nearest, and all there are.
    """
    if ":" in name:
        from vtenv.import_string import import_string, instance_of  # imports Gymnasium

        return instance_of(Condition)(name, import_string(name, "condition"))
    if name.startswith(_TRACK):
        from vtenv.tasks.insertion.tracks import TRACKS  # imports NumPy

        track = name.removeprefix(_TRACK)
        check_name(track, TRACKS, "track")
        return Condition(name, TRACKS[track].question, {"track": track})
    check_name(name, CONDITIONS, "condition")
    return CONDITIONS[name]


def suite(name: str, settings: Collection[str]) -> list[Condition]:
    """The conditions of one of `SUITES` that an environment with such settings can be put in."""
    chosen = [condition(name) for name in SUITES[name]]
    return [one for one in chosen if set(one.settings or ()) <= set(settings)]


def made_with(
    names: Sequence[str], settings: Mapping[str, Any]
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Variants to choose of an environment, and the settings that it is made with.

    Args:
        names: The variants that are asked for. Connectors of one's own, `MODULE:NAME`, and
            generated ones are not there to be chosen unless the environment is made with them.
        settings: Its other settings.
    """
    from vtenv.tasks.insertion.generated import index_of  # imports MuJoCo

    if any(":" in name or index_of(name) is not None for name in names):
        return (), {**settings, "connectors": list(names)}
    return tuple(names), dict(settings)
