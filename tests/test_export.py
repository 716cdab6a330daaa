"""Experience in other libraries' formats, read back by them where they are installed."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest

from policies import cli
from representation.data.dataset import Dataset, DatasetError, DatasetWriter
from representation.data.export import env_settings, episodes, export

CLEARANCE = 0.6


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experience") / "data"
    options = ["--frames", "400", "--worlds", "4", "--image-size", "16", "--contact-size", "16"]
    options += ["--clearance-mm", str(CLEARANCE), "--heldout", "0"]
    assert cli.main(["dataset", "experience", "--output", str(folder), *options]) == 0
    return Dataset.open(folder)


def test_episodes_have_one_observation_more_than_steps(made):
    found = list(episodes(made, "train"))
    assert len(found) >= 4
    for episode in found:
        ended = episode["terminated"] | episode["truncated"]
        assert np.flatnonzero(ended).tolist() == [len(ended) - 2]
        assert len(np.unique(episode["episode"])) == 1


def test_the_environment_can_be_made_again(made):
    settings = env_settings(made)
    env = gymnasium.make(made.settings["task"], **settings)
    assert env.unwrapped.config.clearance_mm == CLEARANCE
    for key, box in env.observation_space.spaces.items():
        column = made.columns[key]
        assert (box.shape, box.dtype) == (tuple(column.shape), column.dtype)
    env.close()


def test_what_has_no_outcomes_or_is_in_the_way_is_refused(made, tmp_path):
    grasps = {"depth": np.zeros((2, 1, 4, 4), np.float32)}
    with DatasetWriter(tmp_path / "grasps", kind="paper", settings={}, labels=()) as writer:
        writer.append("train", grasps)
    with pytest.raises(DatasetError, match="no column 'action': it is not experience"):
        export(Dataset.open(tmp_path / "grasps"), "train", "minari", tmp_path / "out", "a/b-v0")
    with pytest.raises(DatasetError, match="exists; choose another folder"):
        export(made, "train", "minari", tmp_path, "a/b-v0")
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore::UserWarning:minari")  # it asks for authors and addresses
def test_minari_reads_it_and_makes_the_environment(made, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", "")
    minari = pytest.importorskip("minari")
    pytest.importorskip("h5py")
    monkeypatch.chdir(tmp_path)
    count = export(made, "train", "minari", Path("root"), "vtinsert/test-v0")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "root"))
    read = minari.load_dataset("vtinsert/test-v0")
    expected = list(episodes(made, "train"))
    assert read.total_episodes == count == len(expected)
    for ours, theirs in zip(expected, read.iterate_episodes(), strict=True):
        for key in ("depth", "contact", "proprio"):
            assert np.array_equal(theirs.observations[key], ours[key])
        assert np.array_equal(theirs.actions, ours["action"][:-1])
        np.testing.assert_allclose(theirs.rewards, ours["reward"][:-1])
        assert np.array_equal(theirs.terminations, ours["terminated"][:-1])
        assert np.array_equal(theirs.infos["is_success"][1:], ours["success"][:-1])
    env = read.recover_environment()
    assert env.unwrapped.config.clearance_mm == CLEARANCE
    assert env.observation_space == read.observation_space
    env.close()


def test_lerobot_reads_it(made, tmp_path):
    pytest.importorskip("lerobot")
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    count = export(made, "train", "lerobot", tmp_path / "root", "vtinsert/test")
    read = LeRobotDataset("vtinsert/test", root=tmp_path / "root")
    expected = list(episodes(made, "train"))
    assert read.num_episodes == count == len(expected)
    assert read.num_frames == sum(len(episode["action"]) - 1 for episode in expected)
    frame, ours = read[3], expected[0]
    assert np.array_equal(frame["action"], ours["action"][3])
    assert np.array_equal(frame["observation.state"], ours["proprio"][3])
    assert frame["observation.images.contact_left"].shape == (3, 16, 16)
    assert np.array_equal(frame["observation.images.contact_left"][0], ours["contact"][3, 0])
    assert frame["task"].startswith("Insert")
