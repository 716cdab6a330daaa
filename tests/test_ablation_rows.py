from __future__ import annotations

import contextlib
import gzip
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_study import STRENGTH, write_cell, write_study

from policies import cli
from policies.ablation import published as module
from policies.ablation.cell import train_config
from policies.ablation.folder import Ablation
from policies.ablation.grid import AblationConfig
from policies.ablation.published import (
    compare,
    published_row,
    read_results,
    verdict,
    with_encoders_at_hand,
    with_presets,
)
from policies.evaluation.statistics import Estimate
from policies.report.measurements import sections
from policies.report.scores import scores
from policies.report.study import read_study
from vtenv.registry import make_task

DOCS = Path(__file__).parents[1] / "docs" / "results"
SHIPPED, LEFT = "resnet-pose", "outputs/not/shipped/encoder"
CONFIG = AblationConfig(
    ("state", "pose", "pose:vision", "somewhere/of/mine/encoder"),
    ("dagger", "ppo"),
    ("scratch", "warm"),
    seeds=2,
    training={"engine": "warp", "steps": 1000},
    training_by_algorithm={"ppo": {"hyperparameters": {"n_epochs": 3}}},
    encoders={"pose": (SHIPPED, LEFT)},
)
NAMES = [
    f"{name}/{method}"
    for method in ("dagger", "ppo", "ppo-warm")
    for name in ("state", "pose", "pose:vision", "mine")
]


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Path:
    """A study with its runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STRENGTH, LEFT, 0.9)
        return write_study(tmp_path_factory.mktemp("ran") / "study", CONFIG).path


@pytest.fixture(scope="module")
def study(ran, tmp_path_factory) -> Path:
    """A published study: its grid and its episodes, without its runs."""
    folder = tmp_path_factory.mktemp("study")
    publish(ran, folder)
    return folder


@pytest.fixture(scope="module")
def tracks(ran, tmp_path_factory) -> Path:
    """A published study of two tracks; on the third their policies are evaluated."""
    folder = tmp_path_factory.mktemp("tracks")
    for track in ("nominal", "contact", "shift"):
        publish(ran, folder / track)
    evaluated = AblationConfig(("state",), policies="outputs/nominal")
    Ablation(folder / "shift").write_grid(evaluated, {})
    return folder


def publish(ran: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    shutil.copy(ran / "ablation.json", folder)
    with gzip.open(folder / "episodes.csv.gz", "wb") as file:
        file.write((ran / "episodes.csv").read_bytes())


COLUMNS = "representation,algorithm,start,seed,connector,episode_seed,success"


def refused(folder: Path, output: Path, *options: str) -> str:
    """What is said of a command that is refused: one line, and nothing is written."""
    given = ["ablate", "--published", str(folder), "--output", str(output), *options]
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        assert cli.main(given) == 2
    assert err.getvalue().count("\n") == 1
    assert not output.exists()
    return err.getvalue()


@pytest.mark.parametrize(
    ("here", "difference", "expected"),
    [
        (0.6, (0.01, 0.2), "inside"),
        (0.4, (-0.2, -0.01), "inside"),
        (0.6 + 1e-12, (0.01, 0.2), "inside"),  # rounding
        (0.7, (-0.01, 0.3), "outside"),
        (0.7, (0.0, 0.3), "outside"),
        (0.3, (-0.3, 0.01), "outside"),
        (0.7, (0.01, 0.3), "apart"),
        (0.3, (-0.3, -0.01), "apart"),
    ],
)
def test_where_a_result_lies(here, difference, expected):
    assert verdict(Estimate(0.5, 0.4, 0.6), here, Estimate(here - 0.5, *difference)) == expected


def test_rows_are_named_by_label_and_method(study):
    assert [row for row in NAMES if published_row(study, row).name == row] == NAMES
    with pytest.raises(ValueError, match=f"choose from {', '.join(NAMES)}; they are"):
        published_row(study, "")


def test_rows_of_tracks_are_named_after_them(tracks):
    everything = [f"{track}/{name}" for track in ("contact", "nominal") for name in NAMES]
    with pytest.raises(ValueError, match=f"choose from {', '.join(everything)}; they are"):
        published_row(tracks, "")
    row = published_row(tracks, "contact/pose:vision/ppo-warm")
    assert row.published.ablation.path == tracks / "contact"
    assert row.variant == ("pose:vision", "ppo", "warm")
    assert row.folder == Path("contact/pose-vision/ppo-warm")
    with pytest.raises(ValueError, match="did you mean nominal/pose/dagger or contact/pose/dagger"):
        published_row(tracks, "pose/dagger")


def test_a_result_is_the_score_of_the_report(tmp_path, monkeypatch):
    monkeypatch.setitem(STRENGTH, LEFT, 0.8)
    config = AblationConfig(("pose",), seeds=2, encoders=CONFIG.encoders)
    folder = write_study(tmp_path / "study", config).path
    reported = read_study(folder)
    told = scores([(reported, sections(reported, {}))], {}).tracks["nominal"]["pose"]
    result = published_row(folder, "pose/dagger").result
    assert result.success == told.success
    assert result.success.levels == ("encoders", "policies", "episodes")
    assert {name: table.shape for name, table in result.scores.items()} == {
        SHIPPED: (2, 40),
        LEFT: (2, 40),
    }


@pytest.mark.parametrize("method", ["dagger", "ppo", "ppo-warm"])
def test_a_row_trains_as_the_study_did_on_any_engine(method, study, tmp_path):
    row = published_row(study, f"pose/{method}")
    grid = row.grid
    cells = {
        cell
        for cell in CONFIG.cells
        if (CONFIG.trained_on[cell.representation], *cell.variant[1:]) == row.variant
    }
    assert len(cells) == 4  # two encoders, two seeds
    assert set(grid.cells) == cells | {cell.begins_with for cell in cells} - {None}
    elsewhere = replace(with_presets(grid), training={"engine": "cpu", "steps": 1000})
    for cell in grid.cells[: len(grid.cells) // 2]:  # of the first seed
        before, after = (
            train_config(Ablation(tmp_path), config, cell, threads=1).resolved()
            for config in (CONFIG, elsewhere)
        )
        assert replace(after, engine="warp") == before


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--row",), "--row needs a name: choose from state/dagger"),
        (("--row", "stat/dagger"), "did you mean state/dagger"),
        (("--row", "state"), "did you mean state/"),
        (("--row", "state/ppo", "--steps", "5"), "steps would make another row"),
        (("--row", "state/ppo", "--clearance-mm", "0.3"), "clearance_mm would make another row"),
        (("--row", "state/ppo", "--preset", "quick"), "only one can be given"),
        (("--row", "mine/dagger"), "needs somewhere/of/mine/encoder, which is neither bundled"),
        (("--row", "state/ppo", "--representations", "stat"), "unknown representation 'stat'"),
        (("--row", "state/ppo", "--representations", "state", "random"), "one representation"),
        (("--representations", "state"), "--published is for --row"),
    ],
)
def test_what_is_no_row_is_refused(options, expected, study, tmp_path):
    assert expected in refused(study, tmp_path / "rows", *options)


def test_a_row_is_trained_on_the_encoders_at_hand(study, tmp_path, monkeypatch):
    row = published_row(study, "pose/dagger")
    assert with_encoders_at_hand(row.grid, row.name).encoders == {"pose": (SHIPPED,)}
    monkeypatch.chdir(tmp_path)
    Path(LEFT).mkdir(parents=True)
    assert with_encoders_at_hand(row.grid, row.name) == row.grid
    state = published_row(study, "state/dagger").grid
    assert with_encoders_at_hand(state, "state/dagger") == state
    none = replace(row.grid, encoders={"pose": ("outputs/a/encoder", "outputs/b/encoder")})
    with pytest.raises(ValueError, match="needs outputs/a/encoder or outputs/b/encoder"):
        with_encoders_at_hand(none, row.name)


def test_a_study_that_trains_nothing_has_no_rows(tracks, tmp_path):
    for folder in (tracks / "shift", tmp_path):
        with pytest.raises(ValueError, match="no ablation that trains policies in"):
            published_row(folder, "state/dagger")


def test_another_encoder_of_the_same_name_is_refused(study, tmp_path):
    folder = shutil.copytree(study, tmp_path / "study")
    document = json.loads((folder / "ablation.json").read_text())
    document["made"]["encoders"] = {SHIPPED: "f" * 64}
    document["training"] = {}
    (folder / "ablation.json").write_text(json.dumps(document))
    said = refused(folder, tmp_path / "rows", "--row", "pose/dagger")
    assert "resnet-pose is another encoder here" in said
    assert "ffffffffffff at commit 0123456789ab" in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "holds neither episodes.csv nor episodes.csv.gz"),
        ("representation,algorithm\n", "no column 'start'"),
        (f"{COLUMNS}\na,b,c,0,usb,7,2\n", "line 2"),
        (
            f"{COLUMNS}\na,b,c,0,usb,7,1\na,b,c,0,pin,8,1\na,b,c,1,usb,7,1\n",
            "policy of seed 1 on a played other episodes",
        ),
    ],
)
def test_episodes_that_cannot_be_read_are_named(text, expected, tmp_path):
    ablation = Ablation(tmp_path)
    ablation.write_grid(AblationConfig(("a",)), {})
    if text is not None:
        (tmp_path / "episodes.csv").write_text(text)
    with pytest.raises(ValueError, match=expected) as error:
        read_results(ablation)
    assert str(tmp_path) in str(error.value)


def test_without_the_repository_a_study_has_to_be_named(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PUBLISHED", tmp_path / "docs")
    with pytest.raises(ValueError, match=r"comes with a clone of the repository.*--published"):
        published_row(None, "state/dagger")


def test_a_row_that_is_done_is_held_against_what_was_published(study, tmp_path, capsys):
    row = {"name": "state/dagger", "published": str(study), "representation": "state"}
    own = Ablation(tmp_path / "row")
    grid = replace(with_presets(published_row(study, "state/dagger").grid), seeds=1)
    own.write_grid(grid, {"row": row})
    write_cell(own, grid.cells[0], success=0.2)
    assert cli.main(["ablate", "--output", str(own.path)]) == 0
    shown = capsys.readouterr().out
    assert "seeds: 2 as published, 1 here" in shown
    assert "1 policy on state, 40 episodes each" in shown
    assert "outside the published interval, and the difference's does not hold 0" in shown
    assert "without" not in shown
    document = json.loads((own.path / "row.json").read_text())
    assert document["verdict"] == "apart"
    assert document["settings"] == {"seeds": {"published": 2, "here": 1}}
    assert document["here"]["policies"] == {"state": 1}
    assert document["published"]["policies"] == {"state": 2}
    values = [document[side]["success"]["value"] for side in ("here", "published")]
    assert document["difference"]["value"] == pytest.approx(values[0] - values[1])


def trained_again(ran: Path, study: Path, folder: Path) -> Ablation:
    """pose/dagger on the encoder that is shipped, with the results that were published."""
    row = published_row(study, "pose/dagger")
    ablation = Ablation(folder)
    grid = with_presets(with_encoders_at_hand(row.grid, row.name))
    ablation.write_grid(grid, {})
    for cell in grid.cells:
        shutil.copytree(ran / cell.folder, ablation.folder(cell))
    ablation.write_episodes(grid.cells)
    return ablation


def test_encoders_that_a_row_did_without_are_told(ran, study, tmp_path):
    ablation = trained_again(ran, study, tmp_path / "row")
    row = published_row(study, "pose/dagger")
    published, here, without, difference, _ = compare(ablation, row, "pose").splitlines()
    assert "drawn over encoders, policies and episodes; 4 policies on resnet-pose, " in published
    assert "drawn over policies and episodes; 2 policies on resnet-pose, 40 episodes" in here
    assert without == f"without: {LEFT}"
    assert difference.endswith(", on the same episodes")
    document = json.loads((ablation.path / "row.json").read_text())
    assert document["here"]["policies"] == {SHIPPED: 2}
    assert document["here"]["without"] == [LEFT]
    assert document["settings"] == {}


def test_episodes_that_only_one_side_played_are_told(ran, study, tmp_path):
    ablation = trained_again(ran, study, tmp_path / "row")
    row = published_row(study, "pose/dagger")
    header, *lines = (ablation.path / "episodes.csv").read_text().splitlines()
    seeds = {f",{1_000_000 + number},": f",{2_000_000 + number}," for number in range(40)}
    old = [next(seed for seed in seeds if seed in line) for line in lines]
    new = [line.replace(seed, seeds[seed]) for line, seed in zip(lines, old, strict=True)]

    def write(some: list[str]) -> None:
        (ablation.path / "episodes.csv").write_text("\n".join([header, *some]) + "\n")

    first = [number % 40 < 20 for number in range(len(lines))]
    write([a if of else b for a, b, of in zip(lines, new, first, strict=True)])
    assert "on the 20 of 60 episodes that both sides played" in compare(ablation, row, "pose")
    write(new)
    with pytest.raises(ValueError, match="no episode in common"):
        compare(ablation, row, "pose")


@pytest.mark.parametrize("folder", [module.PUBLISHED, DOCS / "two-cores"])
def test_published_rows_can_be_trained_and_are_of_their_track(folder):
    with pytest.raises(ValueError, match="--row needs a name") as error:
        published_row(folder, "")
    names = str(error.value).split("choose from ")[1].split("; ")[0].split(", ")
    row = published_row(folder, names[-1])
    assert row.result.success.value > 0
    with_presets(row.grid)
    settings = row.grid.training["settings"]
    assert "track" in settings  # the default world changes
    make_task("VTInsert-v0", **settings)
