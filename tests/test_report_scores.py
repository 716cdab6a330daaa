"""Scores of representations on tracks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_study import CONNECTORS, STRENGTH, tables, write_study

from policies.ablation.grid import AblationConfig
from policies.evaluation.statistics import holm
from policies.report.compose import Report, compose, scored_together
from policies.report.heat_map import alternative, heat_map
from policies.report.markdown import markdown
from policies.report.scores import Bounds, ranked, read_audits

TRACKS = Path(__file__).parents[1] / "docs" / "results" / "tracks"
SEEDS = ("runs/a/encoder", "runs/b/encoder")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> list[Report]:
    """Two tracks: pose, which has two encoder seeds, and random; and on one of them proprio."""
    folder = tmp_path_factory.mktemp("tracks")
    found = []
    with pytest.MonkeyPatch.context() as patch:
        for name, strength in zip(SEEDS, (0.9, 0.8), strict=True):
            patch.setitem(STRENGTH, name, strength)
        for track, more in (("nominal", ()), ("contact", ("proprio",))):
            config = AblationConfig(
                ("pose", "random", *more),
                seeds=2,
                encoders={"pose": SEEDS},
                contrasts=(("pose", "random"),),
                training={"settings": {"track": track} if more else {}},
            )
            found.append(compose(write_study(folder / track, config).path))
    return scored_together(found, {})


def test_a_world_that_settings_change_is_no_track(tmp_path) -> None:
    settings = {"clearance_mm": 0.8, "connectors": ["usb", "pin"]}
    config = AblationConfig(("random",), training={"settings": settings})
    report = compose(write_study(tmp_path / "study", config).path)
    assert list(report.scores.tracks) == ["nominal, clearance mm 0.8, connectors usb pin"]


def test_a_score_is_what_the_episodes_come_to(reports) -> None:
    report = reports[0]
    assert list(report.scores.tracks) == ["nominal", "contact"]
    assert report.scores.representations == ["pose", "random", "proprio"]
    score = report.scores.tracks["nominal"]["pose"]
    runs = report.sections[0].runs["pose"]
    assert [run.cell.representation for run in runs] == ["pose-1", "pose-2"] * 2
    by_connector = {
        name: np.mean([f.success for run in runs for (c, _), f in run.finals.items() if c == name])
        for name in CONNECTORS
    }
    assert score.success.value == score.shown == pytest.approx(np.mean([*by_connector.values()]))
    assert score.success.levels == ("encoders", "policies", "episodes")
    assert score.worst_success == pytest.approx(min(by_connector.values()))
    assert by_connector[score.worst] == score.worst_success
    won = [final for run in runs for final in run.finals.values() if final.success]
    assert score.force_n == pytest.approx(np.percentile([final.force_n for final in won], 95))
    assert score.steps == np.median([final.steps for final in won])
    assert 0.3 < score.area < 0.9
    assert "encoders" not in report.scores.tracks["nominal"]["random"].success.levels


def test_contrasts_that_were_named_are_adjusted_over_the_report(reports) -> None:
    found = reports[1].scores.comparisons
    assert [(c.track, c.one, c.other) for c in found] == [
        ("nominal", "pose", "random"),
        ("contact", "pose", "random"),
    ]
    np.testing.assert_allclose([c.holm for c in found], holm([c.contrast.p for c in found]))
    shown = tables(markdown(reports[1]))["Scores", "interval over"]
    assert shown["contact: pose - random"][0].startswith("+")


def test_an_audit_of_every_track_normalises(reports) -> None:
    audits = read_audits([TRACKS / "contact.csv", TRACKS / "nominal.csv"])
    assert audits["contact"] == Bounds(search=84 / 400, expert=389 / 400)
    scores = scored_together(reports, audits)[0].scores
    score = scores.tracks["contact"]["pose"]
    assert score.shown == pytest.approx((score.success.value - 0.21) / (0.9725 - 0.21))
    partly = scored_together(reports, {"contact": audits["contact"]})[0].scores
    assert not partly.normalised and "No audit of nominal" in partly.notes[0]


def test_what_is_no_audit_is_refused(tmp_path) -> None:
    path = tmp_path / "contact.csv"
    path.write_text("player,intervention,connector,episodes,successes\nexpert,as it is,all,4,4\n")
    with pytest.raises(ValueError, match="no row of the no-touch search"):
        read_audits([path])
    with pytest.raises(ValueError, match=r"audit\.json"):
        read_audits([tmp_path])
    with pytest.raises(ValueError, match="no column 'player'"):
        read_audits([TRACKS / "budget.csv"])


def test_the_picture_has_every_score(reports) -> None:
    scores = reports[0].scores
    texts = {text.get_text() for text in heat_map(scores).axes[0].texts}
    for name, score in scores.tracks["contact"].items():
        assert name in texts and str(round(100 * score.shown)) in texts
        assert f"{name}: " in alternative(scores)
    assert {"nominal", "contact"} <= texts


def test_a_representation_that_was_not_run_has_a_dash(reports) -> None:
    scores = reports[0].scores
    texts = [text.get_text() for text in heat_map(scores).axes[0].texts]
    assert texts.count("–") == 1 and texts[0].endswith("; – not run")  # noqa: RUF001
    both = replace(scores, tracks={"contact": scores.tracks["contact"]})
    assert not any("–" in text.get_text() for text in heat_map(both).axes[0].texts)  # noqa: RUF001


@pytest.mark.parametrize("connector", ["aux", "generated-1003", "A_very_long.name:Of_a_Connector"])
def test_texts_stay_in_their_cells(reports, connector) -> None:
    scores = reports[0].scores
    track = {
        name: replace(score, worst=connector) for name, score in scores.tracks["contact"].items()
    }
    figure = heat_map(replace(scores, tracks={"nominal": scores.tracks["nominal"], "shift": track}))
    axes = figure.axes[0]
    inner, inch = axes.transData.inverted(), 1 / figure.dpi
    texts = [text.get_window_extent() for text in axes.texts]
    assert all(box.x0 > 0 and box.x1 < figure.bbox.width for box in texts)
    labels = [
        box.transformed(inner)
        for text, box in zip(axes.texts, texts, strict=True)
        if text.get_text().endswith("%")
    ]
    cells = [patch.get_bbox() for patch in axes.patches]
    assert len(labels) == len(cells) == 5
    for label, cell in zip(labels, cells, strict=True):
        assert cell.x0 + inch < label.x0 and label.x1 < cell.x1 - inch


def test_representations_are_ranked_by_the_tracks_that_all_have(reports) -> None:
    scores = reports[0].scores
    score = scores.tracks["contact"]["pose"]

    def track(**shown):
        return {name: replace(score, normalised=value) for name, value in shown.items()}

    hard = track(hard_alone=0.4, everywhere=0.3, easy=0.3)
    assert ranked({"hard": hard, "easy": track(everywhere=0.9, easy=0.95)}) == [
        "hard_alone",
        "easy",
        "everywhere",
    ]
    assert ranked({"one": track(a=0.1), "other": track(b=0.2)}) == ["b", "a"]


def test_episodes_that_not_all_played_are_left_out(tmp_path) -> None:
    ablation = write_study(tmp_path / "s", AblationConfig(("state", "random"), seeds=1))
    path = ablation.folder(ablation.read_grid().cells[0]) / "episodes.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-4]))
    assert "scores are of the 36 of 40 that all have" in compose(ablation.path).scores.notes[0]


def test_the_lead_tells_encoder_seeds_from_policy_seeds(reports) -> None:
    told = "2 representations, up to 2 encoder seeds, 1 way to train and 2 policy seeds: "
    assert reports[0].lead.startswith(told)
