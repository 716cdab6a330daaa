"""A modality made outside the package works as ours do."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from vtenv.modalities import GEL, Modality
from vtenv.sensing import Sensor
from vtenv.sensing.cpu import RayCamera


class SlopeSensor:
    """How steep what a gel touches is, row by row: nothing of ours knows of it."""

    def __init__(self, world_model, camera, keys, poses):
        (self._key,) = keys
        self.memory = {}
        self._rays = RayCamera(world_model, camera, poses)
        self._distance = np.empty(self._rays.shape, np.float32)
        self._last = np.zeros(self._rays.shape, np.float32)

    def reset(self, worlds, noise):
        """It has no noise."""

    def draw(self, worlds, generators):
        self._last = self._last.copy()
        return {self._key: self._last}

    def measure(self, worlds):
        self._rays.cast(worlds, self._distance)
        thickness = self._rays.profile.thickness_mm
        pressed = np.clip(thickness - self._distance[worlds] * 1e3, 0.0, thickness)
        self._last[worlds] = np.gradient(pressed, axis=-1)


SLOPE = Modality(
    key="slope",
    label="Slope of the gel",
    unit="mm a pixel",
    shape=(2,),
    low=-6.0,
    high=6.0,
    sensor=Sensor("slope", {"cpu": f"{__name__}:SlopeSensor"}),
    camera="gel",
    size_setting="contact_size",
    encoded_range=(-1.0, 1.0),
    draw=GEL.draw,
)


@pytest.fixture
def env():
    made = gymnasium.make(
        "VTInsert-v0",
        modalities=("gel", SLOPE, "proprio"),
        contact_size=(24, 40),
        render_mode="rgb_array",
        picture="sensors",
    )
    yield made
    made.close()


def test_it_is_observed_beside_ours(env):
    observation, _ = env.reset(seed=0)
    assert list(observation) == ["gel", "proprio", "slope"]
    assert observation["slope"].shape == (2, 24, 40)
    for _ in range(3):
        assert env.observation_space.contains(observation)
        np.testing.assert_allclose(
            observation["slope"], np.gradient(observation["gel"], axis=-1), atol=1e-5
        )
        observation, *_ = env.step(env.action_space.sample())
    assert env.render().shape == (480, 640, 3)


def test_an_unknown_key_is_refused_with_what_there_is():
    with pytest.raises(ValueError, match=r"modalities=.*depth, contact, gel.*or Modality objects"):
        gymnasium.make("VTInsert-v0", modalities=("slope",))


def test_an_engine_without_it_is_refused():
    with pytest.raises(ValueError, match="'slope' has no implementation for engine='warp'"):
        SLOPE.sensor.implementation("warp")


def test_images_need_not_be_square():
    """The longer side sees as much as a square image's, in pixels that stay square."""
    wide = gymnasium.make("VTInsert-v0", modalities="gel", contact_size=(32, 64))
    square = gymnasium.make("VTInsert-v0", modalities="gel", contact_size=64)
    (low, _), (full, _) = wide.reset(seed=0), square.reset(seed=0)
    np.testing.assert_allclose(low["gel"], full["gel"][:, 16:48], atol=1e-5)
    wide.close()
    square.close()
