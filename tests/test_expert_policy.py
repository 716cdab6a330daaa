import gymnasium
import numpy as np
import pytest

from vtenv.expert_policy import ExpertPolicy


@pytest.mark.parametrize("task", ["VTInsert-v0", "VTPivot-v0"])
def test_the_expert_succeeds_in_a_wrapped_environment(task):
    env = gymnasium.make(task, connectors=("usb",))
    expert = ExpertPolicy(env)
    observation, info = env.reset(seed=0)
    ended = False
    while not ended:
        action = expert(observation, info)
        assert action.dtype == np.float32 and action in env.action_space
        observation, _, terminated, truncated, info = env.step(action)
        ended = terminated or truncated
    assert info["is_success"]
    env.close()


def test_worlds_of_a_vector_do_what_single_environments_do():
    envs = gymnasium.make_vec("VTInsert-v0", 2, modalities=("proprio",))
    singles = [gymnasium.make("VTInsert-v0", modalities=("proprio",)) for _ in range(2)]
    expert, experts = ExpertPolicy(envs), [ExpertPolicy(env) for env in singles]
    envs.reset(seed=3)
    for world, env in enumerate(singles):
        env.reset(seed=3 + world)
    for _ in range(5):
        actions = expert()
        assert actions.dtype == np.float32
        for action, env, act in zip(actions, singles, experts, strict=True):
            assert np.array_equal(act(), action)
            env.step(action)
        envs.step(actions)
    envs.close()


def test_other_environments_are_refused():
    envs = gymnasium.make_vec("VTInsert-v0", 2, vectorization_mode="sync")
    with pytest.raises(ValueError, match=r"SyncVectorEnv; make many worlds with vectorization_mod"):
        ExpertPolicy(envs)
    envs.close()
