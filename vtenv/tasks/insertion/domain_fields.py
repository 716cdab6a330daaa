"""What a domain changes in the model, as rows of its fields; the same for every engine."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from vtenv.tasks.insertion import scene
from vtenv.tasks.insertion.domain import Domain

DOMAIN_FIELDS = (
    "geom_friction",
    "geom_solref",
    "body_mass",
    "body_inertia",
    "body_subtreemass",
    "cam_pos",
    "cam_quat",
)
"""Fields of the model that depend on the domain; its geometry is a model of its own."""


class DomainFields:
    """Fields of the model for the domains of worlds.

    A plug of another mass keeps its `invweight0`: from that MuJoCo takes how soft contacts are,
    and neither gel nor plug is softer for what the plug weighs.

    Args:
        models: Models of one layout; a world runs on one of them.
    """

    def __init__(self, models: list[mujoco.MjModel]) -> None:
        first = models[0]
        self._tables = {
            name: np.stack([getattr(m, name) for m in models]) for name in DOMAIN_FIELDS
        }
        self._plug = first.body("plug").id
        plug_and_socket = np.isin(first.geom_bodyid, [self._plug, first.body("socket").id])
        self._rigid = plug_and_socket & ((first.geom_contype | first.geom_conaffinity) > 0)
        self._rigid &= first.geom_priority == 0  # springs have a friction of their own
        self._pads = np.array([first.geom(f"gel_{side}").id for side in ("left", "right")])

    def rows(self, variant: NDArray[np.int64], domain: Domain) -> dict[str, NDArray[np.float64]]:
        """Fields of N worlds, (N, ...) each.

        Args:
            variant: Index of each world's model, (N,).
            domain: Their domains.
        """
        rows = {name: table[variant] for name, table in self._tables.items()}
        rows["geom_friction"][:, self._rigid, 0] = domain.connector_friction[:, None]
        rows["geom_friction"][:, self._pads, 0] = domain.pad_friction[:, None]
        # The stiffness of a contact is as the inverse square of its time constant.
        rows["geom_solref"][:, self._pads, 0] /= np.sqrt(domain.gel_stiffness)[:, None]
        mass = rows["body_mass"][:, self._plug].copy()
        rows["body_mass"][:, self._plug] = domain.plug_mass
        rows["body_inertia"][:, self._plug] *= (domain.plug_mass / mass)[:, None]
        for body in (0, self._plug):  # the world's subtree holds the plug's
            rows["body_subtreemass"][:, body] += domain.plug_mass - mass
        camera = scene.OVERHEAD_CAMERA
        rows["cam_pos"][:, camera] += domain.camera_shift
        quat = rows["cam_quat"][:, camera]
        rows["cam_quat"][:, camera] = _turned(quat, domain.camera_tilt)
        return rows


def _turned(quat: NDArray[np.float64], rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quaternions (N, 4), wxyz, turned by rotation vectors (N, 3) in their own axes."""
    angle = np.linalg.norm(rotation, axis=-1, keepdims=True)
    # sin(a / 2) / a by NumPy's sinc, which is smooth at zero.
    v = rotation * np.sinc(angle / (2 * np.pi)) / 2
    w0, v0, w1 = quat[:, :1], quat[:, 1:], np.cos(angle / 2)
    w = w0 * w1 - np.sum(v0 * v, axis=-1, keepdims=True)
    return np.concatenate([w, w0 * v + w1 * v0 + np.cross(v0, v)], axis=-1)
