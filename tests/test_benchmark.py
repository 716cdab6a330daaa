import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from policies import cli
from policies.benchmarks.benchmark_config import BenchmarkConfig
from policies.benchmarks.cases import NUMPY, RESET, SINGLE, TORCH, TOUCH, touch_costs
from policies.benchmarks.measure import first_steps
from policies.benchmarks.rendering import speed_figure
from policies.benchmarks.timing import PHYSICS, RESETS, REST, SENSING, Case, Clock, time_cases
from policies.worlds import DEFAULT_TASK
from scripts.cost_figure import Cost, cost_figure, costs

TINY = ["--steps=4", "--repetitions=2", "--image-size=16", "--contact-size=16"]
SENSORS = ("depth sensor", "contact sensor")
PARTS = {PHYSICS, SENSING, RESETS, REST}


def measured(report, case):
    return [row for row in report["measurements"] if row["case"] == case]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    path, figure = folder / "report.json", folder / "benchmark.png"
    options = ["--worlds=4", "--threads=2", "--actions=expert"]
    files = [f"--json={path}", f"--figure={figure}"]
    assert cli.main(["benchmark", *TINY, *options, *files]) == 0
    assert figure.stat().st_size > 10_000
    return json.loads(path.read_text())


def test_the_report_says_what_it_was_made_with(report):
    assert report["command"].split()[0] == "vtinsert"
    assert report["hardware"]["cpu"] and report["versions"]["mujoco"]
    assert report["load_before"] >= 0 and report["errors"] == {} and report["device"] is None
    assert report["touch"] == []
    settings = report["settings"]
    assert (settings["worlds"], settings["actions"], settings["image_size"]) == ([4], "expert", 16)


def test_the_report_has_a_rate_for_each_case_and_number_of_threads(report):
    for case in (NUMPY, *SENSORS):
        rows = measured(report, case)
        assert {row["part"] for row in rows} == {case, *PARTS}
        assert {row["threads"] for row in rows} == {1, 2}
        for row in rows:
            if row["part"] in (case, PHYSICS, SENSING):
                assert 0 < row["lowest"] <= row["steps_per_second"] <= row["highest"]
                assert row["step_ms"] > 0
    assert len(measured(report, SINGLE)) == len(measured(report, RESET)) == 1


def test_shares_of_a_step_make_a_whole(report):
    for threads in (1, 2):
        rows = [row for row in measured(report, NUMPY) if row["threads"] == threads]
        shares = {row["part"]: row["share"] for row in rows}
        assert sum(shares[part] for part in PARTS) == pytest.approx(1, abs=0.1)
        assert shares[PHYSICS] > 0 and shares[SENSING] > 0 and shares[REST] > 0


@pytest.fixture(scope="module")
def device_report(tmp_path_factory):
    """The Warp engine's, on Warp's CPU device."""
    pytest.importorskip("mujoco_warp")
    path = tmp_path_factory.mktemp("benchmark") / "report.json"
    sizes = ["--image-size=32", "--contact-size=32", "--encoders", "test_resnet"]
    warp = ["--engine=warp", "--device=cpu", f"--json={path}", "--no-compile-time"]
    assert cli.main(["benchmark", *warp, "--worlds", "2", "3", *TINY[:2], *sizes]) == 0
    return json.loads(path.read_text())


@pytest.mark.slow
def test_a_device_s_report_has_every_rate_for_every_number_of_worlds(device_report):
    assert device_report["device"]["device"] == "cpu" and device_report["commit"]
    for case in (NUMPY, TORCH, f"{TORCH}, test_resnet", *SENSORS):
        rows = measured(device_report, case)
        assert {row["worlds"] for row in rows} == {2, 3}
        for row in rows:
            if row["part"] == case:
                milliseconds = 1e3 * row["worlds"] / row["steps_per_second"]
                assert row["step_ms"] == pytest.approx(milliseconds, rel=0.5)


@pytest.mark.slow
def test_first_steps_from_the_cache_and_ones_that_fail(monkeypatch):
    wp = pytest.importorskip("warp")
    wp.init()
    with pytest.raises(ValueError, match="the device cuda:99 cannot be used"):
        next(first_steps(DEFAULT_TASK, "cuda:99", worlds=2))


def test_cases_take_turns_and_their_time_is_bounded():
    taken = []
    cases = [Case(name, lambda name=name: taken.append(name), worlds=8) for name in "ab"]
    advanced = []
    time_cases(
        cases, Clock("cpu"), steps=5, repetitions=2, advance=lambda: advanced.append(len(taken))
    )
    assert taken == (["a"] * 8 + ["b"] * 8) * 2 and advanced == [8, 16, 24, 32]
    (row,) = cases[0].measurements()
    assert row["steps_per_second"] > 0 and row["share"] == 1.0
    assert math.isnan(Clock("cpu").memory_used())


def test_what_touch_adds_is_told_from_pairs_of_repetitions():
    seconds = {
        NUMPY: [1.0, 2.0, 4.0],
        "environment without contact": [0.8, 1.6, 3.2],
        "environment with markers": [1.1, 2.2, 4.4],
    }
    cases = [Case(name, lambda: None, 4, 1, seconds=taken) for name, taken in seconds.items()]
    cases += [Case(NUMPY, lambda: None, 4, 2, seconds=[1.0]), Case("x", lambda: None, 4, 1)]
    contact, markers = touch_costs(cases, "cpu")
    assert (contact["modality"], markers["modality"]) == ("contact", "markers")
    for row, share, budget in ((contact, 0.25, None), (markers, 0.1, 0.15)):
        assert [row[name] for name in ("low", "share", "high")] == pytest.approx([share] * 3)
        assert (row["budget"], row["repetitions"], row["threads"]) == (budget, 3, 1)
    assert markers["added_ms"] == pytest.approx(200.0)
    on_device = {TORCH: [1.0, 2.0], "environment with rgb + markers": [1.5, 3.0]}
    cases = [Case(name, lambda: None, 4, seconds=taken) for name, taken in on_device.items()]
    (both,) = touch_costs(cases, "warp")
    assert (both["modality"], both["share"]) == ("rgb + markers", pytest.approx(0.5))


def test_touch_is_measured_with_and_without_each_modality(tmp_path):
    path = tmp_path / "report.json"
    few = ["--worlds=2", "--threads=1", "--steps=1", "--repetitions=2", "--contact-size=8"]
    observed = ["--modalities", "depth", "contact", "gel"]
    assert cli.main(["benchmark", "--touch", *few, *observed, f"--json={path}"]) == 0
    report = json.loads(path.read_text())
    assert sorted(row["modality"] for row in report["touch"]) == sorted(TOUCH)
    assert {row["repetitions"] for row in report["touch"]} == {2}
    assert not measured(report, SINGLE) and not measured(report, SENSORS[0])
    assert measured(report, "environment without contact")
    assert measured(report, "environment without gel")


def test_what_was_measured_is_drawn():
    case = Case(NUMPY, lambda: None, 64, seconds=[0.2, 0.1, 0.4])
    parts = {PHYSICS: 0.5, SENSING: 0.3, RESETS: 0.0, REST: 0.2}
    case.parts = [{part: share * s for part, share in parts.items()} for s in case.seconds]
    report = {"device": {"name": "GPU"}, "settings": {"task": "T"}, "measurements": []}
    report["measurements"] = case.measurements()
    assert report["measurements"][0]["steps_per_second"] == pytest.approx(320.0)
    rates, shares = speed_figure(report).axes
    assert list(rates.lines[0].get_ydata()) == pytest.approx([320.0])
    assert sum(bar.get_height() for bar in shares.patches) == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--figure", "no/such/speed.png"], f"no folder {Path('no/such')}"),
        (["--engine", "warp", "--encoders", "resnet81"], "unknown encoder 'resnet81'"),
        (["--engine", "warp", "--device", "cuda:99", "--no-compile-time"], "cannot be used"),
    ],
)
def test_what_cannot_be_measured_is_said(arguments, expected, capsys):
    assert cli.main(["benchmark", *arguments]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"device": "cuda:0"}, "for engine='warp'"),
        ({"engine": "warp", "threads": 2}, "for engine='cpu'"),
        ({"engine": "warp", "worlds": (0, 4)}, "at least 1"),
        ({"repetitions": 0}, "at least 1"),
        ({"encoders": ("resnet18",), "worlds": (2, 4)}, "one number"),
        ({"encoders": ("resnet18",), "touch": True}, "measured without encoders"),
        ({"encoders": ("resnet18",), "modalities": ("depth",)}, "the images that they take"),
    ],
)
def test_a_configuration_that_is_not_allowed_is_refused(given, expected):
    with pytest.raises(ValueError, match=expected):
        BenchmarkConfig(**given)


def test_costs_of_several_reports_are_drawn(report):
    found = costs(report)
    (row,) = (row for row in measured(report, NUMPY) if (row["part"], row["threads"]) == (NUMPY, 1))
    whole = Cost(4, 16, 4, "environment", 1e3 * row["step_ms"] / row["worlds"])
    assert whole == next(cost for cost in found if cost.part == "environment")
    assert {cost.part for cost in found} == {"environment", *PARTS}

    more = [replace(c, worlds=8, microseconds=c.microseconds / 2) for c in found]
    fewer = [replace(c, connectors=1) for c in found]
    for_all = cost_figure([*found, *more, *fewer], "a machine").axes
    assert [ax.get_xlabel() for ax in for_all] == ["worlds", "connectors"]
    drawn = next(line for line in for_all[0].lines if line.get_label() == "environment")
    assert list(drawn.get_xdata()) == [4, 8]
    one, other = drawn.get_ydata()
    assert (one, other) == pytest.approx((whole.microseconds, whole.microseconds / 2))
    with pytest.raises(ValueError, match="differ in neither worlds, image size nor connectors"):
        cost_figure(found, "a machine")
    with pytest.raises(ValueError, match="no rate of the environment"):
        costs({**report, "measurements": []})
