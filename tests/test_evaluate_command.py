import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from stable_baselines3.common.policies import ActorCriticPolicy

from policies import cli
from policies.deployable import save_policy
from policies.evaluation.conditions import CONDITIONS, SUITES
from policies.features import policy_kwargs
from policies.films import film
from policies.representations import make_representation
from policies.worlds import DEFAULT_TASK
from vtenv.registry import make_task
from vtenv.rendering.panel import PANEL_SIZE
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES

PAGE = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text(encoding="utf-8")
FILES = ["episodes.csv", "episodes.mp4", "summary.json", "summary.md"]


def save(folder, name="state", **settings):
    """An untrained policy: it hardly moves."""
    representation = make_representation(name)
    torch.manual_seed(0)
    policy = ActorCriticPolicy(
        representation.observation_space(),
        make_task(DEFAULT_TASK).action_space,
        lambda _: 1e-3,
        **policy_kwargs(representation),
    )
    save_policy(folder, policy, representation, settings, algorithm="none")
    return folder


def run(*arguments, output=None):
    written = [] if output is None else ["--output", str(output)]
    return cli.main(["evaluate", *map(str, arguments), *written])


def causes():
    task = make_task(DEFAULT_TASK)
    nowhere = dict.fromkeys(("insertion_depth_mm", "lateral_mm", "contact_force_n"), np.zeros(1))
    return {*filter(None, task.failures), *task.timeouts(nowhere)}


def rows(folder):
    with (folder / "episodes.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def video(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (answer := capture.read())[0]:
        frames.append(answer[1])
    capture.release()
    return frames


def documented(heading):
    """First cells of the table below a heading of the page."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([^`]+)`", section, re.MULTILINE)


def test_the_expert_is_evaluated_twice_to_the_same_bytes(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "off")
    arguments = ["expert", "--conditions", "default", "clearance-0.2", "--episodes", "4"]
    first, second = tmp_path / "new" / "first", tmp_path / "second"
    assert run(*arguments, output=first) == 0
    shown = capsys.readouterr().out
    assert "clearance-0.2" in shown
    assert shown.count("no third-person view") == 1
    assert sorted(path.name for path in first.iterdir()) == FILES
    assert run(*arguments, "--filmed", 0, "--num-threads", 1, output=second) == 0
    assert (first / "episodes.csv").read_bytes() == (second / "episodes.csv").read_bytes()
    assert not (second / "episodes.mp4").exists()

    table = rows(first)
    assert [row["condition"] for row in table] == ["default"] * 4 + ["clearance-0.2"] * 4
    assert [row["seed"] for row in table[:4]] == [row["seed"] for row in table[4:]]
    assert sorted(row["connector"] for row in table[:4]) == sorted(CONNECTOR_NAMES)
    assert list(table[0]) == documented("Episodes")
    summary = json.loads((first / "summary.json").read_text())
    assert (summary["policy"], summary["episodes"], summary["engine"]) == ("expert", 4, "cpu")
    assert summary["conditions"]["clearance-0.2"]["settings"] == {"clearance_mm": 0.2}
    every = summary["conditions"]["default"]["results"]["all"]
    assert every["successes"] == sum(int(row["success"]) for row in table[:4]) == 4
    assert "| default | 100.0% |" in (first / "summary.md").read_text()

    # Successes alone, two at a time: no half of the picture is empty.
    frames = video(first / "episodes.mp4")
    steps = {row["seed"]: int(row["steps"]) for row in table[:4]}
    in_pairs = [r["seed"] for r in sorted(table[:4], key=lambda r: r["connector"])]
    both = [max(steps[a], steps[b]) for a, b in (in_pairs[:2], in_pairs[2:])]
    assert len(frames) == sum(map(film.num_frames, both))
    assert {frame.shape[1] for frame in frames} == {2 * PANEL_SIZE[0]}
    assert all(frame[:, PANEL_SIZE[0] :].std() > 10 for frame in frames)


def test_a_learned_policy_is_evaluated_as_it_was_trained_or_as_others_are(tmp_path, capsys):
    policy = save(tmp_path / "policy", connectors=["usb"], clearance_mm=0.8)
    output = tmp_path / "output"
    conditions = ["--conditions", "training", "depth-noise-4"]
    few = ["--episodes", 2, "--connectors", "usb", "--filmed", 0]
    assert run(policy, *conditions, *few, output=output) == 0
    table = rows(output)
    assert {row["connector"] for row in table} == {"usb"}
    assert all(row["failure"] in causes() and row["success"] == "0" for row in table)
    summary = json.loads((output / "summary.json").read_text())
    assert summary["representation"] == "state"
    assert summary["provenance"] == {"algorithm": "none"}
    settings = {name: told["settings"] for name, told in summary["conditions"].items()}
    # A policy that sees no depth has no noise of it.
    assert settings == {
        "training": {"connectors": ["usb"], "clearance_mm": 0.8},
        "depth-noise-4": {},
    }
    assert "depth-noise-4" in capsys.readouterr().out


def test_settings_of_the_environment_hold_in_every_condition(tmp_path, capsys):
    policy = save(tmp_path / "policy", connectors=["usb"])
    few = ["--connectors", "usb", "--episodes", 1, "--filmed", 0, "--num-threads", 1]
    both = ["--conditions", "training", "clearance-0.2"]
    changed = ["--clearance-mm", 0.3, "--initial-state", "{socket_y_mm: [-1, 1]}"]
    assert run(policy, *both, *few, *changed, output=tmp_path / "output") == 0
    conditions = json.loads((tmp_path / "output" / "summary.json").read_text())["conditions"]
    expected = {"clearance_mm": 0.3, "initial_state": {"socket_y_mm": [-1, 1]}}
    assert conditions["clearance-0.2"]["settings"] == expected
    assert conditions["training"]["settings"] == {"connectors": ["usb"], **expected}
    assert conditions["clearance-0.2"]["description"].startswith(
        "clearance 0.2 mm; here with clearance_mm="
    )
    capsys.readouterr()
    for refused, why in (
        (["--image-size", 48], "is for a sensor that is not among"),
        (["--clearance-mm", 9], "0.03 to 2"),
        (["--clearence-mm", 1], "did you mean clearance_mm"),
    ):
        assert run(policy, *few, *refused, output=tmp_path / "refused") == 2
        assert why in capsys.readouterr().err


def test_images_keep_the_size_that_a_policy_was_trained_with():
    small = {"image_size": 32}
    changed = CONDITIONS["default"].changed({"clearance_mm": 0.3}, small)
    assert changed.environment(("depth",), small) == {"clearance_mm": 0.3, **small}
    with pytest.raises(ValueError, match=r"image_size=48 is not allowed.*image_size=32"):
        CONDITIONS["default"].changed({"image_size": 48}, small)


def test_of_a_training_run_it_takes_the_best_policy(tmp_path):
    save(tmp_path / "run" / "policy", "state")
    arguments = ("--episodes", 1, "--filmed", 0)
    found = []
    for name in ("policy", "best"):
        save(tmp_path / "run" / name, "state" if name == "policy" else "proprio")
        assert run(tmp_path / "run", *arguments, output=tmp_path / name) == 0
        found.append(json.loads((tmp_path / name / "summary.json").read_text())["representation"])
    assert found == ["state", "proprio"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["no/such/run"], "neither a bundled policy"),
        (["expert", "--connectors", "hdmi"], "aux, pin, usb, stud"),
    ],
)
def test_what_is_not_allowed_is_said_in_one_line(arguments, expected, tmp_path, capsys):
    assert run(*arguments, output=tmp_path / "output") == 2
    captured = capsys.readouterr()
    message = captured.err.splitlines()[-1]
    assert message.startswith("vtinsert evaluate: ")
    assert expected in message
    assert not list(tmp_path.rglob("*.csv"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--conditions", "clearance-2"], "did you mean clearance-0.2"),
        (["--conditions", "default", "--suite", "full"], "exclude each other"),
        (["--episodes", "0"], "at least 1"),
        (["--num-envs", "0"], "at least 1"),
        (["--filmed", "-1"], "at least 0"),
        (["--device", "cuda:0"], "engine='warp'"),
    ],
)
def test_a_configuration_that_is_not_allowed_is_refused(arguments, expected, capsys):
    with pytest.raises(SystemExit):
        run("expert", *arguments)
    assert expected in " ".join(capsys.readouterr().err.replace("│", "").split())


def test_anybodys_function_and_chance_are_played(tmp_path, monkeypatch):
    (tmp_path / "anybodys.py").write_text(
        "import numpy as np\n"
        "started = []\n"
        "def forwards(observation):\n"
        "    assert set(observation) == {'proprio'}\n"
        "    return np.tile(np.float32([1, 0, 0, 0, 0]), (len(observation['proprio']), 1))\n"
        "forwards.modalities = ('proprio',)\n"
        "forwards.reset = started.append\n"
    )
    monkeypatch.chdir(tmp_path)
    for name in ("anybodys:forwards", "random"):
        assert run(name, "--episodes", 4, "--filmed", 0, output=tmp_path / "output") == 0
        assert {row["policy"] for row in rows(tmp_path / "output")} == {name}
    import anybodys

    assert anybodys.started and anybodys.started[0].all()
    assert run("anybodys:backwards", output=tmp_path / "output") == 2


def test_the_page_lists_every_condition_and_every_cause():
    assert documented("Conditions") == list(CONDITIONS)
    assert set(SUITES["full"]) == set(CONDITIONS) - {"training"}
    assert set(documented("Failures")) == causes()
