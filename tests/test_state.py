"""Saved states: the same actions lead to the same observations, noise included."""

import copy
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from worlds import assert_same

from vtenv.tasks.insertion.config import MODALITIES
from vtenv.tasks.insertion.env import VTInsertEnv, VTInsertVectorEnv
from vtenv.tasks.insertion.randomization import DomainRandomizationConfig

RANDOMISED = DomainRandomizationConfig()


def actions(steps, *shape):
    drawn = np.random.default_rng(0).uniform(-1, 1, (steps, *shape, 5))
    drawn[..., 0] = 0.5
    return drawn.astype(np.float32)


def copies(env):
    """The environment copied in three ways."""
    other = type(env)(*env._ezpickle_args, **env._ezpickle_kwargs)
    other.set_state(pickle.loads(pickle.dumps(env.get_state())))
    return copy.deepcopy(env), pickle.loads(pickle.dumps(env)), other


@pytest.mark.parametrize("domains", [None, RANDOMISED])
def test_a_single_environment_goes_on_from_its_state(domains):
    env = VTInsertEnv(modalities=MODALITIES, depth_dropout=0.2, domain_randomization=domains)
    env.reset(seed=3)
    moves = actions(40)
    for move in moves[:6]:
        env.step(move)
    state, others = env.get_state(), copies(env)

    def rest(world):
        told = [world.step(move) for move in moves[6:14]]
        return [*told, world.reset(), *[world.step(move) for move in moves[14:20]]]

    expected = rest(env)
    for other in others:
        assert other.np_random_seed == 3
        assert_same(expected, rest(other))
        other.close()
    env.set_state(state)
    assert_same(expected, rest(env))
    env.close()


@pytest.mark.parametrize(
    ("mode", "domains"), [("NextStep", None), ("SameStep", RANDOMISED), ("Disabled", None)]
)
def test_a_vector_environment_goes_on_from_its_state(mode, domains):
    envs = VTInsertVectorEnv(
        3,
        autoreset_mode=mode,
        max_episode_steps=7,
        modalities=MODALITIES,
        domain_randomization=domains,
    )
    envs.reset(seed=[3, 8, 5])
    envs.step(np.zeros((3, 5)))
    envs.reset(options={"reset_mask": np.array([True, False, False])})
    moves = actions(30, 3)
    for move in moves[:4]:
        envs.step(move)
    state, others = envs.get_state(), copies(envs)

    def rest(worlds):
        told = [worlds.step(move) for move in moves[4:6]]
        told.append(worlds.reset(options={"reset_mask": np.array([False, True, True])}))
        if mode == "Disabled":
            return [*told, worlds.step(moves[6])]
        return [*told, *[worlds.step(move) for move in moves[6:20]]]

    expected = rest(envs)
    for other in others:
        assert other.np_random_seed == (3, 8, 5)
        assert_same(expected, rest(other))
        other.close()
    envs.set_state(state)
    assert_same(expected, rest(envs))
    envs.close()


def test_a_state_shares_nothing_with_the_environment():
    env = VTInsertEnv(modalities=("state",))
    env.reset(seed=0)
    state = env.get_state()
    before = pickle.dumps(state)
    for move in actions(5):
        env.step(move)
    env.reset()
    assert pickle.dumps(state) == before
    env.set_state(state)
    env.step(np.zeros(5))
    assert pickle.dumps(state) == before
    env.close()


def test_a_state_holds_what_came_before_it():
    """The end of an episode, and what the last step told."""
    env = VTInsertEnv(
        modalities=("state",), connectors="usb", render_mode="rgb_array", picture="sensors"
    )
    env.reset(seed=0)
    terminated = False
    while not terminated:
        *_, terminated, _, _ = env.step(env.simulation.expert_action()[0])
    other = copy.deepcopy(env)
    with pytest.raises(ResetNeeded, match="has terminated"):
        other.step(np.zeros(5))
    assert_same(env.simulation.last_of(0), other.simulation.last_of(0))
    assert_same(env.render(), other.render())
    env.close()
    other.close()


def test_a_wrapped_environment_is_copied_with_its_time_limit_and_spec():
    env = gymnasium.make("VTInsert-v0", modalities=("state",), max_episode_steps=5)
    env.reset(seed=0)
    for move in actions(3):
        env.step(move)
    other = copy.deepcopy(env)
    assert other.spec == env.spec
    ends = [[world.step(np.zeros(5, np.float32))[3] for _ in range(2)] for world in (env, other)]
    assert ends == [[False, True]] * 2
    env.close()
    other.close()


def test_what_a_curriculum_changed_is_copied():
    env = VTInsertVectorEnv(2, modalities=("state",))
    env.simulation.task = env.simulation.task.narrowed(0.5)
    env.reset(seed=0)
    other = copy.deepcopy(env)
    assert other.config == env.config
    assert_same(env.reset(), other.reset())
    env.close()
    other.close()


def test_copies_before_the_first_reset_and_after_close_are_such():
    env = VTInsertEnv(modalities=("state",))
    with pytest.raises(ResetNeeded):
        copy.deepcopy(env).step(np.zeros(5))
    env.np_random = seeding.np_random(5)[0]
    assert_same(env.reset(), copy.deepcopy(env).reset(seed=5))
    env.close()
    with pytest.raises(gymnasium.error.ClosedEnvironmentError):
        copy.deepcopy(env).reset()


def test_another_kind_of_generator_is_kept():
    env = VTInsertVectorEnv(2, modalities=("state",))
    env.np_random = [np.random.Generator(np.random.MT19937(seed)) for seed in range(2)]
    env.reset()
    other = copy.deepcopy(env)
    assert_same(env.reset(), other.reset())
    env.close()
    other.close()


def test_a_state_of_other_worlds_is_refused():
    two, three = (VTInsertVectorEnv(count, modalities=("state",)) for count in (2, 3))
    two.reset(seed=0)
    with pytest.raises(ValueError, match="of 2 worlds and this is a simulation of 3"):
        three.set_state(two.get_state())
    two.close()
    three.close()
