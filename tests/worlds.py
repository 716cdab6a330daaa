"""Worlds of the insertion task without an environment, results compared, and pages read."""

from __future__ import annotations

from types import SimpleNamespace

import mujoco
import numpy as np
from numpy.typing import NDArray

from vtenv.sensing.raycast import Primitives, cast_depth
from vtenv.simulation import Simulation
from vtenv.tasks.insertion import scene
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


def episodes(envs, policy, steps, seed=1000):
    """Success and return of an episode of each world under `policy(simulation, step)`."""
    envs.reset(seed=seed)
    simulation, num = envs.simulation, envs.num_envs
    success, returns, live = np.zeros(num, bool), np.zeros(num), np.arange(num)
    for step in range(steps):
        result = simulation.step(live, policy(simulation, step))
        returns[live] += result.reward[live]
        success[live] = simulation.info()["is_success"][live]
        live = live[~result.terminated[live]]
        if not live.size:
            break
    envs.close()
    return success, returns


def expert(simulation, step):
    """A policy of `episodes`: the scripted expert."""
    return simulation.expert_action()


def steady(*action):
    """A policy of `episodes`: one action all the time."""
    return lambda simulation, step: np.tile(np.array(action, float), (simulation.num_worlds, 1))


def assert_same(left, right, where="") -> None:
    """Bit for bit equality of nested results."""
    assert type(left) is type(right), where
    if isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            assert_same(left[key], right[key], f"{where}/{key}")
    elif isinstance(left, list | tuple) or (isinstance(left, np.ndarray) and left.dtype == object):
        for index, (one, other) in enumerate(zip(left, right, strict=True)):
            assert_same(one, other, f"{where}[{index}]")
    else:
        assert getattr(left, "dtype", None) == getattr(right, "dtype", None), where
        np.testing.assert_array_equal(left, right, where)


def page_rows(env_type, section) -> list[list[str]]:
    """Rows of the tables in a section of an environment's class docstring."""
    text = env_type.__doc__.split(f"## {section}")[1].split("\n    ## ")[0]
    return [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in text.splitlines()
        if line.strip().startswith("|") and "---" not in line
    ]


def hold_plug(data: mujoco.MjData, grasp: NDArray[np.float64]) -> None:
    """Place the hand, the fingers and the plug as a settled grasp has them."""
    data.qpos[scene.FINGER_QPOS] = grasp[:2]
    data.qpos[scene.PLUG_POS] = grasp[2:5]
    data.qpos[scene.PLUG_POS.stop - 1] += scene.HAND_HEIGHT
    data.qpos[scene.PLUG_QUAT] = grasp[5:9]
    data.mocap_pos[0] = [1.0, 0.0, scene.HAND_HEIGHT]


def cast_images(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    cameras: slice,
    groups: tuple[int, ...],
    extent: float,
    perspective: bool,
) -> NDArray[np.float32]:
    """Distances that cameras see in one world, (cameras, H, W), in [m]."""
    size = model.cam_resolution[cameras.start, 0]
    out = np.empty((2, cameras.stop - cameras.start, size, size), np.float32)
    poses = [
        np.stack([pose, pose])
        for pose in (data.geom_xpos, data.geom_xmat, data.cam_xpos, data.cam_xmat)
    ]
    first, variant = np.zeros(1, np.int64), np.zeros(2, np.int64)
    cast_posed([model], groups, first, variant, poses, cameras, extent, perspective, out)
    return out[0]


def cast_posed(
    models: list[mujoco.MjModel],
    groups: tuple[int, ...],
    worlds: NDArray[np.int64],
    variant: NDArray[np.int64],
    poses: list[NDArray[np.float64]],
    cameras: slice,
    extent: float,
    perspective: bool,
    out: NDArray[np.float32],
) -> None:
    """Cast worlds whose geoms and cameras have poses: two of positions and orientations each.

    Arrays are laid out as the engine's, read-only and sliced out of all cameras, so that one
    compiled version serves the engine and the tests.
    """
    primitives = Primitives.from_models(models, groups)
    for pose in poses:
        pose.flags.writeable = False
    cast_depth(
        worlds,
        variant,
        primitives.ids,
        primitives.types,
        primitives.sizes,
        primitives.used,
        poses[0],
        poses[1],
        poses[2][:, cameras],
        poses[3][:, cameras],
        extent,
        extent,
        perspective,
        out,
    )
