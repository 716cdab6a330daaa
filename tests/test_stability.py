"""Long random play: no NaN, no warning, no tunnelling, no growth."""

import dataclasses
import json

import gymnasium
import numpy as np
import pytest

import vtenv
from scripts import stability
from vtenv.tasks.insertion import scene
from vtenv.tasks.insertion.primitives import HOUSING_HALF_SIZE

STEPS = 8_000
WORLDS = 50
DEEPEST_ALLOWED = 0.003
"""In [m]; 2.2 mm were seen. In a single physics step of 2 ms a plug whose hand may push with 30 N
comes into a wall farther than the wall pushes it back; with 12 N and soft walls it was 0.40 mm."""
MARGIN = 0.002
"""Layer of the housing, in [m], in which a tip is not counted as tunnelled: the header's tip is
the middle of its pins, between which an edge of the housing fits."""


@pytest.mark.slow
@pytest.mark.parametrize("connector", vtenv.CONNECTOR_NAMES)
def test_random_play(connector, record_property):
    env = gymnasium.make_vec(
        "VTInsert-v0",
        WORLDS,
        vectorization_mode="vector_entry_point",
        connectors=connector,
        modalities=("state",),
    )
    env.reset(seed=0)
    engine, simulation = env.simulation.engine, env.simulation
    generator = np.random.default_rng(0)
    drift, data, deepest = np.zeros((WORLDS, 5)), None, 0.0
    opening = 0.005 + 0.004 + 0.001 + 0.0015  # the widest mouth: half USB's width and lead-in
    for step in range(STEPS // WORLDS):
        # White noise hardly moves the hand: drift as well, and lean towards the socket.
        drift = 0.9 * drift + 0.4 * generator.normal(size=(WORLDS, 5))
        drift[:, 0] += 0.05
        observation, reward, *_ = env.step(np.clip(drift, -1, 1))
        assert np.isfinite(observation["state"]).all() and np.isfinite(reward).all()
        assert not engine._batch.warning[:, :, 1].any()
        geometry = simulation.measures
        inside = (geometry.depth > MARGIN) & (geometry.depth < 2 * HOUSING_HALF_SIZE[0] - MARGIN)
        in_block = (np.abs(geometry.tip[:, 0]) < HOUSING_HALF_SIZE[1] - MARGIN) & (
            np.abs(geometry.tip[:, 1]) < HOUSING_HALF_SIZE[2] - MARGIN
        )
        assert not (inside & in_block & (geometry.lateral > opening)).any(), "tunnelled"
        for world in range(step % 5, WORLDS, 5):
            depth, data = stability.plug_socket_overlap(engine, world, data)
            deepest = max(deepest, depth)
    record_property("deepest_penetration_mm", deepest * 1e3)
    print(f"{connector}: deepest penetration {deepest * 1e3:.2f} mm")
    assert deepest < DEEPEST_ALLOWED
    env.close()


@pytest.mark.slow
def test_memory_is_flat():
    resource = pytest.importorskip("resource")
    env = gymnasium.make_vec(
        "VTInsert-v0", 32, vectorization_mode="vector_entry_point", max_episode_steps=10
    )
    env.reset(seed=0)
    still = np.zeros((32, 5), np.float32)

    def peak_after(steps):
        for _ in range(steps):
            env.step(still)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    settled = peak_after(60)
    assert peak_after(300) - settled < 8  # MiB, over 900 resets
    env.close()


def test_no_warning_counts_as_a_failure():
    """A world that MuJoCo reports trouble with ends its episode, and the next one is sound."""
    env = gymnasium.make_vec(
        "VTInsert-v0", 2, vectorization_mode="vector_entry_point", modalities=("state",)
    )
    env.reset(seed=0)
    engine = env.simulation.engine
    engine._batch.qvel[1, scene.PLUG_QVEL] = 1e12
    *_, terminated, _, info = env.step(np.zeros((2, 5)))
    assert terminated.tolist() == [False, True]
    failures = env.simulation.task.failures
    assert [failures[code] for code in info["failure"]] == ["", "unstable"]
    observation, *_, terminated, _, _ = env.step(np.zeros((2, 5)))
    assert not terminated.any() and np.isfinite(observation["state"]).all()
    env.close()


def test_the_script_counts(tmp_path):
    options = stability.Options(
        steps=400, connectors=("usb", "pin"), num_envs=10, output=tmp_path / "counts.json"
    )
    assert stability.main(options) == 0
    told = json.loads(options.output.read_text())
    assert told["steps"] == 400 and told["trouble"] == {}
    assert {found["not_finite"] for found in told["connectors"].values()} == {0}
    assert all(0 <= found["deepest_overlap_mm"] < 3 for found in told["connectors"].values())


def test_the_script_goes_on_where_its_time_was_over(tmp_path):
    options = stability.Options(
        steps=400,
        connectors=("usb", "pin"),
        num_envs=10,
        max_minutes=1e-9,
        output=tmp_path / "counts.json",
    )
    for played in (10, 20, 20):
        stability.main(options)
        told = json.loads(options.output.read_text())["connectors"]
        assert {name: found["steps"] for name, found in told.items()} == dict.fromkeys(
            options.connectors, played
        )
        options = dataclasses.replace(options, steps=40)
    with pytest.raises(ValueError, match="has another seed; choose another file"):
        stability.main(dataclasses.replace(options, seed=1))


def test_the_script_sees_trouble():
    inside, wide = np.array([0.005, 0.005, 0.005, 0.0]), np.array([0.0, 0.009, 0.0, 0.009])
    tip = np.stack([wide, np.array([0.0, 0.0, 0.008, 0.0])], axis=1)
    seen = stability._through(inside, tip, 0.008, 0.006)
    assert seen.tolist() == [False, True, True, False]
    assert not stability._finite(np.array([1.0, np.nan]))
    assert stability._is_trouble("python_warnings", 1)
    assert stability._is_trouble("memory_growth_mib", 100.0)
    assert not stability._is_trouble("memory_growth_mib", 1.0)
