"""Short names of representations."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_study import write_study
from rich.console import Console

from policies.ablation.display import GridDisplay
from policies.ablation.grid import AblationConfig
from policies.ablation.labels import labelled, labels
from policies.ablation.run import GridStatus
from policies.report.compose import compose
from policies.report.markdown import markdown
from policies.report.page import page

POSE, OTHER = "outputs/encoders/pose/encoder", "outputs/others/pose/encoder"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([POSE, f"{POSE}:vision", f"{POSE}:touch"], ["pose", "pose:vision", "pose:touch"]),
        (["/data/a/encoder", "~/b", "./c/encoder/", "../d/encoder"], ["a", "b", "c", "d"]),
        (["state", "resnet-pose:touch", "random"], ["state", "resnet-pose:touch", "random"]),
        (["someone/encoder", "someone/pose:vision"], ["someone/encoder", "someone/pose:vision"]),
        (["/encoder", "./encoder:touch"], ["/encoder", "./encoder:touch"]),
        # Those that would share one keep their names, and no other does.
        ([POSE, "a/b/moco/encoder", f"{OTHER}:touch"], [POSE, "moco", f"{OTHER}:touch"]),
        # A folder is not called what something else is.
        (
            ["runs/a/state", "runs/a/resnet-pose/encoder"],
            ["runs/a/state", "runs/a/resnet-pose/encoder"],
        ),
    ],
)
def test_labels(names, expected) -> None:
    assert list(labels(names).values()) == expected


def test_a_folder_of_two_parts_is_no_id(tmp_path, monkeypatch) -> None:
    assert labels(["mine/encoder"]) == {"mine/encoder": "mine/encoder"}
    (tmp_path / "mine" / "encoder").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert labels(["mine/encoder"]) == {"mine/encoder": "mine"}


PATHS = st.lists(st.sampled_from(["a", "b", "encoder", "state", ".", ".."]), min_size=1, max_size=5)


@given(st.lists(st.tuples(PATHS, st.sampled_from(["", ":vision", ":touch"])), max_size=8))
def test_no_two_labels_are_alike(drawn) -> None:
    names = {"/".join(parts) + part for parts, part in drawn}
    found = labels(names)
    assert found.keys() == names
    assert len(set(found.values())) == len(names)
    assert all(len(label) <= len(name) for name, label in found.items())


def test_a_report_shows_labels_and_says_what_they_stand_for(tmp_path) -> None:
    config = AblationConfig(("state", POSE, f"{POSE}:touch"), seeds=2)
    ablation = write_study(tmp_path / "s", config, failed=config.cells[1:2])
    content = compose(ablation.path)
    assert list(content.sections[0].runs) == ["state", "pose", "pose:touch"]
    text = markdown(content)
    assert (
        text.count(POSE) == 2
    )  # what the two labels stand for; runs lie in folders of other names
    assert f"| pose:touch | {POSE}:touch |" in text
    assert "| pose, dagger, seed 0 | RuntimeError" in text
    assert page(content).count(POSE) == 2


def test_encoder_seeds_have_the_name_of_their_representation_and_a_number() -> None:
    config = AblationConfig(
        ("state", "pose:touch", "pose", OTHER),
        seeds=1,
        encoders={"pose": ("runs/a/encoder", "runs/b/encoder")},
        contrasts=(("pose", "state"),),
    )
    assert config.trained_on == {
        "state": "state",
        "runs/a/encoder:touch": "pose:touch",
        "runs/b/encoder:touch": "pose:touch",
        "runs/a/encoder": "pose",
        "runs/b/encoder": "pose",
        OTHER: OTHER,  # called pose, were that not another's name
    }
    shown = [cell.representation for cell in labelled(config).values()]
    assert shown == ["state", "pose:touch-1", "pose:touch-2", "pose-1", "pose-2", OTHER]
    more = config.grown(
        {"encoders": {"pose": ["runs/c/encoder"]}, "contrasts": [["pose", "state"]]}
    )
    assert more.encoders == {"pose": ("runs/a/encoder", "runs/b/encoder", "runs/c/encoder")}
    with pytest.raises(ValueError, match="pose and pose:touch were not named before"):
        config.grown({"contrasts": [["pose", "pose:touch"]]})


def test_names_that_are_short_are_not_explained(tmp_path) -> None:
    ablation = write_study(tmp_path / "s", AblationConfig(("state",), seeds=1))
    assert "short names" not in markdown(compose(ablation.path))


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_shows_labels_in_a_terminal_and_in_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr("policies.ablation.display.LINE_EVERY_S", 0.0)
    config = AblationConfig(("state", POSE), seeds=1)
    ablation = write_study(tmp_path / "s", config, missing=config.cells)
    console = Console(width=100, force_terminal=terminal, record=True)
    with GridDisplay(ablation, config, console) as display:
        status = GridStatus.of(ablation, config)
        status.states[config.cells[1]] = "running"
        display.update(status)
        for cell in config.cells:
            ablation.write_failure(cell, "ValueError: no")
        display.update(GridStatus.of(ablation, config))
    shown = console.export_text()
    assert "0 of 2 cells" in shown and "pose, dagger, seed 0: begins" in shown
    assert "pose, dagger, seed 0: ValueError: no" in shown
    assert POSE not in shown
