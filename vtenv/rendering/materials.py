"""Light and colour of the pictures for people."""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np

Color = tuple[float, ...]


class Material(NamedTuple):
    """How light falls on a surface; as MuJoCo's material."""

    rgba: Color
    specular: float = 0.3
    shininess: float = 0.3


MATERIALS = {
    "shell": Material((0.90, 0.91, 0.92, 1), 0.35, 0.4),
    "graphite": Material((0.22, 0.23, 0.25, 1), 0.35, 0.35),
    "screw": Material((0.52, 0.54, 0.57, 1), 0.7, 0.5),
    "gel": Material((0.96, 0.88, 0.74, 1), 0.25),
    "glass": Material((0.60, 0.74, 0.86, 0.10), 0.6, 0.8),
    "glass_gel": Material((1.0, 0.93, 0.80, 0.10), 0.3, 0.5),
    "glass_edge": Material((0.25, 0.36, 0.48, 0.6), 0.0, 0.0),
    "block": Material((0.19, 0.36, 0.53, 1), 0.35, 0.4),
    "bore": Material((0.34, 0.36, 0.39, 1)),
    "cut": Material((1, 1, 1, 1), 0.0, 0.0),
    "floor": Material((1, 1, 1, 1), 0.0, 0.0),
    "black_plastic": Material((0.11, 0.11, 0.12, 1), 0.5, 0.45),
    "white_plastic": Material((0.95, 0.95, 0.94, 1), 0.4, 0.5),
    "red_wire": Material((0.80, 0.16, 0.13, 1)),
    "yellow_wire": Material((0.93, 0.74, 0.15, 1)),
    "green_wire": Material((0.16, 0.55, 0.30, 1)),
    "blue_wire": Material((0.14, 0.36, 0.72, 1)),
    "gold": Material((0.84, 0.61, 0.21, 1), 1.0, 0.4),
    "steel": Material((0.62, 0.64, 0.67, 1), 1.0, 0.4),
    "dark_steel": Material((0.44, 0.46, 0.49, 1), 0.8, 0.4),
}
"""What parts are made of, by the names that a connector's `Style` uses."""


def add_materials(spec: mujoco.MjSpec) -> None:
    """Add `MATERIALS` to a specification, and the textures of floor and cut."""
    textures = mujoco.mjtTexture
    for name, kind, bright, dark, size in (
        ("sky", textures.mjTEXTURE_SKYBOX, [0.86, 0.89, 0.92], [0.62, 0.65, 0.70], (64, 384)),
        # A pale table, brightest below the hand.
        ("floor", textures.mjTEXTURE_2D, [0.96, 0.97, 0.98], [0.44, 0.48, 0.54], (512, 512)),
    ):
        spec.add_texture(
            name=name,
            type=kind,
            builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
            rgb1=bright,
            rgb2=dark,
            width=size[0],
            height=size[1],
        )
    side = 256
    row, column = np.mgrid[:side, :side] / side
    line = np.clip((0.5 - np.abs((row + column) * 5.0 % 1.0 - 0.5)) * 12.0, 0.0, 1.0)[..., None]
    hatch = line * [244, 184, 112] + (1 - line) * [214, 140, 66]
    cut = spec.add_texture(
        name="cut",  # section lines at 45 degrees, a repeating tile of 1 cm
        type=textures.mjTEXTURE_2D,
        width=side,
        height=side,
        nchannel=3,
    )
    cut.data = hatch.astype(np.uint8).tobytes()
    for name, look in MATERIALS.items():
        material = spec.add_material(name=name, **look._asdict())
        if name in ("floor", "cut"):
            material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name


def add_lights(spec: mujoco.MjSpec) -> None:
    """Add lights to a specification, and set the quality of the picture."""
    visual = spec.visual
    visual.quality.shadowsize = 4096
    visual.quality.offsamples = 8
    visual.quality.numslices, visual.quality.numstacks = 16, 8
    visual.global_.fovy = 24.0
    visual.headlight.ambient = [0.33, 0.33, 0.34]
    visual.headlight.diffuse = [0.30, 0.30, 0.30]
    visual.headlight.specular = [0.1, 0.1, 0.1]
    spec.stat.extent, spec.stat.center = 0.12, [0.02, 0.0, 0.08]
    # The renderer's shadow bias is a fraction of the depth range: a short one lets surfaces
    # shade themselves in patches.
    visual.map.znear, visual.map.zfar = 0.2, 1000.0
    visual.map.shadowclip = 0.85
    for name, direction, diffuse, specular, shadow in (
        ("key", (0.30, 0.55, -0.85), (0.56, 0.55, 0.53), 0.55, True),
        ("rim", (-0.75, -0.35, -0.45), (0.18, 0.20, 0.24), 0.35, False),
    ):
        spec.worldbody.add_light(
            name=name,
            type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
            pos=-0.35 * np.array(direction) + [0.02, 0.0, 0.08],
            dir=direction,
            diffuse=diffuse,
            specular=[specular] * 3,
            castshadow=shadow,
        )
