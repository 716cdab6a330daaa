"""Tracks: named worlds that ask one question each.

`gymnasium.make("VTInsert-v0", track="contact")` makes the world of a track; settings given besides
take the place of the track's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from vtenv.validation import require


@dataclass(frozen=True)
class Track:
    """A named world.

    Attributes:
        question: What it asks.
        settings: Keyword arguments of `VTInsert-v0`, as JSON has them.
    """

    question: str
    settings: Mapping[str, Any]


TRACKS: Mapping[str, Track] = MappingProxyType(
    {
        "nominal": Track("Does the chain work?", {}),
        "loose": Track(
            "What does a world show that hardly needs touch, where almost every policy inserts?",
            {
                "clearance_mm": 0.4,
                "lead_in_mm": 1.0,
                "contact_impedance": [0.97, 0.99],
                "insertion_resistance": 0.0,
                "hand_force_n": 12.0,
                "action_delay": 0,
                "observation_delay": 0,
                "initial_state": {"in_hand_z_mm": [-3.0, 3.0], "in_hand_pitch_deg": [-10.0, 10.0]},
                "disturbances": {"grip_force_n": [20.0, 20.0], "socket_pitch_deg": [0.0, 0.0]},
            },
        ),
        "precision": Track(
            "How exact is the pose that a representation tells?",
            {
                "clearance_mm": 0.1,
                "lead_in_mm": 0.1,
                "initial_state": {
                    "in_hand_x_mm": [0.0, 6.0],
                    "in_hand_z_mm": [-6.0, 6.0],
                    "in_hand_pitch_deg": [-15.0, 15.0],
                },
                # A firm grip lets a search drag the plug over the face until it falls in.
                "insertion_resistance": 0.2,
                "disturbances": {"grip_force_n": [5.0, 8.0]},
            },
        ),
        "contact": Track(
            "Is touch used while the plug goes in, or at a first look alone?",
            {
                # A plug that the cable turns and shifts by more than the mouth forgives: what was
                # felt at first no longer holds. Full springs would push it out of so weak a grip.
                "insertion_resistance": 0.3,
                "grip_creep": 3.0,
                "disturbances": {"grip_force_n": [8.0, 14.0], "cable_force_n": [6.0, 12.0]},
            },
        ),
        "shift": Track(
            "Does it withstand sensors that are worse than those it was trained with?",
            {
                # With four times the faults of depth and of the camera no policy inserts at all.
                "depth_noise_mm": 1.5,
                "depth_dropout": 0.05,
                "domain_randomization": {
                    "connector_friction": None,
                    "pad_friction": None,
                    "clearance_mm": None,
                    "plug_mass_g": None,
                    "gel_stiffness": None,
                    "camera_shift_mm": [-0.5, 0.5],
                    "camera_tilt_deg": [-0.15, 0.15],
                    "depth_noise_mm": None,
                },
                "sensor_faults": {
                    "depth_bias_mm": 0.75,
                    "depth_correlated_mm": 0.25,
                    "depth_holes": 0.03,
                    "touch_blur_px": 1.0,
                    "touch_edge_noise": 0.1,
                    "touch_drift": 0.1,
                    "touch_dead": 0.01,
                    "touch_flips": 0.001,
                },
            },
        ),
        "transfer": Track(
            "Does it generalise to a connector that neither encoder nor policy has seen?",
            {"connectors": [f"generated-{number}" for number in range(1000, 1008)]},
        ),
        "budget": Track("How few steps of training does it take?", {}),
    }
)
"""The tracks, by name. All sizes in them are ours."""


def track_settings(name: object) -> dict[str, Any]:
    """Keyword arguments of the world of a track.

    Raises:
        ValueError: If there is no such track; lists those there are.
    """
    known = isinstance(name, str) and name in TRACKS
    require(known, "track", name, f"one of {', '.join(TRACKS)}")
    return dict(TRACKS[str(name)].settings)
