"""A study that is half done: some representations with three seeds, some with two, one or none."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from made_up_study import probe_report, tables, write_study
from scipy.stats import trim_mean

from policies.ablation.folder import Ablation
from policies.ablation.grid import AblationConfig
from policies.report import figures
from policies.report import measurements as m
from policies.report.compose import Report, about, compose
from policies.report.markdown import markdown
from policies.report.page import page
from policies.report.probe_figures import probe_scatters
from policies.report.study import success_rate
from policies.report.tables import improvement_table

TITLE = "Distilled from the scripted expert (DAgger)"
NAMES = ("state", "resnet-pose", "outputs/x/mine/encoder", "random", "proprio")
LABELS = ("state", "resnet-pose", "mine", "random", "proprio")
SEEDS = dict(zip(LABELS, (3, 2, 1, 1, 0), strict=True))
GRID = AblationConfig(NAMES, seeds=3)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Ablation:
    seeds = dict(zip(NAMES, SEEDS.values(), strict=True))
    missing = [cell for cell in GRID.cells if cell.seed >= seeds[cell.representation]]
    ablation = write_study(tmp_path_factory.mktemp("studies") / "s", GRID, missing=missing)
    # One has begun; another was trained and lost what it wrote but for its episodes.
    begun = ablation.folder(missing[0])
    begun.mkdir(parents=True)
    (begun / "config.json").write_text("{}")
    lost = ablation.folder(GRID.cells[NAMES.index("random")])
    for path in lost.iterdir():
        if path.name != "episodes.csv":
            path.unlink()
    (ablation.path / "probes").mkdir()
    (ablation.path / "probes" / "report.json").write_text(probe_report("resnet-pose", 0.1))
    videos = ablation.folder(GRID.cells[1]) / "videos"
    videos.mkdir()
    (videos / "best.mp4").write_bytes(b"a film")
    return ablation


@pytest.fixture(scope="module")
def content(study: Ablation) -> Report:
    return compose(study.path)


def test_it_says_how_much_is_done(study, content) -> None:
    first, second = about(content.sections[0])
    assert first == (
        "7 of 15 policies are done: 3 of 3 seeds of state; 2 of 3 seeds of resnet-pose; "
        "0 of 3 seeds of proprio; 1 of 3 seeds of mine and random."
    )
    assert second.startswith("mine and random have one run and no interval")
    assert "An interval of two runs" in second
    why = tables(markdown(content))["Missing policies", "why"]
    assert len(why) == 8
    assert [name for name, (told,) in why.items() if told == "begun, not finished"] == [
        "proprio, dagger, seed 0"
    ]


def test_many_with_as_many_seeds_are_not_listed(tmp_path) -> None:
    config = AblationConfig((*NAMES, "end-to-end"), seeds=2)
    ablation = write_study(tmp_path / "s", config, missing=config.cells[-1:])
    section = compose(ablation.path).sections[0]
    assert about(section)[0].endswith("1 of 2 seeds of end-to-end; 2 of 2 seeds of the other 5.")
    shutil.rmtree(tmp_path)
    ablation = write_study(tmp_path / "s", config, missing=config.cells[6:])
    section = compose(ablation.path).sections[0]
    assert about(section)[0].endswith("are done: 1 of 2 seeds of each representation.")


def test_each_is_summed_up_over_its_own_runs(content) -> None:
    section = content.sections[0]
    assert {name: len(runs) for name, runs in section.runs.items()} == {
        name: count for name, count in SEEDS.items() if count
    }
    scores = {}
    for name, runs in section.runs.items():
        found = [[run.episodes[each] for each in section.connectors] for run in runs]
        scores[name] = rates = np.array([[success_rate(e) for e in run] for run in found])
        # As many scores are left out of one run as of three: a quarter at either end.
        success = section.estimate(name, m.SUCCESS)
        assert success.value == pytest.approx(trim_mean(rates, 0.25, axis=None))
        assert section.value(name, m.MEAN) == pytest.approx(rates.mean())
        assert section.value(name, m.EPISODES) == 40 * len(rates)
        assert (success.low == success.high) >= (name in section.unsure)
        assert success.low <= success.value <= success.high
    two = section.estimate("resnet-pose", m.SUCCESS)
    each = trim_mean(scores["resnet-pose"], 0.25, axis=1)
    assert two.low <= min(each) + 0.02 and max(each) - 0.02 <= two.high


def test_one_run_looks_less_sure_than_three(content) -> None:
    section, styles = content.sections[0], content.styles
    table = tables(markdown(content))[TITLE, "seeds"]
    assert {name: cells[-1] for name, cells in table.items()} == {
        "state": "3",
        "resnet-pose": "2 of 3",
        "mine": "1 of 3",
        "random": "1 of 3",
    }
    for name, cells in table.items():
        assert cells[0].endswith(" (1 seed)") == (name in section.unsure)
    assert section.unsure == ["mine", "random"]

    curves = figures.curves(section, styles)
    assert curves is not None
    for drawing in (curves, figures.profiles(section, styles)):
        bands = [trace.meta for trace in drawing.figure.data if trace.fill]
        lines = {trace.meta: trace.line.width for trace in drawing.figure.data if not trace.fill}
        assert bands == ["state", "resnet-pose"]
        thin = {name for name, width in lines.items() if width < lines["state"]}
        assert thin == set(section.unsure) & lines.keys()
        assert "one run" in drawing.caption
    for bar in figures.connector_bars(section, styles).figure.data:
        single = bar.meta in section.unsure
        assert (bar.marker.opacity < 1) == single == (bar.error_y.array is None)
    (points,) = probe_scatters(section, content.probes, styles)[0].figure.data[:1]
    assert points.meta == "resnet-pose" and "open" not in points.marker.symbol


def test_comparisons_with_one_run_are_faint(content) -> None:
    table = improvement_table(content.sections[0])
    assert "faint" in table.caption
    for first, *rest in table.rows:
        for other, entry in zip(table.headings[1:], rest, strict=True):
            if first.text != other:
                unsure = {first.text, other} & {"mine", "random"}
                assert (entry.estimate is None) == bool(unsure)
    assert page(content).count(' unsure"') == 10


def test_what_is_missing_leaves_no_holes(content) -> None:
    html = page(content)
    assert "No probe is known of mine." in html
    assert "Not filmed: state, mine and random." in html
    section = content.sections[0]
    assert section.bands(m.LEARNING).get("random") is None
    assert section.estimate("random", m.SECONDS) is section.estimate("random", m.STEPS) is None
    assert "What it costs to encode is not known: the runs hold no policies." in content.notes


def test_a_result_without_its_numbers_is_reported_on(study) -> None:
    path = study.folder(GRID.cells[0]) / "result.json"
    before = path.read_text()
    path.write_text(json.dumps({"success": None}))
    try:
        assert "2 of 3" in markdown(compose(study.path))
    finally:
        path.write_text(before)
