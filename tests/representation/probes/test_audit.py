from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from representation import EncoderConfig
from representation.data.dataset import Dataset, DatasetWriter
from representation.objectives.combine import build_objective
from representation.probes.audit import audit
from representation.probes.embed import (
    embed_rows,
    encoder_embedder,
    pixel_embedder,
    untrained,
)
from representation.probes.markdown import number
from representation.probes.measurements import Measurement, distinct, select
from representation.probes.pictures import audit_figure, confusion_figure, tsne_figure
from representation.probes.report import AuditReport
from representation.probes.split import (
    ArraySplit,
    LabelledRows,
    ProbeError,
    ProbeTargets,
    choose_rows,
)
from representation.probes.tables import comparison_table, page
from representation.probes.variables import unit
from vtenv.json_document import from_document
from vtenv.registry import make_task

CONFIG = EncoderConfig(
    backbone="test_vit",
    images={"depth": (1, 32, 32), "contact": (2, 32, 32)},
    embedding_dim=16,
)
EVERYWHERE, NEAR = ("all", "all"), ("near", "near")


@pytest.fixture(scope="module")
def report(splits, targets) -> AuditReport:
    return audit(untrained(CONFIG, 3), *splits, targets, name="tiny", rows=600, seed=1, pictures=60)


def test_each_sense_holds_what_it_can_sense(report) -> None:
    def part_of_guess(subject: str, part: str, variable: str) -> float:
        guess = report.answer(variable, EVERYWHERE, "mean", "").value
        return report.answer(variable, EVERYWHERE, subject, part).value / guess

    for subject in ("encoder", "raw pixels"):
        assert part_of_guess(subject, "vision", "socket_x_mm") < 0.6
        assert part_of_guess(subject, "fused", "socket_x_mm") < 0.6
        assert part_of_guess(subject, "touch", "socket_x_mm") > 0.9
        assert part_of_guess(subject, "touch", "hand_x_mm") < 0.8
        assert part_of_guess(subject, "vision", "hand_x_mm") > 0.9
        assert part_of_guess(subject, "fused", "hand_pitch_deg") > 0.9  # nothing shows it
    assert report.answer("connector", EVERYWHERE, "raw pixels", "touch").value > 0.9
    assert report.answer("connector", EVERYWHERE, "raw pixels", "vision").value < 0.5
    assert 0.2 < report.answer("connector", EVERYWHERE, "mean", "").value < 0.35


def test_every_region_is_measured_and_counted(report) -> None:
    assert list(report.heldout_rows) == ["near", "jammed", "elsewhere", "all"]
    for region, rows in report.heldout_rows.items():
        error = report.answer("socket_y_mm", (region, "all"))
        assert error.rows == rows > 0
        assert error.low <= error.value <= error.high
    assert report.views[0] == NEAR
    assert report.answer("socket_y_mm", NEAR).rows == report.heldout_rows["near"]
    assert report.answer("socket_y_mm", ("all", "near")) is None


def test_confusion_counts_every_row(report) -> None:
    region, fitted_on = NEAR
    counts = select(report.measurements, measure="confusion", region=region, fitted_on=fitted_on)
    accuracy = report.answer("connector", NEAR)
    assert distinct(counts, "variable") == distinct(counts, "against") == list(report.classes)
    assert sum(m.value for m in counts) == accuracy.rows
    right = sum(m.value for m in counts if m.variable == m.against)
    assert right / accuracy.rows == pytest.approx(accuracy.value)


def test_a_report_comes_back_from_json(report) -> None:
    text = json.dumps(report.to_dict())
    found = from_document(AuditReport, json.loads(text))
    assert found == replace(report, points=())
    assert json.dumps(found.to_dict()) == text
    with pytest.raises(ValueError, match="valeu"):
        from_document(AuditReport, report.to_dict() | {"measurements": [{"valeu": 1.0}]})


def test_the_gate_holds_the_embedding_against_its_bounds(report, targets) -> None:
    assert list(report.gate) == list(targets.bounds)
    assert not report.passed
    for variable, found in report.gate.items():
        assert found.bound == targets.bounds[variable]
        assert (found.part, found.region) == ("fused", "near")
    rows = tuple(
        replace(m, value=m.bound) if m.bound is not None else m for m in report.measurements
    )
    assert replace(report, measurements=rows).passed
    without = tuple(m for m in rows if m.variable != "connector")
    assert not replace(report, measurements=without).passed  # what was not measured


def test_a_bound_is_the_most_of_an_error_and_the_least_of_an_accuracy() -> None:
    error = Measurement("e", "encoder", "error", 0.1, bound=0.1)
    assert error.passed and not replace(error, value=0.1001).passed
    accuracy = Measurement("e", "encoder", "accuracy", 0.99, bound=0.99)
    assert accuracy.passed and not replace(accuracy, value=0.9899).passed


def test_a_page_shows_the_gate_and_every_table(report) -> None:
    text = page(report)
    for words in (
        "## Gate",
        "**fail**",
        "probes fitted on rows near",
        "hand z mm",
        "raw pixels, fused",
    ):
        assert words in text
    for words in ("## Connector", "## Across the senses", "## Clusters", "at least 99%"):
        assert words in text
    for table in text.split("\n\n"):
        lines = [line for line in table.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1
    side_by_side = comparison_table([report, replace(report, name="other")]).markdown()
    assert "tiny | other" in side_by_side
    assert "guessing the mean" in side_by_side
    assert "of 7 |" in side_by_side


def test_pictures_are_drawn_from_the_report_alone(report, tmp_path) -> None:
    for draw in (audit_figure, confusion_figure, tsne_figure):
        draw(report).savefig(tmp_path / "picture.png", dpi=40)
    shared = [p for p in report.points if p.space == "shared"]
    assert {p.space for p in report.points} == {"shared", "fused"}
    vision, touch = ([p.row for p in shared if p.part == part] for part in ("vision", "touch"))
    assert vision == touch
    texts = [text.get_text() for text in audit_figure(report).axes[0].texts]
    assert number(report.answer("hand_z_mm", NEAR).value) in texts


def test_the_encoder_is_left_as_it_was(make_encoder, splits, targets) -> None:
    encoder = make_encoder().train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    audit(encoder, *splits, targets, rows=80, baselines=False, pictures=0)
    assert encoder.training
    assert all((value == before[name]).all() for name, value in encoder.state_dict().items())


def test_projection_heads_lead_to_the_shared_space(make_encoder, splits, targets) -> None:
    encoder = make_encoder()
    objective = build_objective("infonce", encoder)
    options = {"rows": 80, "baselines": False, "pictures": 0}
    found = audit(encoder, *splits, targets, objective=objective, **options)
    assert found.shared_space == "projection heads"
    mapped = audit(encoder, *splits, targets, objective=nn.Identity(), **options)
    assert mapped.shared_space == "ridge map of vision to touch"
    recalls = select(mapped.measurements, measure="recall at 5")
    assert {(m.part, m.against) for m in recalls} == {("vision", "touch"), ("touch", "vision")}


def test_a_single_sense_is_not_compared_with_itself(make_encoder, splits, targets) -> None:
    encoder = make_encoder(images={"contact": (2, 32, 32)})
    found = audit(encoder, *splits, targets, rows=100, pictures=20)
    assert found.shared_space == ""
    assert not select(found.measurements, measure=("pool", "alignment"))
    assert any("single sense" in note for note in found.notes)
    assert set(distinct(select(found.measurements, measure="error"), "part")) == {"", "fused"}
    assert {m.fitted_on for m in found.gate.values()} == {"all"}
    assert any("too few" in note for note in found.notes)
    audit_figure(found)


def test_attended_embeddings_are_probed_beside_the_features_before(
    make_encoder, splits, targets
) -> None:
    encoder = make_encoder(fusion="cross_attention")
    found = audit(encoder, *splits, targets, rows=80, baselines=False, pictures=0)
    errors = select(found.measurements, measure="error", subject="encoder")
    assert set(distinct(errors, "part")) == {"vision", "touch", "fused"}


class DepthMeans(nn.Module):
    """An encoder of somebody else's: means over the rows of the depth image."""

    keys = ("depth",)
    embedding_size = 32

    def __init__(self) -> None:
        super().__init__()
        self.image_shapes = {"depth": (1, 32, 32)}

    def forward(self, observation: dict[str, torch.Tensor]) -> torch.Tensor:
        return observation["depth"].mean(dim=(1, 2))


def test_a_network_of_one_s_own_is_probed_as_a_whole(splits, targets) -> None:
    found = audit(DepthMeans(), *splits, targets, name="own", rows=600, pictures=20)
    errors = select(found.measurements, measure="error")
    assert set(distinct(errors, "subject")) == {"mean", "encoder", "raw pixels"}
    assert set(distinct(errors, "part")) == {"", "fused"}
    seen, hidden = (
        found.answer(variable, EVERYWHERE).value
        / found.answer(variable, EVERYWHERE, "mean", "").value
        for variable in ("socket_x_mm", "hand_x_mm")
    )
    assert seen < 0.6 < 0.9 < hidden
    assert found.senses == ("vision",)
    assert found.gate
    assert "| raw pixels, fused | fused |" in page(found)
    with pytest.raises(ValueError, match=r"32, 32.*takes.*1, 48"):
        own = DepthMeans()
        own.image_shapes = {"depth": (1, 48, 48)}
        audit(own, *splits, targets, rows=40)


def test_grasps_have_other_labels_and_an_angle_that_comes_round(make_encoder, splits) -> None:
    labels = ("grasp_x_mm", "grasp_y_mm", "grasp_angle_deg")
    grasps = []
    for split in splits:
        rows = split.read(np.arange(200), ("depth", "contact", "connector", "pose"))
        rows["pose"] = rows["pose"][:, 3:6] * np.float32([1, 1, 179.9])
        grasps.append(ArraySplit(rows))
    targets = ProbeTargets(labels)
    found = audit(make_encoder(), *grasps, targets, baselines=False, pictures=0)
    assert found.heldout_rows == {"all": 200}
    assert found.classes == ("0", "1", "2", "3")
    assert found.gate == {}
    assert found.heldout_episodes == 200
    assert 70 < found.answer("grasp_angle_deg", EVERYWHERE, "mean", "").value < 110
    assert "grasp angle °" in page(found)


@pytest.mark.parametrize("extra", [(), ("pad_normal_n", "slip_mm")])
def test_columns_of_their_own_are_probed_where_a_data_set_has_them(tmp_path, splits, extra):
    columns = {name: splits[0].read(np.arange(8))[name] for name in ("pose", "contact")}
    columns |= {name: np.full(8, i, np.float32) for i, name in enumerate(extra)}
    task = make_task("VTInsert-v0")
    with DatasetWriter(
        tmp_path / "data",
        kind="experience",
        settings={"task": task.env_id},
        labels=task.pose_labels,
        modalities=task.modalities,
    ) as writer:
        writer.append("train", columns)
    dataset = Dataset.open(tmp_path / "data")
    targets = ProbeTargets.of(dataset)
    assert targets.variables == (*task.pose_labels, *extra)
    labels = LabelledRows.of(dataset["train"], 8, targets, np.random.default_rng(0)).labels
    assert np.array_equal(labels[:, :8], columns["pose"])
    assert np.array_equal(labels[:, 8:], np.tile(np.arange(len(extra)), (8, 1)))
    assert [unit(name) for name in extra] == ["N", "mm"][: len(extra)]


def test_one_class_is_not_classified(make_encoder, splits, targets) -> None:
    rows = splits[0].read(np.arange(100))
    rows["connector"] = np.zeros(100, np.int64)
    split = ArraySplit(rows)
    found = audit(make_encoder(), split, split, targets, baselines=False, pictures=0)
    assert not select(found.measurements, measure="accuracy")
    assert any("single connector" in note for note in found.notes)
    assert confusion_figure(found) is None
    assert not found.passed


def test_an_audit_is_repeatable_and_tensors_will_do_for_arrays(
    make_encoder, splits, targets
) -> None:
    tensors = [
        ArraySplit({n: torch.from_numpy(v) for n, v in s.read(np.arange(80)).items()})
        for s in splits
    ]
    arrays = [ArraySplit(s.read(np.arange(80))) for s in splits]
    found = []
    for seed, of in enumerate((tensors, arrays)):
        torch.manual_seed(seed)  # of no consequence
        found.append(audit(make_encoder(), *of, targets, pictures=20))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("missing", "says"), [("pose", "no pose labels"), ("contact", "no 'contact'")]
)
def test_what_is_missing_is_said(make_encoder, splits, targets, missing, says) -> None:
    columns = splits[0].read(np.arange(20))
    del columns[missing]
    with pytest.raises(ProbeError, match=says):
        audit(make_encoder(), splits[0], ArraySplit(columns), targets)


def test_what_does_not_fit_is_said(make_encoder, splits, targets) -> None:
    with pytest.raises(ValueError, match=r"32, 32.*takes.*48, 48"):
        audit(
            make_encoder(images={"depth": (1, 48, 48), "contact": (2, 32, 32)}),
            *splits,
            targets,
            rows=40,
        )
    with pytest.raises(ProbeError, match="8 columns, but 2 labels"):
        audit(make_encoder(), *splits, ProbeTargets(("a_mm", "b_mm")))
    with pytest.raises(ProbeError, match=r"class 3, but the data set names 2: aux, pin"):
        audit(make_encoder(), *splits, replace(targets, classes=("aux", "pin")))
    with pytest.raises(ProbeError, match="one length"):
        ArraySplit({"a": np.zeros(3), "b": np.zeros(4)})


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_embedding_does_not_depend_on_the_batch(make_encoder, splits, batch_size) -> None:
    encoder = make_encoder().eval()
    rows = np.array([3, 5, 8, 200, 4])
    embedded = embed_rows(
        {
            "encoder": encoder_embedder(encoder, torch.device("cpu")),
            "pixels": pixel_embedder({"vision": ("depth",)}, encoder.config.ranges),
        },
        splits[0],
        rows,
        keys=("depth", "contact"),
        device=torch.device("cpu"),
        batch_size=batch_size,
    )
    batch = {n: torch.from_numpy(v) for n, v in splits[0].read(rows, ("depth", "contact")).items()}
    with torch.no_grad():
        expected = encoder.features(batch) | {"fused": encoder(batch)}
    assert embedded["encoder"].keys() == expected.keys()
    for part, value in expected.items():
        np.testing.assert_allclose(embedded["encoder"][part], value, rtol=1e-4, atol=1e-5)
    pixels = batch["depth"].reshape(5, 16, 2, 16, 2).mean(dim=(2, 4)).flatten(1)
    assert embedded["pixels"].keys() == {"fused"}
    np.testing.assert_allclose(
        embedded["pixels"]["fused"], (pixels - 0.35) / 0.1, rtol=1e-4, atol=1e-5
    )


def test_rows_are_drawn_without_repetition_and_in_order() -> None:
    rows = choose_rows(100, 30, np.random.default_rng(0))
    assert len(set(rows)) == 30
    assert (np.diff(rows) > 0).all()
    assert (choose_rows(5, 30, np.random.default_rng(0)) == np.arange(5)).all()


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
