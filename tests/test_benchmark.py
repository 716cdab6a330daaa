import json
from pathlib import Path

import numpy as np
import pytest
import torch

from policies import cli
from policies.benchmarks import speed
from policies.benchmarks.device_clock import SENSING, STEPPING, DeviceClock
from policies.benchmarks.first_step import FirstStepError, first_step
from policies.benchmarks.gpu_speed import NUMPY, ORDER, REST, TORCH, SizeSpeed, encoded
from policies.benchmarks.speed_figure import speed_figure

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


@pytest.fixture(scope="module")
def device_report(tmp_path_factory):
    """The Warp engine's, on Warp's CPU device; and one size that a device has no room for."""
    pytest.importorskip("mujoco_warp")
    folder = tmp_path_factory.mktemp("benchmark")
    path, figure = folder / "report.json", folder / "benchmark.png"
    tiny = ["--worlds", "2", "3", "--steps=2", "--repetitions=2", "--no-compile-time"]
    sizes = ["--image-size=32", "--contact-size=32", "--encoders", "test_resnet"]
    warp = ["--engine=warp", "--device=cpu", f"--json={path}", f"--figure={figure}"]
    assert cli.main(["benchmark", *warp, *tiny, *sizes]) == 0
    assert figure.stat().st_size > 10_000
    return json.loads(path.read_text())


@pytest.mark.slow
def test_a_device_s_report_has_every_rate_for_every_number_of_worlds(device_report):
    assert device_report["settings"]["worlds"] == [2, 3]
    assert device_report["device"]["device"] == "cpu" and device_report["commit"]
    for size, worlds in zip(device_report["sizes"], (2, 3), strict=True):
        assert size["worlds"] == worlds and size["error"] is None
        assert list(size["rates"]) == [*ORDER, encoded("test_resnet")]
        for rate in size["rates"].values():
            assert 0 < rate["lowest"] <= rate["steps_per_second"] <= rate["highest"]
            assert rate["step_ms"] == pytest.approx(1e3 * worlds / rate["steps_per_second"])


@pytest.mark.slow
def test_shares_of_a_device_s_step_make_a_whole(device_report):
    for size in device_report["sizes"]:
        assert size["shares"].keys() == {STEPPING, SENSING, REST}
        assert sum(size["shares"].values()) == pytest.approx(1.0)
        assert all(share > 0 for share in size["shares"].values())


@pytest.mark.slow
def test_a_first_step_from_the_cache_and_one_that_fails(tmp_path):
    wp = pytest.importorskip("warp")
    wp.init()
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "warp").symlink_to(Path(wp.config.kernel_cache_dir).parent)
    assert 0 < first_step("cpu", cache, worlds=2) < 600
    with pytest.raises(FirstStepError, match="no device 'cuda:99'"):
        first_step("cuda:99", cache)


def test_a_size_that_fails_keeps_what_was_measured_and_is_drawn():
    done = SizeSpeed(64, {TORCH: [0.2, 0.1, 0.4]}, {STEPPING: 0.5, SENSING: 0.3, REST: 0.2})
    failed = SizeSpeed(128, {TORCH: [0.5]}, error="out of memory")
    first, second = done.summary(), failed.summary()
    assert first["rates"][TORCH]["steps_per_second"] == pytest.approx(64 / 0.2)
    assert (first["rates"][TORCH]["lowest"], first["rates"][TORCH]["highest"]) == (160.0, 640.0)
    assert second["error"] == "out of memory" and NUMPY not in second["rates"]
    settings = {"image_size": 64, "contact_size": 64}
    report = {"device": {"name": "GPU"}, "settings": settings, "sizes": [first, second]}
    rates, shares = speed_figure(report).axes
    assert list(rates.lines[0].get_ydata()) == pytest.approx([320.0, 256.0])
    assert sum(bar.get_height() for bar in shares.patches) == pytest.approx(100.0)


def test_time_is_bounded_and_means_are_of_the_steps_taken():
    taken = []
    clock = DeviceClock(torch.device("cpu"))
    seconds = clock.seconds_of(taken.append, 20)
    assert taken == [0, 1, 2, *range(20)] and seconds > 0
    assert clock.memory_used() is None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--worlds", "2", "4"], "for --engine warp"),
        (["--device", "cuda:0"], "--device is for --engine warp"),
        (["--figure", "speed.png"], "--figure is for --engine warp"),
        (["--engine", "warp", "--threads", "2"], "--threads is for --engine cpu"),
        (["--engine", "warp", "--actions", "expert"], "--actions is for --engine cpu"),
        (["--engine", "warp", "--worlds", "0", "4"], "at least 1"),
        (["--engine", "warp", "--figure", "no/such/speed.png"], "no folder no/such"),
        (["--engine", "warp", "--encoders", "resnet81"], "'resnet81' is not a bundled encoder"),
        (["--engine", "warp", "--device", "cuda:99", "--no-compile-time"], "cannot be used"),
    ],
)
def test_what_cannot_be_measured_is_said(arguments, expected, capsys):
    assert cli.main(["benchmark", *arguments]) == 2
    assert expected in capsys.readouterr().err
