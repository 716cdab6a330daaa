import itertools
import sys

import cv2
import imageio.v3
import imageio_ffmpeg
import numpy as np
import pytest
from gymnasium.error import DependencyNotInstalled

from policies import cli
from policies.commands.demo import DEFAULT_POLICY
from policies.evaluation.episodes import play
from policies.evaluation.evaluate import evaluate
from policies.evaluation.players import load_player
from policies.films import film
from policies.films.video import FPS, write_video
from vtenv.rendering.panel import PANEL_SIZE
from vtenv.tasks.insertion.env import VTInsertVectorEnv

EXPERT = load_player("expert")


def frames(number, size=(16, 32)):
    for index in range(number):
        yield np.full((*size, 3), 10 * index, np.uint8)


def read_video(path):
    capture = cv2.VideoCapture(str(path))
    seen = []
    while (answer := capture.read())[0]:
        seen.append(answer[1])
    capture.release()
    return np.stack(seen)


def test_demo_prints_a_table_and_writes_a_video(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "off")
    output = tmp_path / "new" / "folder"
    arguments = ["--policy", "expert", "--connectors", "pin", "--episodes", "1"]
    assert cli.main(["demo", *arguments, "--output", str(output)]) == 0
    captured = capsys.readouterr()
    assert "2.54 mm pin header" in captured.out
    assert "1 of 1" in captured.out
    assert captured.out.count("no third-person view") == 1
    video = output / "demo.mp4"
    assert str(video) in captured.out

    (record,) = evaluate(EXPERT, episodes=1, connectors=("pin",))
    count, seconds = imageio_ffmpeg.count_frames_and_secs(str(video))
    assert count == film.num_frames(record.steps)
    assert seconds == pytest.approx(count / FPS, abs=0.1)
    assert read_video(video).shape == (count, PANEL_SIZE[1], PANEL_SIZE[0], 3)
    assert imageio.v3.imread(output / "demo.png").shape[0] == PANEL_SIZE[1] // 2
    assert sorted(path.name for path in output.iterdir()) == ["demo.mp4", "demo.png"]


def test_demo_without_a_film_writes_nothing(tmp_path, capsys):
    output = tmp_path / "output"
    arguments = ["--policy", "expert", "--connectors", "usb", "--episodes", "2", "--filmed", "0"]
    assert cli.main(["demo", *arguments, "--output", str(output)]) == 0
    assert "2 of 2" in capsys.readouterr().out
    assert not output.exists()


def test_demo_says_when_a_file_is_in_the_way(tmp_path, capsys):
    output = tmp_path / "file"
    output.write_text("mine")
    assert cli.main(["demo", "--output", str(output)]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert str(output) in message
    assert "--output" in message
    assert output.read_text() == "mine"


def test_who_is_shown_by_default_is_there():
    assert load_player(DEFAULT_POLICY).name == DEFAULT_POLICY


def test_a_film_shows_every_step_of_every_world():
    envs = VTInsertVectorEnv(3, modalities=film.MODALITIES, max_episode_steps=5)
    envs.reset(seed=0)
    camera = film.Camera(envs, stacked=True)
    shots = list(film.film_episodes(envs, camera, EXPERT.act, [3, 4]))
    assert len(shots) == film.num_frames(5)
    assert len({picture.shape for pictures in shots for picture in pictures}) == 1
    assert shots[0][0].shape[0] % 2 == shots[0][0].shape[1] % 2 == 0
    for world in range(2):
        shown = [pictures[world] for pictures in shots]
        moving = shown[film.HOLD_FIRST - 1 : film.HOLD_FIRST + 5]
        for before, after in itertools.pairwise(moving):
            assert (before != after).any()
        assert (shown[-1] == shown[-film.HOLD_LAST]).all()
    camera.close()


def test_an_episode_that_is_over_stands_still_in_a_film(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "off")
    envs = VTInsertVectorEnv(2, modalities=("proprio",))
    seeds = [0, 1]
    steps = {r.seed: r.steps for r in play(envs, EXPERT.act, seeds)}
    camera = film.Camera(envs)
    shots = list(film.film_episodes(envs, camera, EXPERT.act, seeds))
    camera.close()
    assert len(shots) == film.num_frames(max(steps.values()))
    for world, seed in enumerate(seeds):
        last = film.HOLD_FIRST + steps[seed] - 1
        assert (shots[last - 1][world] != shots[last][world]).any()
        assert all((pictures[world] == shots[last][world]).all() for pictures in shots[last:])


def test_a_video_holds_the_frames_in_their_order(tmp_path):
    path = tmp_path / "video.mp4"
    assert write_video(path, frames(20)) == 20
    seen = read_video(path)
    assert seen.shape == (20, 16, 32, 3)
    assert np.abs(seen.mean(axis=(1, 2, 3)) - 10.0 * np.arange(20)).max() < 4


def test_what_writes_videos_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.delitem(sys.modules, "imageio.plugins.ffmpeg", raising=False)
    with pytest.raises(DependencyNotInstalled, match=r"install vtinsert\[video\]"):
        write_video(tmp_path / "video.mp4", frames(3))
    assert not list(tmp_path.iterdir())


def test_a_video_that_fails_leaves_the_last_one(tmp_path):
    path = tmp_path / "video.mp4"
    write_video(path, frames(3))
    before = path.read_bytes()

    def failing():
        yield from frames(5)
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_video(path, failing())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        ([], "no frames"),
        ([*frames(1), *frames(1, (32, 32))], "same size"),
    ],
)
def test_a_video_needs_frames_of_one_size(pictures, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / "video.mp4", pictures)
    assert not list(tmp_path.iterdir())
