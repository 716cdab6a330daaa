import itertools

import cv2
import imageio.v3
import imageio_ffmpeg
import numpy as np
import pytest

from policies import cli, film
from policies.episodes import expert, play
from policies.video import write_video
from vtenv.env import VTInsertEnv
from vtenv.panel import PANEL_SIZE
from vtenv.vector_env import VTInsertVectorEnv


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
    arguments = ["--connector", "pin", "--episodes", "1", "--output", str(output)]
    assert cli.main(["demo", *arguments]) == 0
    captured = capsys.readouterr()
    assert "2.54 mm pin header" in captured.out
    assert "1 of 1" in captured.out
    assert captured.out.count("no third-person view") == 1
    video = output / "demo.mp4"
    assert str(video) in captured.out

    (outcome,) = play(VTInsertVectorEnv(1, connector="pin"), expert, [0])
    count, seconds = imageio_ffmpeg.count_frames_and_secs(str(video))
    assert count == film.num_frames(outcome.steps)
    assert seconds == pytest.approx(count / film.FPS, abs=0.1)
    assert read_video(video).shape == (count, PANEL_SIZE[1], PANEL_SIZE[0], 3)
    assert imageio.v3.imread(output / "demo.png").shape[0] == PANEL_SIZE[1] // 2
    assert sorted(path.name for path in output.iterdir()) == ["demo.mp4", "demo.png"]


def test_demo_without_a_film_writes_nothing(tmp_path, capsys):
    output = tmp_path / "output"
    arguments = ["--connector", "usb", "--episodes", "2", "--filmed", "0"]
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


def test_episodes_are_those_of_the_single_environment():
    seeds = [7, 8, 9]
    outcomes = {o.seed: o for o in play(VTInsertVectorEnv(2, connector="usb"), expert, seeds)}
    assert sorted(outcomes) == seeds
    env = VTInsertEnv(connector="usb")
    for seed, outcome in outcomes.items():
        env.reset(seed=seed)
        steps, peak, terminated = 0, 0.0, False
        while not terminated:
            *_, terminated, _, info = env.step(expert(env.simulation)[0])
            steps += 1
            peak = max(peak, info["contact_force"])
        assert (outcome.steps, outcome.depth) == (steps, info["insertion_depth"])
        assert (outcome.success, outcome.peak_force) == (info["is_success"], peak)
        assert 0.85 <= outcome.travel_fraction <= 1.0


def test_a_film_shows_every_step():
    env = VTInsertEnv(modalities=film.MODALITIES)
    env.reset(seed=0)
    camera = film.Camera(env)
    shots = list(film.film_episode(env, camera, expert, "stud", seed=3, max_steps=5))
    assert len(shots) == film.num_frames(5)
    assert len({shot.shape for shot in shots}) == 1
    assert shots[0].shape[0] % 2 == shots[0].shape[1] % 2 == 0
    moving = shots[film.HOLD_FIRST - 1 : film.HOLD_FIRST + 5]
    for before, after in itertools.pairwise(moving):
        assert (before != after).any()
    assert (shots[-1] == shots[-film.HOLD_LAST]).all()


def test_a_video_holds_the_frames_in_their_order(tmp_path):
    path = tmp_path / "video.mp4"
    assert write_video(path, frames(20), 25) == 20
    seen = read_video(path)
    assert seen.shape == (20, 16, 32, 3)
    assert np.abs(seen.mean(axis=(1, 2, 3)) - 10.0 * np.arange(20)).max() < 4


def test_a_video_that_fails_leaves_the_last_one(tmp_path):
    path = tmp_path / "video.mp4"
    write_video(path, frames(3), 25)
    before = path.read_bytes()

    def failing():
        yield from frames(5)
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_video(path, failing(), 25)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        ([], "no frames"),
        (frames(1, (15, 32)), "odd"),
        ([*frames(1), *frames(1, (32, 32))], "among those"),
    ],
)
def test_a_video_needs_frames_of_one_even_size(pictures, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / "video.mp4", pictures, 25)
    assert not list(tmp_path.iterdir())
