import io
import math

import numpy as np
import pytest
import torch
from gymnasium.vector import VectorWrapper
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO

from policies.features import calibrate, policy_kwargs
from policies.learners.dagger import STD_RANGE, Dagger
from policies.learners.dagger_config import DaggerConfig
from policies.learners.demonstrations import DemonstrationBuffer
from policies.learners.student import Student
from policies.representations import make_representation
from policies.vec_env import VTInsertVecEnv

EASY = {"connectors": ["usb"], "clearance_mm": 0.8}


def worlds(number, representation="state", **settings):
    settings = {"num_threads": 1} | EASY | settings
    return make_representation(representation).make(number, **settings)


def student(envs, representation="state", calibration=False, **settings):
    """A model with a new policy, always the same."""
    kwargs = policy_kwargs(make_representation(representation)) | {"net_arch": [64, 64]}
    kind = "MultiInputPolicy" if representation == "end-to-end" else "MlpPolicy"
    venv = VTInsertVecEnv(envs)
    settings |= {"n_steps": 8, "batch_size": 8 * envs.num_envs, "device": "cpu"}
    model = PPO(kind, venv, policy_kwargs=kwargs, seed=0, **settings)
    if calibration:
        calibrate(model.policy, envs, 0)
    return model


def small(**settings):
    return DaggerConfig(
        **{"steps": 96, "batch_size": 32, "updates_per_round": 2, "learning_starts": 0} | settings
    )


def distil(model, envs, config, *, seed, on_round=None, should_stop=None, state=None):
    """Rounds until the budget is used up, or somebody wants it to stop; where that leaves it."""
    dagger = Dagger(model, envs, config, seed=seed)
    if state is not None:
        dagger.load_state_dict(state)
    while dagger.used < 1.0:
        result = dagger.round()
        if on_round is not None:
            on_round(result)
        if should_stop is not None and should_stop():
            break
    model.policy.set_training_mode(False)
    return dagger.state_dict()


def weights(model):
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


def differ(first, second):
    return [name for name in first if not torch.equal(first[name], second[name])]


class Recorded(VectorWrapper):
    """Remembers what each step came to."""

    def __init__(self, env):
        super().__init__(env)
        self.told = []

    def step(self, actions):
        result = self.env.step(actions)
        self.told.append((np.array(actions), *result[1:]))
        return result


def test_the_student_comes_to_act_as_the_expert_does_and_the_critic_to_foresee_it():
    envs = worlds(16)
    model = student(envs, calibration=True)
    rounds = []
    config = DaggerConfig(steps=6_144, batch_size=256, learning_starts=512)
    distil(model, envs, config, seed=0, on_round=rounds.append)
    assert len(rounds) == 48 and model.num_timesteps == 6_144
    learning = [result for result in rounds if not math.isnan(result["loss"])]
    assert len(learning) == 45, "learning waits for 512 rows, which are four rounds"
    first, last = learning[0], learning[-1]
    episodes, successes = (
        sum(result[name] for result in rounds[-16:]) for name in ("episodes", "successes")
    )
    assert successes > 0.5 * episodes > 0
    foreseen = [result["explained_variance"] for result in learning[1:]]
    assert sum(foreseen) > 0.2 * len(foreseen)
    assert rounds[0]["expert_chance"] == 1.0 and last["expert_chance"] == 0.0
    assert last["learning_rate"] < 0.05 * first["learning_rate"]
    std = model.policy.log_std.exp().detach().numpy()
    assert np.all((std >= STD_RANGE[0] - 1e-6) & (std <= STD_RANGE[1] + 1e-6))
    assert len(np.unique(std)) > 1
    assert not model.policy.training
    envs.close()


def test_the_same_seed_gives_the_same_policy_and_another_another():
    found = []
    for seed, threads in ((0, 1), (0, 2), (1, 1)):
        envs = worlds(4, num_threads=threads)
        model = student(envs)
        distil(model, envs, small(), seed=seed)
        found.append(weights(model))
        envs.close()
    assert not differ(found[0], found[1])
    assert differ(found[0], found[2])


def test_episodes_count_where_the_student_alone_acted():
    envs = Recorded(worlds(4, max_episode_steps=10))
    model = student(envs)
    config = small(steps=10**6, expert_part=0.5)  # so that the expert acts nearly all of the time
    dagger = Dagger(model, envs, config, seed=0)
    taught = [dagger.round() for _ in range(4)]
    assert any(told[2].any() or told[3].any() for told in envs.told)
    assert not any(result["episodes"] for result in taught)

    envs.told = []
    dagger = Dagger(model, envs, small(steps=1000, expert_part=0.0), seed=0)
    alone = [dagger.round() for _ in range(4)]
    ended = [told[4] for told in envs.told if "final_info" in told[4]]
    assert sum(result["episodes"] for result in alone) == sum(i["_final_info"].sum() for i in ended)
    succeeded = sum(i["final_info"]["is_success"].sum() for i in ended)
    assert sum(result["successes"] for result in alone) == succeeded
    envs.close()


def test_the_expert_acts_before_the_student_does():
    envs = Recorded(worlds(4))
    model = student(envs)
    for part, by_expert in ((0.9, True), (0.0, False)):
        envs.told = []
        dagger = Dagger(model, envs, small(steps=10**9, expert_part=part), seed=0)
        dagger.round()
        _, expert = dagger._demonstrations.rows(dagger._demonstrations.latest(8))
        acted = np.stack([told[0] for told in envs.told])
        assert np.array_equal(acted, expert.numpy()) == by_expert
    envs.close()


def test_a_distillation_goes_on_from_where_it_was():
    envs = worlds(4)
    model = student(envs)
    stopped = []
    state = distil(model, envs, small(), seed=0, should_stop=lambda: stopped.append(0) or True)
    assert model.num_timesteps == 32
    file = io.BytesIO()
    torch.save(state, file)
    before = weights(model)

    results = []
    for _ in range(2):
        file.seek(0)
        again = student(envs)
        again.policy.load_state_dict(before)
        again.num_timesteps = 32
        rounds = []
        end = distil(
            again,
            envs,
            small(learning_starts=40),
            seed=0,
            on_round=rounds.append,
            state=torch.load(file, weights_only=True),
        )
        assert again.num_timesteps == 96 and end["rounds"] == 3
        assert [math.isnan(result["loss"]) for result in rounds] == [True, False]
        assert end["optimizer"]["state"][0]["step"] == 4, "two updates before, two after"
        results.append(weights(again))
    assert not differ(*results)
    assert differ(before, results[0])
    envs.close()


def test_a_resumed_distillation_starts_other_episodes():
    envs = worlds(2)
    model = student(envs)
    began = []
    dagger = Dagger(model, envs, small(), seed=0)
    for rounds in (0, 0, 1):
        dagger.load_state_dict(dagger.state_dict() | {"rounds": rounds})
        next(dagger._start())
        began.append(envs.unwrapped.simulation.state.hand.copy())
    np.testing.assert_array_equal(began[0], began[1])
    assert not np.allclose(began[0], began[2])
    envs.close()


def test_the_budget_of_time_ends_it():
    envs = worlds(2)
    state = distil(student(envs), envs, small(steps=None, seconds=1e-3), seed=0)
    assert state["rounds"] == 1 and state["seconds"] >= 1e-3
    envs.close()


@pytest.mark.parametrize("representation", ["state", "end-to-end"])
def test_the_student_is_the_policy_as_it_predicts(representation):
    envs = worlds(3, representation)
    policy = student(envs, representation).policy
    observation, _ = envs.reset(seed=0)
    learner = Student(policy)
    tensors = learner.observed(observation)
    action, value = learner.act(tensors)
    with torch.no_grad():
        expected = policy._predict(tensors, deterministic=True).clamp(-1, 1)
        torch.testing.assert_close(action, expected)
        torch.testing.assert_close(value, policy.predict_values(tensors)[:, 0])
    torch.testing.assert_close(learner.action(tensors).detach().clamp(-1, 1), action)
    torch.testing.assert_close(learner.value(tensors).detach(), value)
    envs.close()


def test_the_critic_leaves_shared_convolutions_alone():
    envs = worlds(3, "end-to-end")
    policy = student(envs, "end-to-end").policy
    learner = Student(policy)
    observation = learner.observed(envs.reset(seed=0)[0])

    def moved(output):
        policy.zero_grad()
        output.square().mean().backward()
        return {name for name, p in policy.named_parameters() if p.grad is not None}

    critics = moved(learner.value(observation))
    actors = moved(learner.action(observation))
    assert critics and all("value" in name for name in critics)
    assert any("features_extractor" in name for name in actors)
    assert not critics & actors and "log_std" not in critics | actors
    names = {name for name, _ in policy.named_parameters()}
    assert names - critics - actors == {"log_std"}
    envs.close()


@pytest.mark.slow  # compiles for a new device, then cached
def test_arrays_and_tensors_come_to_the_same_policy():
    # Episodes are cut short, so that the critic looks at their last observations of either kind.
    found = []
    for kind in ("numpy", "torch"):
        settings = {"engine": "warp", "device": "cpu", "num_threads": None, "observations": kind}
        envs = worlds(3, "end-to-end", max_episode_steps=5, **settings)
        model = student(envs, "end-to-end")
        distil(model, envs, small(steps=48, rollout_steps=8, expert_part=0.3), seed=0)
        found.append(weights(model))
        envs.close()
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("representation", ["state", "end-to-end"])
def test_returns_go_on_where_time_was_up_and_end_where_an_episode_does(representation):
    envs = Recorded(worlds(3, representation, max_episode_steps=4))
    model = student(envs, representation)
    config = small(rollout_steps=6, expert_part=0.0, gamma=0.9, gae_lambda=0.7)
    dagger = Dagger(model, envs, config, seed=0)
    transitions, steps, rows = dagger._start(), [], []
    for _ in range(6):
        steps.append(next(transitions))
        rows.append(dagger._step(steps[-1]))
    taken = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    assert taken["truncated"][3].all() and taken["truncated"].sum() == 3

    learner = Student(model.policy)
    last = envs.told[3][4]["final_obs"]
    stacked = (
        {key: np.stack([world[key] for world in last]) for key in last[0]}
        if isinstance(last[0], dict)
        else np.stack(list(last))
    )
    following = taken["value"].roll(-1, 0)
    following[3] = learner.act(learner.observed(stacked))[1]
    following[5] = learner.act(learner.observed(steps[-1].next_observation))[1]
    later, expected = torch.zeros(3), torch.zeros(6, 3)
    for t in reversed(range(6)):
        surprise = taken["reward"][t] + 0.9 * following[t] - taken["value"][t]
        later = surprise + 0.9 * 0.7 * later * ~taken["done"][t]
        expected[t] = later + taken["value"][t]
    torch.testing.assert_close(dagger._returns(taken, steps), expected)
    envs.close()


def test_the_buffer_keeps_the_latest_steps_in_the_types_they_come_in():
    buffer = DemonstrationBuffer(3)
    assert len(buffer) == 0
    contact = torch.zeros(2, 1, 4, dtype=torch.uint8)
    for step in range(5):
        contact += 1
        proprio = torch.full((2, 3), float(step))
        buffer.add({"contact": contact, "proprio": proprio}, torch.full((2, 5), float(step)))
        assert len(buffer) == 2 * min(step + 1, 3)
    observation, expert = buffer.rows(buffer.latest(3).flatten())
    assert observation["contact"].dtype == torch.uint8 and observation["contact"].shape == (6, 1, 4)
    assert expert[:, 0].tolist() == [2, 2, 3, 3, 4, 4]
    assert observation["proprio"][:, 0].tolist() == expert[:, 0].tolist()
    assert observation["contact"][:, 0, 0].tolist() == [3, 3, 4, 4, 5, 5]
    everything, _ = buffer.rows(torch.arange(len(buffer)))
    assert sorted(set(everything["proprio"][:, 0].tolist())) == [2, 3, 4]

    flat = DemonstrationBuffer(2)
    flat.add(torch.ones(4, 7), torch.zeros(4, 5))
    assert flat.rows(torch.tensor([3]))[0].shape == (1, 7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "a budget is missing; give steps, seconds or both"),
        ({"steps": 0}, "steps=0 is not allowed; steps must be positive"),
        ({"seconds": -1.0}, "seconds=-1.0 is not allowed"),
        ({"steps": 1, "batch_size": 0}, "batch_size=0 is not allowed"),
        ({"steps": 1, "learning_rate": math.nan}, "learning_rate=nan is not allowed"),
        ({"steps": 1, "expert_part": 1.0}, r"expert_part must be in \[0, 1\)"),
        ({"steps": 1, "gamma": 1.5}, r"gamma must be in \[0, 1\]"),
        ({"steps": 1, "buffer_size": 100}, "learning_starts must be from 0 to buffer_size, 100"),
    ],
)
def test_a_configuration_says_what_is_allowed(settings, message):
    with pytest.raises(ValueError, match=message):
        DaggerConfig(**settings)


def test_what_does_not_fit_is_refused():
    envs = worlds(2)
    config = small()
    with pytest.raises(ValueError, match="autoreset_mode='NextStep' is not allowed; it must be"):
        distil(student(envs), worlds(2, autoreset_mode="NextStep"), config, seed=0)
    with pytest.raises(ValueError, match=r"the policy is for observations .* but the environments"):
        distil(student(envs), worlds(2, "proprio"), config, seed=0)
    with pytest.raises(ValueError, match="make it with use_sde=False"):
        distil(student(envs, use_sde=True), envs, config, seed=0)
    recurrent = RecurrentPPO(
        "MlpLstmPolicy", VTInsertVecEnv(envs), n_steps=8, batch_size=16, device="cpu"
    )
    with pytest.raises(ValueError, match='take algorithm "ppo", without a memory'):
        distil(recurrent, envs, config, seed=0)
    envs.close()


def test_a_loss_that_is_no_number_says_so():
    envs = worlds(2)
    model = student(envs)
    with torch.no_grad():
        model.policy.value_net.weight.fill_(math.inf)
    with pytest.raises(ValueError, match=r"after 16 steps the loss is .*: lower the learn"):
        distil(model, envs, small(), seed=0)
    envs.close()
