"""The vector environment: Gymnasium's own vectors of single environments are the oracle."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from vtenv.tasks.insertion.config import MODALITIES

STEPS = 130
"""Past the time limit, so that every way to end and every reset is seen."""


def make_vec(num_envs, **kwargs):
    return gymnasium.make_vec(
        "VTInsert-v0", num_envs, vectorization_mode="vector_entry_point", **kwargs
    )


def actions(num_envs, steps, seed=0):
    """Mostly forward, so that some plugs go in and some jam."""
    generator = np.random.default_rng(seed)
    drawn = generator.uniform(-1, 1, (steps, num_envs, 5)).astype(np.float32)
    drawn[..., 0] += 0.5
    return np.clip(drawn, -1, 1)


def assert_same(left, right, where=""):
    """Bit for bit equality of nested results."""
    if isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            assert_same(left[key], right[key], f"{where}/{key}")
    elif isinstance(left, tuple):
        for index, (a, b) in enumerate(zip(left, right, strict=True)):
            assert_same(a, b, f"{where}[{index}]")
    elif left.dtype == object:
        for a, b in zip(left, right, strict=True):
            assert type(a) is type(b), where
            assert_same(a, b, where) if isinstance(a, dict) else None
            assert isinstance(a, dict) or a == b, where
    else:
        assert left.dtype == right.dtype, where
        np.testing.assert_array_equal(left, right, where)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_worlds_are_single_environments(mode):
    vector = make_vec(5, autoreset_mode=mode, modalities=MODALITIES, depth_dropout=0.2)
    singles = gymnasium.make_vec(
        "VTInsert-v0",
        5,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
        modalities=MODALITIES,
        depth_dropout=0.2,
    )
    assert vector.metadata["autoreset_mode"] is mode
    assert vector.observation_space == singles.observation_space
    assert vector.action_space == singles.action_space
    assert_same(vector.reset(seed=11), singles.reset(seed=11))
    ends = np.zeros(2, int)
    for step, action in enumerate(actions(5, STEPS)):
        result = vector.step(action)
        assert_same(result, singles.step(action), f"step {step}")
        ends += [result[2].sum(), result[3].sum()]
    assert ends[1] > 0
    vector.close()
    singles.close()


def test_disabled_autoreset_with_reset_mask():
    vector = make_vec(3, autoreset_mode=AutoresetMode.DISABLED, max_episode_steps=4)
    singles = gymnasium.make_vec(
        "VTInsert-v0",
        3,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.DISABLED},
        max_episode_steps=4,
    )
    assert_same(vector.reset(seed=0), singles.reset(seed=0))
    moves = actions(3, 6)
    for action in moves[:2]:
        assert_same(vector.step(action), singles.step(action))
    mask = np.array([False, True, False])
    assert_same(
        vector.reset(seed=5, options={"reset_mask": mask.copy()}),
        singles.reset(seed=5, options={"reset_mask": mask.copy()}),
    )
    for action in moves[2:4]:
        result = vector.step(action)
        assert_same(result, singles.step(action))
    assert result[3].tolist() == [True, False, True]
    with pytest.raises(ValueError, match=r"worlds \[0, 2\] have finished; reset them"):
        vector.step(moves[4])
    vector.close()
    singles.close()


@pytest.mark.parametrize("bad", [np.zeros(3, bool), np.ones(2, bool), np.ones(3, int)])
def test_bad_reset_masks_are_refused(bad):
    vector = make_vec(3, modalities=("proprio",))
    with pytest.raises(ValueError, match="reset all worlds before resetting some"):
        vector.reset(options={"reset_mask": np.ones(3, bool)})
    vector.reset(seed=0)
    with pytest.raises(ValueError, match="reset_mask must be a bool array of shape"):
        vector.reset(options={"reset_mask": bad})
    vector.close()


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads_gives_the_same(threads):
    reference, other = make_vec(6, num_threads=2), make_vec(6, num_threads=threads)
    assert_same(reference.reset(seed=2), other.reset(seed=2))
    for action in actions(6, 30):
        assert_same(reference.step(action), other.step(action))
    reference.close()
    other.close()


def test_a_world_does_not_depend_on_the_others():
    few, many = make_vec(2, autoreset_mode="SameStep"), make_vec(9, autoreset_mode="SameStep")
    few_first, many_first = few.reset(seed=4)[0], many.reset(seed=4)[0]
    np.testing.assert_array_equal(few_first["depth"], many_first["depth"][:2])
    for action in actions(9, STEPS):
        left, right = few.step(action[:2]), many.step(action)
        for name, value in left[0].items():
            np.testing.assert_array_equal(value, right[0][name][:2])
        np.testing.assert_array_equal(left[1], right[1][:2])
    few.close()
    many.close()


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_processes_give_the_same(context):
    # In a process that has no threads of other tests, which a fork would cut off.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        seen = fresh.submit(play_in_processes, context).result()
    vector = make_vec(2)
    moves = actions(2, 20)
    assert_same(seen, (vector.reset(seed=9), *[vector.step(action) for action in moves]))
    vector.close()


def play_in_processes(context):
    envs = AsyncVectorEnv([make_single] * 2, context=context)
    seen = (envs.reset(seed=9), *[envs.step(action) for action in actions(2, 20)])
    envs.close()
    return seen


def make_single():
    return gymnasium.make("vtenv:VTInsert-v0")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["DummyVecEnv", "SubprocVecEnv"])
def test_stable_baselines3_vectors(kind):
    from stable_baselines3.common import vec_env

    sb3 = getattr(vec_env, kind)([make_single] * 2)
    sb3.seed(9)
    observation = sb3.reset()
    vector = make_vec(2, autoreset_mode="SameStep")
    expected, _ = vector.reset(seed=9)
    for action in [None, *actions(2, 105)]:
        if action is not None:
            observation, reward, done, infos = sb3.step(action)
            expected, expected_reward, terminated, truncated, _ = vector.step(action)
            np.testing.assert_allclose(reward, expected_reward, rtol=1e-6)
            np.testing.assert_array_equal(done, terminated | truncated)
        for name, value in expected.items():
            np.testing.assert_array_equal(observation[name], value)
    assert all("is_success" in info for info in infos)
    sb3.close()
    vector.close()


def test_seeds_may_be_a_sequence():
    vector = make_vec(3, modalities=("state",))
    listed, _ = vector.reset(seed=[8, 1, 5])
    one, _ = vector.reset(seed=8)
    np.testing.assert_array_equal(listed["state"][0], one["state"][0])
    assert not np.array_equal(listed["state"][1], one["state"][1])
    with pytest.raises(ValueError, match="2 seeds for 3 worlds"):
        vector.reset(seed=[1, 2])
    vector.close()


def test_bad_actions_and_sizes_are_refused():
    vector = make_vec(2, modalities=("proprio",))
    vector.reset(seed=0)
    with pytest.raises(ValueError, match=r"shape \(3, 5\); expected \(2, 5\)"):
        vector.step(np.zeros((3, 5)))
    bad = np.zeros((2, 5))
    bad[1, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        vector.step(bad)
    vector.close()
    with pytest.raises(ValueError, match="num_worlds=0 is not allowed"):
        make_vec(0)
    with pytest.raises(ValueError, match="num_threads=0 is not allowed"):
        make_vec(2, num_threads=0)
    with pytest.raises(ValueError, match="unknown engine 'gpu'; choose one of cpu, warp"):
        make_vec(2, engine="gpu")
    with pytest.raises(
        TypeError, match="got an unexpected keyword argument 'clearance'; it takes connectors"
    ):
        make_vec(2, clearance=3)


def test_vector_wrappers_of_gymnasium():
    from gymnasium.wrappers.vector import FlattenObservation, RecordEpisodeStatistics

    vector = RecordEpisodeStatistics(
        FlattenObservation(make_vec(3, modalities=("contact", "proprio"), max_episode_steps=5))
    )
    vector.reset(seed=0)
    for action in actions(3, 5):
        *_, truncated, info = vector.step(action)
    assert truncated.all() and (info["episode"]["l"] == 5).all()
    vector.close()


def test_render_sensors_of_every_world():
    vector = make_vec(3, render_mode="sensors")
    vector.reset(seed=0)
    frames = vector.render()
    assert len(frames) == 3
    assert not np.array_equal(frames[0], frames[1])
    vector.close()
