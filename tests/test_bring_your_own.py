"""What the page "Bring your own" shows works as it stands there."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import vector as wrappers

from policies import cli
from policies.evaluation.conditions import condition
from policies.options_file import with_files
from policies.representations import make_representation
from policies.worlds import parse_settings
from vtenv.import_string import is_import_string
from vtenv.registry import make_task, make_world, make_worlds
from vtenv.transform_observation import VectorTransformObservation

PAGE = (Path(__file__).parents[1] / "docs" / "bring-your-own.md").read_text(encoding="utf-8")
SMALL = {
    "demo": ["--episodes", "1", "--filmed", "0"],
    "evaluate": ["--episodes", "4", "--filmed", "0"],
    "pretrain": ["--max-steps", "2", "--batch-size", "8", "--backbone", "test_resnet"],
    "probe": ["--rows", "100", "--no-baselines"],
    "train": [
        *["--steps", "64", "--num-envs", "4", "--evaluation-episodes", "2", "--filmed", "0"],
        *["--num-threads", "1"],
    ],
}
"""What makes a command of the page end soon."""


def blocks(language):
    """Blocks of the page, (heading, text) each."""
    found, heading = [], ""
    for part in re.split(r"(?m)^(?=## )", PAGE):
        heading = part.splitlines()[0].removeprefix("## ")
        found += [(heading, text) for text in re.findall(rf"```{language}\n(.*?)```", part, re.S)]
    return found


PIECES = [text for _, text in blocks("python") if "\nenv = " not in f"\n{text}"]
"""What stands in `mine.py`."""
USES = [(heading, text) for heading, text in blocks("python") if text not in PIECES]
COMMANDS = [line for _, text in blocks("bash") for line in text.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with `mine.py`, in which one is."""
    made = tmp_path_factory.mktemp("mine")
    assert "mine" not in sys.modules, "another test has left a module of this name"
    (made / "mine.py").write_text("\n\n".join(PIECES), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        patch.syspath_prepend(made)
        yield made
    sys.modules.pop("mine", None)


@pytest.fixture(scope="module")
def experience(folder):
    small = ["--frames", "200", "--heldout", "0.3", "--worlds", "4"]
    assert cli.main(["dataset", "experience", *small]) == 0


def used(text):
    """The environment that a block of the page makes."""
    names = dict(vars(_mine()))
    exec(text, names)
    return names["env"]


def _mine():
    import mine

    return mine


def played(env, steps=3):
    """What an environment observes at the end of a few steps."""
    env.reset(seed=0)
    for _ in range(steps):
        observation, reward, *_ = env.step(env.action_space.sample())
        assert observation in env.observation_space and np.isfinite(reward)
    return observation


@pytest.mark.parametrize(("heading", "text"), USES, ids=range(len(USES)))
def test_an_environment_of_it_works(folder, heading, text):
    if "transformers" in text:
        pytest.importorskip("transformers")
    env = used(text)
    observation = played(env)
    if heading == "Encoder":
        assert observation["embedding"].any()
    env.close()


def test_the_noise_is_its_own_and_the_same_at_any_number_of_threads(folder):
    settings = {"modalities": (_mine().LOSSY, "proprio"), "image_size": 32}
    lost = []
    for threads in (1, 2):
        envs = gymnasium.make_vec(
            "VTInsert-v0",
            6,
            vectorization_mode="vector_entry_point",
            num_threads=threads,
            **settings,
        )
        envs.reset(seed=0)
        observation, *_ = envs.step(np.zeros((6, 5), np.float32))
        lost.append(observation["depth"] == 0.0)
        envs.close()
    assert 0.01 < lost[0].mean() < 0.03
    np.testing.assert_array_equal(*lost)


def test_the_reward_is_what_the_function_says(folder):
    env = gymnasium.make("VTInsert-v0", modalities=("proprio",), reward="mine:gentle")
    env.reset(seed=0)
    for _ in range(20):
        _, reward, *_, info = env.step(np.array([1, 0, 0, 0, 0], np.float32))
        terms = {
            name.removeprefix("reward_"): np.array([value])
            for name, value in info.items()
            if name.startswith("reward_")
        }
        assert reward == _mine().gentle(terms)[0]
    env.close()


def test_the_task_has_its_noise_and_its_weights(folder):
    env = gymnasium.make("mine:LossyInsertion-v0", image_size=32)
    lost = np.mean(played(env)["depth"] == 0.0)
    assert 0.0 < lost < 0.05
    assert env.unwrapped.simulation.task.reward_weights["force"] == -0.1
    env.close()


def test_a_condition_and_an_encoder_have_names(folder):
    assert condition("mine:STEEP") == _mine().STEEP
    with pytest.raises(ValueError, match="mine:BARREL is a Connector; it must be a Condition"):
        condition("mine:BARREL")
    one, other = (make_representation("mine:Small") for _ in range(2))
    assert one.embedding_dim == 64 and one.digest == other.digest


def test_the_library_learns(folder):
    model = _mine().learn(64)
    assert model.num_timesteps == 64
    model.get_env().close()


def test_worlds_in_wrappers_are_worlds_of_a_task(folder):
    settings = {"modalities": ("depth", "proprio"), "image_size": 32, "max_episode_steps": 2}
    envs = make_worlds("mine:short_sighted", 2, autoreset_mode="SameStep", **settings)
    raw = make_worlds("VTInsert-v0", 2, autoreset_mode="SameStep", **settings)
    seen, other = (one.reset(seed=0)[0] for one in (envs, raw))
    assert seen["depth"].max() == np.float32(0.4) < other["depth"].max()
    np.testing.assert_array_equal(seen["depth"], other["depth"].clip(max=0.4))
    for _ in range(2):
        (seen, reward, *_, info), (_, whole, *_, told) = (
            one.step(np.ones((2, 5), np.float32)) for one in (envs, raw)
        )
    np.testing.assert_allclose(reward, 0.1 * whole)
    for last, unchanged in zip(info["final_obs"], told["final_obs"], strict=True):
        np.testing.assert_array_equal(last["depth"], unchanged["depth"].clip(max=0.4))
        np.testing.assert_array_equal(last["proprio"], unchanged["proprio"])
    envs.close()
    raw.close()
    with pytest.raises(ValueError, match="clearance_mm=9"):
        make_worlds("mine:short_sighted", 2, clearance_mm=9)


def test_worlds_that_are_none_of_a_task_are_refused(folder, monkeypatch):
    def flat(num_envs, **settings):
        worlds = make_worlds("VTInsert-v0", num_envs, modalities=("proprio",), **settings)
        return wrappers.FlattenObservation(worlds)

    monkeypatch.setattr(_mine(), "flat", flat, raising=False)
    with pytest.raises(ValueError, match="must leave the keys and shapes"):
        make_worlds("mine:flat", 1)
    with pytest.raises(ValueError, match=r"mine:near returned .*make_vec"):
        monkeypatch.setattr(_mine(), "near", lambda num_envs: None)
        make_worlds("mine:near", 1)
    with pytest.raises(ValueError, match="is a Connector, which cannot be called"):
        make_task("mine:BARREL")
    with pytest.raises(ValueError, match="makes many worlds in wrappers; name an id"):
        make_world("mine:short_sighted")
    with pytest.raises(ValueError, match="cannot load the task 'mine:nothing'"):
        make_task("mine:nothing")


def test_observations_of_tensors_are_transformed_too():
    settings = {"observations": "torch", "autoreset_mode": "SameStep", "max_episode_steps": 1}
    raw = make_worlds("VTInsertState-v0", 2, **settings)
    envs = VectorTransformObservation(
        make_worlds("VTInsertState-v0", 2, **settings), lambda seen: 2 * seen
    )
    (seen, _), (other, _) = (one.reset(seed=0) for one in (envs, raw))
    assert torch.equal(seen, 2 * other)
    action = np.zeros((2, 5), np.float32)
    seen, *_, info = envs.step(action)
    other, *_, told = raw.step(action)
    assert torch.equal(seen, 2 * other)
    assert torch.equal(info["final_obs"], 2 * told["final_obs"])
    envs.close()
    raw.close()


def test_what_a_transform_reads_and_worlds_do_not_observe_is_named(folder):
    envs = make_worlds("mine:short_sighted", 1, modalities=("proprio",))
    with pytest.raises(ValueError, match=r"^near reads 'depth', and these worlds observe proprio"):
        envs.reset(seed=0)
    envs.close()


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS, ids=range(len(COMMANDS)))
def test_a_command_of_it_runs(folder, experience, tmp_path, line):
    program, command, *arguments = shlex.split(line)
    assert program == "vtinsert"
    torch.manual_seed(0)
    small = SMALL[command]
    output = ["--output", str(tmp_path / "result")]
    assert cli.main([command, *arguments, *small, *output]) == 0


def test_options_can_stand_in_a_file(tmp_path, capsys):
    page = (Path(__file__).parents[1] / "docs" / "commands.md").read_text(encoding="utf-8")
    file = tmp_path / "tight.yml"
    file.write_text(re.findall(r"```yaml\n(.*?)```", page, re.S)[0], encoding="utf-8")
    words = with_files(["train", f"@{file}", "--seed", "1"])
    assert words[:3] == ["train", "--representation", "resnet-dynamics"]
    assert words[3:8] == ["--connectors", "usb", "aux", "--clearance-mm", "0.3"]
    assert words[-2:] == ["--seed", "1"]
    settings = parse_settings("VTInsert-v0", words[3:-2])
    made = make_task("VTInsert-v0", **settings).config
    assert made.clearance_mm == 0.3 and made.initial_state.socket_y_mm == (-5, 5)
    assert made.domain_randomization.pad_friction == (1, 2)
    file.write_text("- 3", encoding="utf-8")
    assert cli.main(["train", f"@{file}"]) == 2
    assert "not a mapping of options" in capsys.readouterr().err
    assert cli.main(["train", "@nowhere.yml"]) == 2
    assert "cannot read nowhere.yml" in capsys.readouterr().err


def test_a_name_of_nothing_says_what_to_give():
    assert not is_import_string("usb") and not is_import_string("mine:") and is_import_string("a:b")
    with pytest.raises(ValueError, match=r"cannot load the reward 'nowhere:x'.*MODULE:NAME"):
        gymnasium.make("VTInsert-v0", reward="nowhere:x")
    with pytest.raises(ValueError, match=r"cannot load the connector 'math:usb'"):
        gymnasium.make("VTInsert-v0", connectors=("math:usb",))
    with pytest.raises(ValueError, match=r"math:pi is a float; it must be a Connector"):
        gymnasium.make("VTInsert-v0", connectors=("math:pi",))
    with pytest.raises(ValueError, match=r"reward=3.14.*MODULE:NAME"):
        gymnasium.make("VTInsert-v0", reward="math:pi")


def _same(observation):
    return observation


WRAPPERS = {
    "ClipAction": (wrappers.ClipAction, "all"),
    "ClipReward": (lambda envs: wrappers.ClipReward(envs, -1.0, 1.0), "all"),
    "NormalizeReward": (wrappers.NormalizeReward, "all"),
    "RecordEpisodeStatistics": (wrappers.RecordEpisodeStatistics, "all"),
    "DictInfoToList": (wrappers.DictInfoToList, "all"),
    "TransformObservation": (lambda envs: wrappers.TransformObservation(envs, _same), "most"),
    "FlattenObservation": (wrappers.FlattenObservation, "most"),
    "RescaleObservation": (
        lambda envs: wrappers.RescaleObservation(envs, *np.float32([-1, 1])),
        "most",
    ),
    "NormalizeObservation": (wrappers.NormalizeObservation, "first"),
    "VectorTransformObservation": (lambda envs: VectorTransformObservation(envs, _same), "all"),
}
"""Gymnasium's vector wrappers, and in which of the modes they work, as the page says."""
WORKS = {
    "all": list(AutoresetMode),
    "most": [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED],
    "first": [AutoresetMode.NEXT_STEP],
}


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("name", WRAPPERS)
def test_vector_wrappers_work_as_the_page_says(name, mode):
    wrap, where = WRAPPERS[name]
    envs = gymnasium.make_vec(
        "VTInsertState-v0",
        2,
        vectorization_mode="vector_entry_point",
        autoreset_mode=mode,
        max_episode_steps=2,
        connectors="usb",
    )
    if mode not in WORKS[where]:
        with pytest.raises(ValueError, match="autoreset_mode"):
            wrap(envs)
        envs.close()
        return
    envs = wrap(envs)
    envs.reset(seed=0)
    for _ in range(5):
        observation, _, terminated, truncated, _ = envs.step(np.zeros((2, 5), np.float32))
        assert observation in envs.observation_space
        if mode is AutoresetMode.DISABLED and (done := terminated | truncated).any():
            envs.reset(options={"reset_mask": done})
    envs.close()
