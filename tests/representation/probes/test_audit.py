from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import vtenv
from representation import EncoderConfig
from representation.objectives.combine import build_objective
from representation.objectives.pose import POSE_LABELS
from representation.probes.audit import audit, untrained
from representation.probes.embed import Embedded, embed_rows, encoder_embedder, pixel_embedder
from representation.probes.gate import ERROR_BOUNDS, capture_range, check
from representation.probes.markdown import comparison_table, number
from representation.probes.pictures import audit_figure, confusion_figure, tsne_figure
from representation.probes.report import AuditReport
from representation.probes.split import ArraySplit, ProbeError, choose_rows
from vtenv.tasks.insertion.config import SceneConfig

CONFIG = EncoderConfig(
    backbone="test_vit", images={"depth": (1, 32, 32), "contact": (2, 32, 32)}, embedding_dim=16
)


@pytest.fixture(scope="module")
def report(splits) -> AuditReport:
    return audit(untrained(CONFIG, 3), *splits, name="tiny", rows=600, seed=1, pictures=60)


def test_each_sense_holds_what_it_can_sense(report) -> None:
    def part_of_guess(subject: str, part: str, variable: str) -> float:
        guess = report.error("mean", "none", variable, "all", "all").mean
        return report.error(subject, part, variable, "all", "all").mean / guess

    for subject in ("encoder", "raw pixels"):
        assert part_of_guess(subject, "vision", "socket_x_mm") < 0.6
        assert part_of_guess(subject, "both", "socket_x_mm") < 0.6
        assert part_of_guess(subject, "touch", "socket_x_mm") > 0.9
        assert part_of_guess(subject, "touch", "hand_x_mm") < 0.8
        assert part_of_guess(subject, "vision", "hand_x_mm") > 0.9
        assert part_of_guess(subject, "both", "hand_pitch_deg") > 0.9  # nothing shows it
    assert report.accuracy("raw pixels", "touch", "all", "all").accuracy.mean > 0.9
    assert report.accuracy("raw pixels", "vision", "all", "all").accuracy.mean < 0.5


def test_every_region_is_measured_and_counted(report) -> None:
    assert set(report.heldout_rows) == {"all", "near_contact", "jammed", "free_space"}
    for region, rows in report.heldout_rows.items():
        error = report.error("encoder", "both", "socket_y_mm", region, "all")
        assert error.rows == rows > 0
        assert error.low <= error.mean <= error.high
    near = report.error("encoder", "both", "socket_y_mm", "near_contact", "near_contact")
    assert near.rows == report.heldout_rows["near_contact"]
    assert report.error("encoder", "both", "socket_y_mm", "all", "near_contact") is None


def test_confusion_counts_every_row(report) -> None:
    found = report.accuracy("encoder", "both", "near_contact", "all")
    assert sum(map(sum, found.confusion)) == found.accuracy.rows
    right = sum(found.confusion[i][i] for i in range(4)) / found.accuracy.rows
    assert right == pytest.approx(found.accuracy.mean)


def test_an_audit_is_repeatable(report, splits) -> None:
    torch.manual_seed(99)  # of no consequence
    again = audit(untrained(CONFIG, 3), *splits, name="tiny", rows=600, seed=1, pictures=60)
    assert replace(again, seconds={}) == replace(report, seconds={})


def test_a_report_comes_back_from_json(report) -> None:
    assert AuditReport.from_json(report.to_json()) == report
    assert json.loads(report.to_json())["name"] == "tiny"


def test_a_page_shows_the_gate_and_every_table(report) -> None:
    page = report.to_markdown()
    for text in ("## Gate", "**fail**", "jammed on the face", "`hand_z_mm`", "raw pixels, both"):
        assert text in page
    for table in page.split("\n\n"):
        lines = [line for line in table.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1
    side_by_side = comparison_table([report, replace(report, name="other")])
    assert "tiny | other" in side_by_side
    assert "guessing the mean" in side_by_side


def test_pictures_are_drawn_from_the_report_alone(report, tmp_path) -> None:
    for draw in (audit_figure, confusion_figure, tsne_figure):
        figure = draw(AuditReport.from_json(report.to_json()))
        figure.savefig(tmp_path / "picture.png", dpi=40)
    shared, embedding = report.places
    assert (shared.space, embedding.space) == ("shared", "both")
    assert shared.row[: len(shared.row) // 2] == shared.row[len(shared.row) // 2 :]
    assert set(shared.modality) == {"vision", "touch"}


def test_the_encoder_is_left_as_it_was(make_encoder, splits) -> None:
    encoder = make_encoder().train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    audit(encoder, *splits, rows=80, baselines=False, pictures=0)
    assert encoder.training
    assert all((value == before[name]).all() for name, value in encoder.state_dict().items())


def test_projection_heads_lead_to_the_shared_space(make_encoder, splits) -> None:
    encoder = make_encoder()
    objective = build_objective("infonce", encoder)
    options = {"rows": 80, "baselines": False, "pictures": 0}
    assert (
        audit(encoder, *splits, objective=objective, **options).shared_space == "projection heads"
    )
    mapped = audit(encoder, *splits, objective=nn.Identity(), **options)
    assert mapped.shared_space == "ridge map of vision to touch"
    assert {r.query for r in mapped.retrieval} == {"vision", "touch"}


def test_a_single_sense_is_not_compared_with_itself(make_encoder, splits) -> None:
    found = audit(make_encoder(images={"contact": (2, 32, 32)}), *splits, rows=100, pictures=20)
    assert (found.retrieval, found.sphere, found.shared_space) == ((), None, "")
    assert any("touch alone" in note for note in found.notes)
    assert {e.part for e in found.pose} == {"none", "touch"}
    assert {check.fitted_on for check in found.gate} == {"all"}
    assert any("too few" in note for note in found.notes)
    audit_figure(found)


def test_attended_embeddings_are_probed_beside_the_features_before(make_encoder, splits) -> None:
    encoder = make_encoder(fusion="cross_attention")
    found = audit(encoder, *splits, rows=80, baselines=False, pictures=0)
    assert {e.part for e in found.pose if e.subject == "encoder"} == {"vision", "touch", "both"}


def test_baselines_alone_need_no_encoder(splits) -> None:
    found = audit(None, *splits, rows=100, pictures=0)
    assert {e.subject for e in found.pose} == {"mean", "raw pixels"}
    assert found.gate == ()
    assert not found.passed
    found.to_markdown()
    audit_figure(found)


def test_grasps_have_other_labels_and_an_angle_that_comes_round(make_encoder, splits) -> None:
    labels = ("grasp_x_mm", "grasp_y_mm", "grasp_angle_deg")
    grasps = []
    for split in splits:
        rows = split.read(np.arange(200), ("depth", "contact", "connector", "pose"))
        rows["pose"] = rows["pose"][:, 3:6] * np.float32([1, 1, 179.9])
        grasps.append(ArraySplit(rows))
    found = audit(make_encoder(), *grasps, labels=labels, baselines=False, pictures=0)
    assert found.circular == ("grasp_angle_deg",)
    assert found.heldout_rows == {"all": 200}
    assert found.gate == ()
    assert found.heldout_episodes == 200
    guess = found.error("mean", "none", "grasp_angle_deg", "all", "all").mean
    assert 70 < guess < 110
    found.to_markdown()


def test_one_connector_is_not_classified(make_encoder, splits) -> None:
    rows = splits[0].read(np.arange(100))
    rows["connector"] = np.zeros(100, np.int64)
    split = ArraySplit(rows)
    found = audit(make_encoder(), split, split, baselines=False, pictures=0)
    assert found.connector == ()
    assert any("single connector" in note for note in found.notes)
    assert confusion_figure(found) is None


def test_tensors_will_do_for_arrays(make_encoder, splits) -> None:
    tensors = [
        ArraySplit({n: torch.from_numpy(v) for n, v in s.read(np.arange(80)).items()})
        for s in splits
    ]
    arrays = [ArraySplit(s.read(np.arange(80))) for s in splits]
    options = {"baselines": False, "pictures": 0}
    found = [audit(make_encoder(), *of, **options) for of in (tensors, arrays)]
    assert found[0].pose == found[1].pose


@pytest.mark.parametrize(
    ("missing", "says"), [("pose", "no pose labels"), ("contact", "no 'contact'")]
)
def test_what_is_missing_is_said(make_encoder, splits, missing, says) -> None:
    columns = splits[0].read(np.arange(20))
    del columns[missing]
    with pytest.raises(ProbeError, match=says):
        audit(make_encoder(), splits[0], ArraySplit(columns))


def test_what_does_not_fit_is_said(make_encoder, splits) -> None:
    with pytest.raises(ValueError, match=r"32, 32.*takes.*48, 48"):
        audit(make_encoder(images={"depth": (1, 48, 48), "contact": (2, 32, 32)}), *splits, rows=40)
    with pytest.raises(ProbeError, match="7 columns, but 2 labels"):
        audit(make_encoder(), *splits, labels=("a_mm", "b_mm"))
    with pytest.raises(ProbeError, match="nothing to probe"):
        audit(None, *splits, baselines=False)
    with pytest.raises(ProbeError, match="one length"):
        ArraySplit({"a": np.zeros(3), "b": np.zeros(4)})


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_embedding_does_not_depend_on_the_batch(make_encoder, splits, batch_size) -> None:
    encoder = make_encoder().eval()
    rows = np.array([3, 5, 8, 200, 4])
    embedded = embed_rows(
        {"encoder": encoder_embedder(encoder), "pixels": pixel_embedder(("vision",), (0.25, 0.45))},
        splits[0],
        rows,
        keys=("depth", "contact"),
        device=torch.device("cpu"),
        batch_size=batch_size,
    )
    batch = {n: torch.from_numpy(v) for n, v in splits[0].read(rows, ("depth", "contact")).items()}
    with torch.no_grad():
        expected, parts = encoder(batch), encoder.features(batch)
    found: Embedded = embedded["encoder"]
    torch.testing.assert_close(found.parts["both"], expected)
    for modality, part in parts.items():
        torch.testing.assert_close(found.parts[modality], part)
        columns = found.parts["both"][:, found.columns[modality]]
        assert columns.data_ptr() == found.parts[modality].data_ptr()
    pixels = batch["depth"].reshape(5, 16, 2, 16, 2).mean(dim=(2, 4)).flatten(1)
    torch.testing.assert_close(embedded["pixels"].parts["vision"], (pixels - 0.35) / 0.1)


def test_rows_are_drawn_without_repetition_and_in_order() -> None:
    rows = choose_rows(100, 30, np.random.default_rng(0))
    assert len(set(rows)) == 30
    assert (np.diff(rows) > 0).all()
    assert (choose_rows(5, 30, np.random.default_rng(0)) == np.arange(5)).all()


def test_the_gate_opens_at_its_bounds() -> None:
    for variable, bound in ERROR_BOUNDS.items():
        assert variable in POSE_LABELS
        assert check(variable, bound, "all").passed
        assert not check(variable, bound + 1e-6, "all").passed
        assert not check(variable, None, "all").passed
    assert check("connector", 0.99, "all").passed
    assert not check("connector", 0.9899, "all").passed


def test_the_capture_range_is_clearance_and_lead_in() -> None:
    default = SceneConfig()
    expected = default.clearance_mm + default.lead_in_mm
    assert capture_range({})["socket_y_mm"] == expected
    assert capture_range({"clearance_mm": 0.2, "lead_in_mm": 0})["hand_z_mm"] == 0.2
    assert 1 < capture_range({})["socket_yaw_deg"] < 4
    assert "socket_x_mm" not in capture_range({})


def test_connectors_are_named_by_number(report) -> None:
    assert report.classes == vtenv.CONNECTOR_NAMES


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.123456, "0.123"),
        (1.4, "1.40"),
        (23.456, "23.5"),
        (1e-5, "0.0000"),
        (512, "512"),
    ],
)
def test_numbers_have_three_digits_and_no_more_than_are_meant(value, text) -> None:
    assert number(value) == text
