"""The vector environment: Gymnasium's own vectors of single environments are the oracle."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from worlds import assert_same

from vtenv.tasks.insertion.config import MODALITIES
from vtenv.tasks.pivot.config import MODALITIES as PIVOT_MODALITIES

STEPS = 130
"""Past the time limit, so that every way to end and every reset is seen."""


def make_vec(num_envs, env_id="VTInsert-v0", **kwargs):
    return gymnasium.make_vec(env_id, num_envs, vectorization_mode="vector_entry_point", **kwargs)


def actions(num_envs, steps, seed=0):
    """Mostly forward, so that some plugs go in and some jam."""
    generator = np.random.default_rng(seed)
    drawn = generator.uniform(-1, 1, (steps, num_envs, 5)).astype(np.float32)
    drawn[..., 0] += 0.5
    return np.clip(drawn, -1, 1)


def with_names(vector, told):
    """Observation and info, and what else is between them, with names for codes."""

    def named(info):
        info = {key: named(v) if isinstance(v, dict) else v for key, v in info.items()}
        for key, names in vector.simulation.task.code_names.items():
            text = np.array(names, dtype=object)[info[key]]
            text[~info[f"_{key}"]] = None
            info[key] = text
        return info

    return *told[:-1], named(told[-1])


EVERYTHING = {"modalities": MODALITIES, "depth_dropout": 0.2}
LATE = {"action_delay": 2, "observation_delay": 2, "reward": "sparse", "max_episode_steps": 4}
PIVOT = {"modalities": PIVOT_MODALITIES, "domain_randomization": {}, "max_episode_steps": 20}


@pytest.mark.parametrize(
    ("env_id", "mode", "settings", "steps"),
    [
        ("VTInsert-v0", AutoresetMode.NEXT_STEP, EVERYTHING, STEPS),
        ("VTInsert-v0", AutoresetMode.SAME_STEP, EVERYTHING, STEPS),
        ("VTInsert-v0", AutoresetMode.NEXT_STEP, LATE, 12),
        ("VTInsert-v0", AutoresetMode.SAME_STEP, LATE, 12),
        ("VTInsertState-v0", AutoresetMode.SAME_STEP, {}, 101),
        ("VTPivot-v0", AutoresetMode.NEXT_STEP, PIVOT, 30),
        ("VTPivot-v0", AutoresetMode.SAME_STEP, PIVOT, 30),
    ],
)
def test_worlds_are_single_environments(env_id, mode, settings, steps):
    vector = make_vec(4, env_id, autoreset_mode=mode, **settings)
    how = {"vectorization_mode": "sync", "vector_kwargs": {"autoreset_mode": mode}}
    singles = gymnasium.make_vec(env_id, 4, **how, **settings)
    assert vector.metadata["autoreset_mode"] is mode
    assert vector.observation_space == singles.observation_space
    assert vector.action_space == singles.action_space
    assert_same(with_names(vector, vector.reset(seed=11)), singles.reset(seed=11))
    ends = np.zeros(2, int)
    for step, action in enumerate(actions(4, steps)):
        result = with_names(vector, vector.step(action))
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
    assert_same(with_names(vector, vector.reset(seed=0)), singles.reset(seed=0))
    moves = actions(3, 6)
    for action in moves[:2]:
        assert_same(with_names(vector, vector.step(action)), singles.step(action))
    mask = np.array([False, True, False])
    assert_same(
        with_names(vector, vector.reset(seed=5, options={"reset_mask": mask.copy()})),
        singles.reset(seed=5, options={"reset_mask": mask.copy()}),
    )
    for action in moves[2:4]:
        result = with_names(vector, vector.step(action))
        assert_same(result, singles.step(action))
    assert result[3].tolist() == [True, False, True]
    with pytest.raises(ResetNeeded, match=r"worlds \[0, 2\] have finished; reset them"):
        vector.step(moves[4])
    vector.close()
    singles.close()


@pytest.mark.parametrize("bad", [np.zeros(3, bool), np.ones(2, bool), np.ones(3, int)])
def test_bad_reset_masks_are_refused(bad):
    vector = make_vec(3, modalities=("proprio",))
    with pytest.raises(ResetNeeded, match="reset all worlds before resetting some"):
        vector.reset(options={"reset_mask": np.ones(3, bool)})
    vector.reset(seed=0)
    with pytest.raises(ValueError, match="reset_mask must be a bool array of shape"):
        vector.reset(options={"reset_mask": bad})
    vector.close()


def test_any_number_of_threads_gives_the_same():
    reference, *others = (make_vec(6, num_threads=threads) for threads in (2, 1, 3))
    told = [reference.reset(seed=2), *map(reference.step, actions(6, 30))]
    reference.close()
    for other in others:
        assert_same(told, [other.reset(seed=2), *map(other.step, actions(6, 30))])
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
    told = [vector.reset(seed=9), *[vector.step(action) for action in moves]]
    assert_same(seen, tuple(with_names(vector, one) for one in told))
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
    for count in (0, -1, 1.5, "4", None, True, np.nan):
        with pytest.raises(ValueError, match=r"num_envs=.* is not allowed; .* at least 1"):
            make_vec(count)
    for count in (0, -1, 1.5, "2", True, np.nan):
        with pytest.raises(ValueError, match=r"num_threads=.* is not allowed; .* at least 1"):
            make_vec(2, num_threads=count)
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


def test_steps_out_of_order_are_refused():
    vector = make_vec(2, modalities=("proprio",))
    for use in (lambda: vector.step(np.zeros((2, 5))), vector.get_state):
        with pytest.raises(ResetNeeded, match=r"call reset\(\) before the first step"):
            use()
    vector.reset(seed=0)
    vector.close()
    for use in (vector.reset, lambda: vector.step(np.zeros((2, 5))), vector.get_state):
        with pytest.raises(ClosedEnvironmentError, match="was closed; make a new one"):
            use()


@pytest.mark.parametrize("limit", [0, -5, 2.5, np.nan, "4", True])
def test_numbers_of_steps_that_are_none_are_refused(limit):
    with pytest.raises(ValueError, match=r"max_episode_steps=.* at least 1, or -1 for no limit"):
        make_vec(2, max_episode_steps=limit)


def test_the_limit_of_steps_is_as_in_gymnasium_make():
    """Not given or None: the id's; -1: none."""
    for given, limit in [({}, 100), ({"max_episode_steps": None}, 100)]:
        assert make_vec(1, modalities=("proprio",), **given).max_episode_steps == limit
    endless = make_vec(1, modalities=("proprio",), max_episode_steps=-1)
    endless.reset(seed=0)
    for _ in range(101):
        assert not endless.step(np.zeros((1, 5)))[3].any()
    two = make_vec(1, modalities=("proprio",), max_episode_steps=np.int64(2))
    two.reset(seed=0)
    assert [two.step(np.zeros((1, 5)))[3].item() for _ in range(3)] == [False, True, False]


def test_seeds_may_be_a_sequence_and_numpys_and_are_told():
    vector = make_vec(3, modalities=("state",))
    listed = vector.reset(seed=[7, 1, 5])[0]["state"]
    first = vector.reset(seed=7)
    assert vector.np_random_seed == (7, 8, 9)
    np.testing.assert_array_equal(listed[0], first[0]["state"][0])
    assert not np.array_equal(listed[1], first[0]["state"][1])
    with pytest.raises(ValueError, match="2 seeds for 3 worlds"):
        vector.reset(seed=[1, 2])
    for seed in (np.int64(7), np.arange(7, 10), [7, np.int64(8), 9]):
        assert_same(first, vector.reset(seed=seed))
    vector.np_random = vector.np_random[::-1]
    assert vector.np_random_seed == (-1, 8, -1)
    for wrong in (2.5, "3", [1, 2.5, 3], [1, 2, -3]):
        with pytest.raises(ValueError, match=r"seed=.* is not allowed; seed must be"):
            vector.reset(seed=wrong)
    vector.close()


def test_generators_may_be_set():
    one, other = make_vec(3, modalities=("state",)), make_vec(3, modalities=("state",))
    first = one.reset(seed=7)
    other.np_random = [seeding.np_random(7 + world)[0] for world in range(3)]
    assert_same(first, other.reset())
    other.np_random = np.random.default_rng(0)
    states = other.reset()[0]["state"]
    assert not np.array_equal(states[0], states[1])
    with pytest.raises(ValueError, match="np_random must be"):
        other.np_random = [np.random.default_rng(0)]
    one.close()
    other.close()


@pytest.mark.parametrize(
    "options",
    [
        {"socket_y_mm": np.array([1.0, -2.0, 3.0]), "connector": "usb"},
        {"socket_y_mm": [1, -2, np.float32(3)], "connector": ["usb", "usb", "usb"]},
        [{"socket_y_mm": y, "connector": "usb"} for y in (1, -2, 3)],
    ],
    ids=["array", "list", "dicts"],
)
def test_each_world_may_have_its_own_reset_options(options):
    vector = make_vec(3, modalities=("state",))
    observation, _ = vector.reset(seed=4, options=options)
    for world, y in enumerate((1.0, -2.0, 3.0)):
        single = gymnasium.make("VTInsert-v0", modalities=("state",))
        alone, _ = single.reset(seed=4 + world, options={"socket_y_mm": y, "connector": "usb"})
        np.testing.assert_array_equal(observation["state"][world], alone["state"])
        single.close()
    vector.close()


def test_options_of_worlds_go_with_a_mask():
    vector = make_vec(3, modalities=("state",))
    before, _ = vector.reset(seed=4)
    mask = np.array([False, True, False])
    options = {"reset_mask": mask, "socket_y_mm": np.array([np.nan, -2.0, np.nan])}
    observation, _ = vector.reset(seed=4, options=options)
    np.testing.assert_array_equal(observation["state"][~mask], before["state"][~mask])
    single = gymnasium.make("VTInsert-v0", modalities=("state",))
    alone, _ = single.reset(seed=5, options={"socket_y_mm": -2.0})
    np.testing.assert_array_equal(observation["state"][1], alone["state"])
    single.close()
    vector.close()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("abc", "options='abc' is not allowed; options must be a mapping"),
        (3, "options=3 is not allowed"),
        ([{}], "a sequence of 2 of them, one for each world"),
        ({"socket_y_mm": [1, 2, 3]}, "socket_y_mm has 3 values for 2 worlds"),
        ({"socket_y_mm": [1, 200]}, "must be a number from -30 to 30"),
    ],
)
def test_other_options_are_refused(options, text):
    vector = make_vec(2, modalities=("state",))
    with pytest.raises(ValueError, match=text):
        vector.reset(options=options)
    vector.close()


def test_attributes_of_worlds():
    vector = make_vec(
        3, modalities=("state",), render_mode="rgb_array", picture="sensors", max_episode_steps=7
    )
    vector.reset(seed=1)
    assert len(vector.call("render")) == 3
    assert vector.get_attr("np_random_seed") == (1, 2, 3)
    assert vector.get_attr("action_space") == (vector.single_action_space,) * 3
    assert vector.get_attr("_max_episode_steps") == (7, 7, 7)
    vector.set_attr("task_description", ["a", "b", "c"])
    assert vector.call("task_description") == ("a", "b", "c")
    vector.set_attr("max_episode_steps", 9)
    assert vector.max_episode_steps == 9
    with pytest.raises(ValueError, match="all worlds share 'max_episode_steps'"):
        vector.set_attr("max_episode_steps", [1, 2, 3])
    with pytest.raises(ValueError, match="2 values for 3 worlds"):
        vector.set_attr("name", [1, 2])
    with pytest.raises(AttributeError, match=r"step acts on all worlds at once; call envs\.step"):
        vector.call("step", np.zeros(5))
    with pytest.raises(AttributeError, match="nothing"):
        vector.get_attr("nothing")
    vector.close()


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_tensors_of_the_cpu_engine_are_the_arrays(mode):
    torch = pytest.importorskip("torch")
    settings = {"autoreset_mode": mode, "modalities": MODALITIES, "max_episode_steps": 4}
    arrays, tensors = make_vec(3, **settings), make_vec(3, observations="torch", **settings)

    def check(told, expected):
        if isinstance(expected, dict):
            assert told.keys() == expected.keys()
            for key in expected:
                if key == "final_obs":
                    for world in np.flatnonzero(expected["_final_obs"]):
                        check({k: v[world] for k, v in told[key].items()}, expected[key][world])
                elif f"_{key}" in expected and not isinstance(expected[key], dict):
                    mask = expected[f"_{key}"]
                    check(told[key][torch.from_numpy(mask)], expected[key][mask])
                else:
                    check(told[key], expected[key])
        elif isinstance(expected, tuple):
            for one, other in zip(told, expected, strict=True):
                check(one, other)
        else:
            assert isinstance(told, torch.Tensor) and told.dtype is not torch.float64
            np.testing.assert_array_equal(told.numpy(), expected.astype(told.numpy().dtype))

    check(tensors.reset(seed=3), arrays.reset(seed=3))
    for action in actions(3, 10):
        check(tensors.step(torch.from_numpy(action).requires_grad_()), arrays.step(action))
    arrays.close()
    tensors.close()


@pytest.mark.parametrize("observations", ["numpy", "torch"])
def test_infos_are_numbers_that_gymnasiums_wrappers_convert(observations):
    torch = pytest.importorskip("torch")
    from gymnasium.wrappers.vector import ArrayConversion, NumpyToTorch

    if observations == "numpy":
        envs = NumpyToTorch(make_vec(2, connectors=("pin", "usb")))
    else:
        inner = make_vec(2, connectors=("pin", "usb"), observations=observations)
        envs = ArrayConversion(inner, env_xp=torch, target_xp=torch)
    _, info = envs.reset(seed=0)
    names = envs.unwrapped.simulation.task.code_names
    assert names["connector"] == ("pin", "usb")
    assert info["connector"].dtype == torch.int64
    *_, info = envs.step(torch.zeros(2, 5))
    assert all(isinstance(value, torch.Tensor) for value in info.values())
    assert [names["failure"][code] for code in info["failure"]] == ["", ""]
    envs.close()


@pytest.mark.parametrize("mode", ["vector_entry_point", "sync"])
def test_what_is_told_of_ended_episodes_is_converted(mode):
    """It comes in arrays of objects, a dict or None for each world."""
    torch = pytest.importorskip("torch")
    from gymnasium.wrappers.vector import NumpyToTorch

    same_step = AutoresetMode.SAME_STEP
    how = {"autoreset_mode": same_step}
    if mode == "sync":
        how = {"vector_kwargs": how}
    envs = NumpyToTorch(
        gymnasium.make_vec(
            "VTInsert-v0", 2, vectorization_mode=mode, modalities=("proprio",), **how
        )
    )
    envs.reset(seed=0)
    ended = False
    while not ended:  # a fall at the latest
        *_, info = envs.step(torch.full((2, 5), 1.0))
        ended = "final_obs" in info
    finals = [final for final in info["final_obs"] if final is not None]
    assert len(finals) == info["_final_obs"].sum() >= 1
    assert all(isinstance(final["proprio"], torch.Tensor) for final in finals)
    envs.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_threads_are_missed_in_a_forked_process():
    # In a process that has no threads of other tests, which a fork would cut off.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        with_threads, without = fresh.submit(step_in_a_fork).result(timeout=120)
    assert with_threads.startswith("RuntimeError this environment's threads are in the process")
    assert without == "stepped"


def step_in_a_fork():
    return [forked_step(make_vec(4, num_threads=threads)) for threads in (2, 1)]


def forked_step(envs):
    envs.reset(seed=0)
    context = get_context("fork")
    queue = context.SimpleQueue()

    def child():
        try:
            envs.step(np.zeros((4, 5)))
            queue.put("stepped")
        except Exception as error:
            queue.put(f"{type(error).__name__} {error}")

    process = context.Process(target=child)
    process.start()
    told = queue.get()
    process.join(60)
    assert process.exitcode == 0
    return told
