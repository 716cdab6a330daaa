"""Worlds of the insertion task without an environment around them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from vtenv.simulation import Simulation
from vtenv.tasks.insertion.config import InsertionConfig
from vtenv.tasks.insertion.task import InsertionTask

UNDISTURBED = {
    "disturbances": {"grip_force_n": (20.0, 20.0), "socket_pitch_deg": (0.0, 0.0)},
    "action_delay": 0,
    "observation_delay": 0,
}
"""Settings of a firm grip, straight sockets and no delays."""


def settings_of(**settings) -> InsertionConfig:
    """A configuration from keyword arguments of `VTInsert-v0`."""
    return InsertionConfig.from_settings("VTInsert-v0", settings)


def task_of(**settings) -> InsertionTask:
    """The task with keyword arguments of `VTInsert-v0`."""
    return InsertionTask(settings_of(**settings))


def make_simulation(num_worlds=1, engine="cpu", *, engine_settings=None, **settings) -> Simulation:
    """Worlds before their first reset."""
    return Simulation(task_of(**settings), num_worlds, engine, **(engine_settings or {}))


def simulate(num_worlds, seed=0, engine="cpu", **settings) -> Simulation:
    """Worlds after their first reset; world i is seeded with `seed + i`."""
    simulation = make_simulation(num_worlds, engine, **{"modalities": ("state",), **settings})
    worlds = np.arange(num_worlds)
    simulation.reset(worlds, [np.random.default_rng(seed + i) for i in worlds])
    return simulation


def domain_of(simulation: Simulation) -> SimpleNamespace:
    """What domain randomisation has drawn, by name."""
    return SimpleNamespace(**simulation.domain)
