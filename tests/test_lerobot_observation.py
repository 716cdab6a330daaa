import gymnasium
import numpy as np
import pytest

from vtenv.lerobot_observation import LeRobotObservation
from vtenv.modalities import DEPTH


def make(**settings):
    return gymnasium.make("VTInsert-v0", **settings)


def test_each_channel_is_a_camera_and_the_proprioception_the_state():
    plain, env = make(), LeRobotObservation(make(image_size=64))
    seen, _ = plain.reset(seed=0)
    observation, _ = env.reset(seed=0, options={"lerobot_new_rollout": True})
    assert observation in env.observation_space
    pixels = observation["pixels"]
    assert list(pixels) == ["depth", "contact_left", "contact_right"]
    assert {picture.shape for picture in pixels.values()} == {(64, 64, 3)}
    assert np.array_equal(observation["agent_pos"], seen["proprio"])
    for side, mask in zip(("left", "right"), seen["contact"], strict=True):
        assert np.array_equal(pixels[f"contact_{side}"][..., 0], 255 * mask)
    low, high = DEPTH.encoded_range
    depth = low + pixels["depth"][..., 1] / 255 * (high - low)
    inside = (seen["depth"][0] > low) & (seen["depth"][0] < high)
    assert inside.mean() > 0.9
    assert np.abs(depth - seen["depth"][0])[inside].max() < 0.5 * (high - low) / 255 + 1e-6
    assert env.get_wrapper_attr("task_description").startswith("Insert")
    plain.close()
    env.close()


def test_own_options_are_still_checked():
    env = LeRobotObservation(make())
    with pytest.raises(ValueError, match="rollout"):
        env.reset(options={"new_rollout": True})
    env.close()


def test_the_state_is_needed():
    env = make(modalities=("depth",))
    with pytest.raises(
        ValueError, match=r'make it with modalities=\("depth", "contact", "proprio"'
    ):
        LeRobotObservation(env)
    env.close()
