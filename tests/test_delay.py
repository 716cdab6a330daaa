"""Actions and observations that come late: by how much, in which worlds, and through copies."""

import copy
import pickle
from itertools import pairwise

import gymnasium
import numpy as np
import pytest
from worlds import assert_same, make_simulation

from vtenv.arrays import NumpyBackend
from vtenv.delay import DelayLine

WORLDS = 5
SETTINGS = {"modalities": ("depth", "proprio"), "image_size": 8, "depth_noise_mm": 0.0}
AT_ONCE = {"action_delay": 0, "observation_delay": 0}


def played(actions, seed=0, **settings):
    """Observations of single worlds under actions (T, 5), the first of the reset."""
    env = gymnasium.make("VTInsert-v0", **{**SETTINGS, **AT_ONCE, **settings})
    seen = [env.reset(seed=seed)[0]]
    seen += [env.step(action)[0] for action in actions]
    env.close()
    return seen


@pytest.fixture
def actions():
    return np.random.default_rng(0).uniform(-0.3, 0.3, (8, 5)).astype(np.float32)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_late_action_does_what_it_did_before(actions, steps):
    still = np.zeros((steps, 5), np.float32)
    late = played(actions, action_delay=steps)
    at_once = played(np.concatenate([still, actions]))
    assert_same(late, at_once[: len(late)])


@pytest.mark.parametrize("steps", [1, 3])
def test_a_late_observation_is_an_earlier_one(actions, steps):
    late, at_once = played(actions, observation_delay=steps), played(actions)
    assert_same(late, [at_once[max(step - steps, 0)] for step in range(len(late))])


@pytest.mark.parametrize("steps", [0, 2])
def test_late_touch_is_an_earlier_one_and_sight_is_not(actions, steps):
    touch = {"modalities": ("depth", "contact", "markers", "proprio"), "contact_size": 16}
    late = played(actions, **touch, observation_delay=steps, touch_delay=1)
    at_once = played(actions, **touch, observation_delay=steps)
    assert any((old["markers"] != new["markers"]).any() for old, new in pairwise(at_once))
    for step, (seen, expected) in enumerate(zip(late, at_once, strict=True)):
        before = at_once[max(step - 1, 0)]
        assert_same(seen, {**expected, **{key: before[key] for key in ("contact", "markers")}})


LATE = {"action_delay": 2, "observation_delay": 3}


@pytest.mark.parametrize(
    "late",
    [
        LATE,
        {**LATE, "touch_delay": 2, "modalities": ("gel", "proprio"), "contact_size": 8},
        {"observation_delay": 0, "touch_delay": 1, "modalities": "shear", "taxel_size": 4},
    ],
)
def test_what_is_on_its_way_is_part_of_the_state(actions, late):
    settings = {"modalities": ("depth", "proprio"), **late}
    env = gymnasium.make("VTInsert-v0", **settings).unwrapped
    env.reset(seed=0)
    for action in actions[:4]:
        env.step(action)
    state = pickle.loads(pickle.dumps(env.get_state()))
    other = copy.deepcopy(env)
    rest = [env.step(action)[0] for action in actions[4:]]
    assert_same(rest, [other.step(action)[0] for action in actions[4:]])
    env.set_state(state)
    assert_same(rest, [env.step(action)[0] for action in actions[4:]])
    env.close()
    other.close()


def test_each_world_moves_on_by_itself():
    line, both, first = DelayLine(2, 2, NumpyBackend()), np.arange(2), np.array([0])

    def told(*values):
        np.testing.assert_array_equal(line.told["x"], np.reshape(values, (2, 1)))

    def values(*values):
        return {"x": np.reshape(values, (2, 1))}

    line.fill(values(0, 0), both)
    line.put(values(1, 1), both, None)
    line.put(values(2, 9), first, np.array([True, False]))
    line.put(values(3, 3), both, None)
    told(1, 0)
    line.fill(values(99, 7), np.array([1]))
    told(1, 7)
    kept = line.get_state()
    for following in (4, 5, 6):
        line.put(values(following, following), both, None)
        told(following - 2, 7 if following < 6 else 4)
    line.set_state(kept)
    told(1, 7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_actions_on_their_way_are_those_that_were_sent(actions, dtype):
    class Again(gymnasium.ActionWrapper):
        """Sends every action in the same array."""

        sent = np.zeros(5, dtype)

        def action(self, action):
            self.sent[:] = action
            return self.sent

    env = gymnasium.make("VTInsert-v0", **SETTINGS, action_delay=2, observation_delay=0)
    seen = []
    for played_by in (env, Again(env)):
        seen.append([played_by.reset(seed=0)[0]])
        seen[-1] += [played_by.step(action.astype(dtype))[0] for action in actions]
    env.close()
    assert_same(*seen)


@pytest.mark.slow
def test_delays_are_the_same_on_both_engines():
    pytest.importorskip("mujoco_warp")
    settings = {"modalities": ("gel", "proprio"), "action_delay": 1, "observation_delay": 2}
    settings |= {"touch_delay": 1, "contact_size": 8}
    worlds = np.arange(WORLDS)
    seen = []
    for engine, more in (("cpu", {}), ("warp", {"device": "cpu"})):
        simulation = make_simulation(WORLDS, engine, engine_settings=more, **settings)
        simulation.reset(worlds, [np.random.default_rng(i) for i in worlds])
        rng = np.random.default_rng(2)
        told = [simulation.fetch(simulation.observe(worlds))[0]]
        for _ in range(5):
            simulation.step(worlds, rng.uniform(-0.3, 0.3, (WORLDS, 5)))
            told.append(simulation.fetch(simulation.observe(worlds))[0])
        seen.append(told)
        simulation.close()
    for on_cpu, on_warp in zip(*seen, strict=True):
        for key, values in on_cpu.items():
            np.testing.assert_allclose(on_warp[key], values, atol=1e-2, err_msg=key)


@pytest.mark.parametrize("name", ["action_delay", "observation_delay", "touch_delay"])
@pytest.mark.parametrize("given", [-1, 4, 1.5, "2"])
def test_a_delay_that_is_not_allowed(name, given):
    with pytest.raises(ValueError, match=f"{name}=.*whole number of control steps from 0 to 3"):
        gymnasium.make("VTInsert-v0", **{name: given})
