import json

import numpy as np
import pytest

from policies import cli, speed

SETTINGS = {"image_size": 16, "contact_size": 16}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("benchmark") / "report.json"
    sizes = [f"--{name.replace('_', '-')}={size}" for name, size in SETTINGS.items()]
    tiny = ["--worlds=4", "--threads=2", "--steps=30", "--repetitions=2", "--actions=expert"]
    assert cli.main(["benchmark", *tiny, *sizes, f"--json={path}"]) == 0
    return json.loads(path.read_text())


def test_report_says_what_it_was_made_with(report):
    assert report["command"].split()[0] == "vtinsert"
    assert report["hardware"]["cpu"]
    assert report["hardware"]["cores"] >= 1
    assert report["versions"]["mujoco"]
    assert report["load_before"] >= 0
    settings = report["settings"]
    assert settings["worlds"] == 4
    assert settings["actions"] == "expert"
    # The expert's episodes end within 30 steps, and a world that is reset does not step.
    assert 60 < settings["control_steps"] < 4 * 30


def test_report_has_a_rate_for_each_part_and_number_of_threads(report):
    parts = (speed.PHYSICS, speed.DEPTH, speed.FINGERS, speed.BOOKKEEPING, speed.ENVIRONMENT)
    measured = {(rate["part"], rate["threads"]) for rate in report["rates"]}
    assert measured == {(part, threads) for part in parts for threads in (1, 2)} | {
        (speed.SINGLE, 1)
    }
    for rate in report["rates"]:
        assert 0 < rate["lowest"] <= rate["steps_per_second"] <= rate["highest"]
    assert report["thread_speed_up"].keys() == set(parts)


def test_shares_of_time_make_a_whole(report):
    for threads in ("1", "2"):
        shares = report["time_shares"][threads]
        assert all(0 < share < 1 for share in shares.values())
        assert sum(shares.values()) == pytest.approx(1, abs=0.1)
        assert 0 < report["environment_over_physics"][threads] < 1
    assert report["reset_in_steps"] > 0


@pytest.mark.parametrize("actions", ["random", "expert"])
def test_the_parts_repeat_the_environment_s_own_steps(actions):
    subject = speed.Subject(SETTINGS, worlds=3, threads=1)
    chosen, calls = subject.record(seed=5, steps=40, actions=actions)
    seconds = subject.measure(5, chosen, calls)
    assert seconds.environment > sum(seconds.within.values())
    for world in range(3):
        there = subject.environment.simulation.engine.physics(world)
        for engine in (subject._physics, *subject._sensors.values()):
            again = engine.physics(world)
            assert again.connector == there.connector
            assert np.array_equal(again.qpos, there.qpos)
    subject.close()


def test_one_thread_has_nothing_to_be_compared_with(capsys):
    tiny = ["--worlds=1", "--steps=6", "--repetitions=1", "--image-size=8", "--contact-size=8"]
    assert cli.main(["benchmark", *tiny]) == 0
    shown = capsys.readouterr().out
    assert "1 thread" in shown
    assert "speed-up" not in shown
