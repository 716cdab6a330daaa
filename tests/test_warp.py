"""The Warp engine against the CPU engine, on Warp's CPU device and on CUDA where there is one."""

import gymnasium
import numpy as np
import pytest

from vtenv.config import VTInsertConfig
from vtenv.expert import expert_action
from vtenv.simulation import Simulation

pytest.importorskip("mujoco_warp")
pytestmark = pytest.mark.slow  # two minutes to compile for a new device, then cached

WORLDS = 12


def devices():
    import torch

    return ["cpu", *(["cuda:0"] if torch.cuda.is_available() else [])]


@pytest.fixture(scope="module", params=devices())
def pair(request):
    """The same worlds on both engines, noise off, in the same initial states."""
    config = VTInsertConfig.from_settings(
        modalities=("depth", "contact", "gel", "state"), depth_noise_mm=0.0
    )
    simulations = (
        Simulation(config, WORLDS),
        Simulation(config, WORLDS, "warp", device=request.param),
    )
    yield simulations
    for simulation in simulations:
        simulation.close()


def restart(pair, seed=0):
    worlds = np.arange(WORLDS)
    for simulation in pair:
        generators = [np.random.default_rng(seed + i) for i in worlds]
        simulation.reset(worlds, generators)
    return worlds


def overlap(left, right):
    """Intersection over union of masks, over each world's images."""
    both = np.logical_and(left, right).sum(axis=(1, 2, 3))
    return both / np.logical_or(left, right).sum(axis=(1, 2, 3))


def test_same_seeds_same_initial_states_and_images(pair):
    worlds = restart(pair)
    cpu, warp = (simulation.observe(worlds) for simulation in pair)
    assert (pair[0].state.connector == pair[1].state.connector).all()
    np.testing.assert_allclose(cpu["state"], warp["state"], atol=1e-4)
    np.testing.assert_allclose(cpu["depth"], warp["depth"], atol=1e-4)
    np.testing.assert_allclose(cpu["gel"], warp["gel"], atol=1e-3)
    assert overlap(cpu["contact"], warp["contact"]).min() >= 0.98


def test_an_expert_episode_is_the_same(pair):
    worlds = restart(pair)
    ended = [np.zeros(WORLDS, bool), np.zeros(WORLDS, bool)]
    for _ in range(40):
        # The CPU engine's actions drive both, so that only the physics differ.
        action = expert_action(pair[0].state, pair[0].geometry)
        results = [simulation.step(worlds, action) for simulation in pair]
        apart = ~(ended[0] | ended[1])
        np.testing.assert_allclose(results[0].reward[apart], results[1].reward[apart], atol=0.15)
        for flags, simulation in zip(ended, pair, strict=True):
            flags |= simulation.info()["is_success"]
        cpu, warp = (simulation.observe(worlds) for simulation in pair)
        contact = overlap(cpu["contact"], warp["contact"])
        # Past its success a plug goes on against the socket's bottom, where physics diverge.
        assert contact[apart].min(initial=1.0) >= 0.95
        assert np.median(contact) >= 0.98
    assert ended[0].all() and ended[1].all()


def test_worlds_that_rest_stay_as_they_are(pair):
    worlds = restart(pair, seed=50)
    warp = pair[1]
    before = warp.state.hand.copy(), warp.state.plug_pos_w.copy()
    warp.step(worlds[::2], np.ones((WORLDS, 5)))
    for old, new in zip(before, (warp.state.hand, warp.state.plug_pos_w), strict=True):
        np.testing.assert_allclose(old[1::2], new[1::2], atol=1e-6)
        assert (np.abs(old[::2] - new[::2]) > 1e-4).any()


def test_noise_follows_from_the_seed_and_changes_with_every_image():
    config = VTInsertConfig.from_settings(modalities=("depth",), depth_dropout=0.5)
    simulation = Simulation(config, WORLDS, "warp", device="cpu")
    worlds = np.arange(WORLDS)

    def images():
        simulation.reset(worlds, [np.random.default_rng(i) for i in worlds])
        return [simulation.observe(worlds)["depth"] for _ in range(2)]

    first, again = images(), images()
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], first[1])
    true = np.stack([simulation.engine.render_depth(world) for world in worlds])[:, None]
    error = (first[0] - true)[first[0] > 0] / (true[first[0] > 0] / 0.35) ** 2
    assert abs(error.mean()) < 2e-5
    assert error.std() == pytest.approx(1e-3, rel=0.02)
    assert 0.002 < (first[0] == 0).mean() < 0.2
    simulation.close()


def test_gymnasium_vector_on_the_engine():
    env = gymnasium.make_vec(
        "VTInsert-v0",
        num_envs=WORLDS,
        vectorization_mode="vector_entry_point",
        engine="warp",
        device="cpu",
        observations="torch",
        max_episode_steps=3,
        autoreset_mode="SameStep",
    )
    import torch

    observation, _ = env.reset(seed=0)
    assert all(isinstance(value, torch.Tensor) for value in observation.values())
    assert observation["contact"].dtype == torch.uint8
    for _ in range(3):
        observation, reward, terminated, truncated, info = env.step(np.zeros((WORLDS, 5)))
    assert truncated.all() and not terminated.any() and np.isfinite(reward).all()
    final = info["final_obs"][0]["depth"]
    assert not torch.equal(final, observation["depth"][0])
    env.close()


def test_overflow_is_reported(monkeypatch):
    from vtenv.engines import warp as module

    monkeypatch.setattr(module, "CONTACTS_PER_WORLD", 2)
    monkeypatch.setattr(module, "CONSTRAINTS_PER_WORLD", 6)
    simulation = Simulation(VTInsertConfig(modalities=("state",)), 4, "warp", device="cpu")
    worlds = np.arange(4)
    simulation.reset(worlds, [np.random.default_rng(i) for i in worlds])
    with pytest.raises(module.BufferOverflowError, match="more contacts than there is room for"):
        simulation.step(worlds, np.zeros((4, 5)))
    simulation.close()


def test_bad_arguments_say_what_is_allowed():
    config = VTInsertConfig()
    with pytest.raises(ValueError, match="there is no device 'cuda:99'; choose one of cpu"):
        Simulation(config, 1, "warp", device="cuda:99")
    with pytest.raises(ValueError, match="num_threads=2 is for engine='cpu'"):
        Simulation(config, 1, "warp", num_threads=2)
    with pytest.raises(ValueError, match="are for engine='warp'; leave them out"):
        Simulation(config, 1, "cpu", device="cuda:0")
    with pytest.raises(ValueError, match="observations='jax' is not allowed; choose one of numpy"):
        Simulation(config, 1, "warp", observations="jax")
