"""The scene as people see it: a model with materials, lights and finely shaped parts.

It has the joints and bodies of the physics model, so that a state is copied as it is, but
hides the physics' primitives.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from vtenv.rendering.parts import Part, hand_parts, plug_parts, socket_parts
from vtenv.rendering.surfaces import Surface, merge
from vtenv.tasks.insertion import scene
from vtenv.tasks.insertion.connectors import Connector

_FLOOR_HALF_SIZE = 2.0
"""Half the side of the floor, in [m]."""
_HIDDEN_GROUP = 5
"""Geom group of the connectors that are not shown."""

MATERIALS: dict[str, dict[str, Any]] = {
    "floor": {"texture": "floor", "specular": 0.0, "shininess": 0.0},
    "shell": {"rgba": (0.90, 0.91, 0.92, 1), "specular": 0.35, "shininess": 0.4},
    "graphite": {"rgba": (0.22, 0.23, 0.25, 1), "specular": 0.35, "shininess": 0.35},
    "screw": {"rgba": (0.52, 0.54, 0.57, 1), "specular": 0.7, "shininess": 0.5},
    "gel": {"rgba": (0.96, 0.88, 0.74, 1), "specular": 0.25, "shininess": 0.3},
    "glass": {"rgba": (0.60, 0.74, 0.86, 0.10), "specular": 0.6, "shininess": 0.8},
    "glass_gel": {"rgba": (1.0, 0.93, 0.80, 0.10), "specular": 0.3, "shininess": 0.5},
    "glass_edge": {"rgba": (0.25, 0.36, 0.48, 0.6), "specular": 0.0, "shininess": 0.0},
    "block": {"rgba": (0.19, 0.36, 0.53, 1), "specular": 0.35, "shininess": 0.4},
    "cut": {"texture": "hatch", "specular": 0.0, "shininess": 0.0},
    "black_plastic": {"rgba": (0.11, 0.11, 0.12, 1), "specular": 0.5, "shininess": 0.45},
    "white_plastic": {"rgba": (0.95, 0.95, 0.94, 1), "specular": 0.4, "shininess": 0.5},
    "red_wire": {"rgba": (0.80, 0.16, 0.13, 1), "specular": 0.3, "shininess": 0.3},
    "yellow_wire": {"rgba": (0.93, 0.74, 0.15, 1), "specular": 0.3, "shininess": 0.3},
    "green_wire": {"rgba": (0.16, 0.55, 0.30, 1), "specular": 0.3, "shininess": 0.3},
    "blue_wire": {"rgba": (0.14, 0.36, 0.72, 1), "specular": 0.3, "shininess": 0.3},
    "gold": {
        "rgba": (1.0, 0.78, 0.34, 1),
        "texture": "studio",
        "specular": 0.9,
        "shininess": 0.7,
        "emission": 0.10,
    },
    "steel": {
        "rgba": (0.93, 0.95, 0.98, 1),
        "texture": "studio",
        "specular": 0.9,
        "shininess": 0.7,
        "emission": 0.08,
    },
    "dark_steel": {
        "rgba": (0.62, 0.64, 0.67, 1),
        "texture": "studio",
        "specular": 0.8,
        "shininess": 0.6,
        "emission": 0.05,
    },
    "bore": {"rgba": (0.34, 0.36, 0.39, 1), "specular": 0.3, "shininess": 0.3},
}


def build_render_spec(config: scene.SceneConfig, connectors: Sequence[Connector]) -> mujoco.MjSpec:
    """Describe the scene as people see it, with all of some connectors at once.

    Args:
        config: What the scene is built from.
        connectors: The connectors in play. `show_connector` chooses the one that is seen.

    Returns:
        A specification whose model has the joints and the mocap body of `scene.build_spec`'s.
    """
    spec = scene.build_spec(config, connectors[0])
    given = scene.metres(config.clearance_mm), scene.metres(config.lead_in_mm)
    scale = config.connector_scale
    sets = {"": list(hand_parts(spec))}
    for connector in connectors:
        clearance, lead_in = min(connector.clearance(given[0])), connector.lead_in(given[1])
        sets[connector.name] = [
            *plug_parts(connector, scale),
            *socket_parts(spec, connector, clearance, lead_in, scale),
        ]
    for geom in list(spec.geoms):
        if geom.parent.name in ("plug", "socket"):
            spec.delete(geom)  # each connector has its own
        else:
            geom.group = scene.COLLIDER_GROUP
    _add_style(spec)
    for prefix, parts in sets.items():
        for (body, material), group in groupby(sorted(parts, key=_key), key=_key):
            surface = merge([part.surface for part in group])
            _add_mesh(spec, f"{prefix}/{body}/{material}", body, material, surface)
    return spec


def show_connector(model: mujoco.MjModel, name: str) -> None:
    """Show one of the connectors of a render model, and hide the others."""
    for index in range(model.ngeom):
        prefix, slash, _ = model.geom(index).name.partition("/")
        if prefix and slash:
            shown = prefix == name
            model.geom_group[index] = scene.DECOR_GROUP if shown else _HIDDEN_GROUP


def _key(part: Part) -> tuple[str, str]:
    return part.body, part.material


def _add_mesh(spec: mujoco.MjSpec, name: str, body: str, material: str, surface: Surface) -> None:
    corners = surface.faces.ravel()
    spec.add_mesh(
        name=name,
        uservert=surface.vertices.ravel(),
        usertexcoord=surface.texcoords.ravel(),
        userface=corners,
        userfacetexcoord=corners,
        inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
    )
    spec.body(body).add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_MESH,
        meshname=name,
        material=material,
        group=scene.DECOR_GROUP,
        mass=0.0,
        contype=0,
        conaffinity=0,
        castshadow=not material.startswith("glass"),
    )


# --- light and colour -------------------------------------------------------------------------
def _add_style(spec: mujoco.MjSpec) -> None:
    """Lights, floor, materials and the quality of the picture."""
    visual = spec.visual
    visual.quality.shadowsize = 1024
    visual.quality.offsamples = 0
    visual.global_.fovy = 24.0
    visual.headlight.ambient = [0.33, 0.33, 0.34]
    visual.headlight.diffuse = [0.30, 0.30, 0.30]
    visual.headlight.specular = [0.1, 0.1, 0.1]
    spec.stat.extent, spec.stat.center = 0.12, [0.02, 0.0, 0.08]
    # The renderer's shadow bias is a fraction of the depth range: a short one lets surfaces
    # shade themselves in patches.
    visual.map.znear, visual.map.zfar = 0.2, 1000.0
    visual.map.shadowclip = 0.85

    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.86, 0.89, 0.92],
        rgb2=[0.62, 0.65, 0.70],
        width=64,
        height=384,
    )
    for name, image in (("hatch", _hatch()), ("studio", _studio()), ("floor", _floor())):
        texture = spec.add_texture(
            name=name,
            type=mujoco.mjtTexture.mjTEXTURE_2D,
            width=image.shape[1],
            height=image.shape[0],
            nchannel=3,
        )
        texture.data = np.clip(image, 0, 255).astype(np.uint8).tobytes()
    for name, style in MATERIALS.items():
        style = dict(style)
        image_name = style.pop("texture", None)
        material = spec.add_material(name=name, **style)
        if image_name:
            material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = image_name
    spec.worldbody.add_geom(
        name="floor",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[_FLOOR_HALF_SIZE, _FLOOR_HALF_SIZE, 0.05],
        material="floor",
        group=scene.DECOR_GROUP,
        contype=0,
        conaffinity=0,
        castshadow=False,
    )
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


def _hatch(size: int = 256) -> NDArray[np.float64]:
    """Section lines at 45 degrees, a repeating tile of 1 cm."""
    row, column = np.mgrid[:size, :size] / size
    phase = ((row + column) * 5.0) % 1.0
    line = np.clip((0.5 - np.abs(phase - 0.5)) * 12.0, 0.0, 1.0)[..., None]
    return line * np.array([244, 184, 112]) + (1 - line) * np.array([214, 140, 66])


def _studio(size: int = 256) -> NDArray[np.float64]:
    """What a polished bar reflects around its circumference, from +y over +z."""
    angle = np.arange(size) / size * 360
    levels = [
        (0, 0.45),
        (45, 0.72),
        (80, 0.80),
        (112, 1.00),
        (132, 1.00),
        (150, 0.62),
        (172, 0.40),
        (190, 0.55),
        (215, 0.82),
        (240, 0.70),
        (275, 0.42),
        (330, 0.35),
        (360, 0.45),
    ]
    level = np.interp(angle, *np.transpose(levels))
    return np.broadcast_to(level[None, :, None] * 255, (8, size, 3))


def _floor(size: int = 512) -> NDArray[np.float64]:
    """A pale table, brightest below the hand."""
    row, column = (np.mgrid[:size, :size] + 0.5) / size * 2 - 1
    far = np.hypot(row, column)[..., None] * _FLOOR_HALF_SIZE
    light, dark = np.array([247, 248, 250]), np.array([186, 193, 203])
    blend = np.clip(far / 0.8, 0, 1) ** 0.8
    return light * (1 - blend) + dark * blend
