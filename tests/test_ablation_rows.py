from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_study import write_cell, write_study

from policies import cli
from policies.ablation import published as module
from policies.ablation.cell import train_config
from policies.ablation.folder import Ablation
from policies.ablation.grid import AblationConfig
from policies.ablation.published import Published, read_results, verdict, with_presets
from policies.evaluation.statistics import Estimate
from policies.report import numbers
from vtenv.registry import make_task

DOCS = Path(__file__).parents[1] / "docs" / "results"
CONFIG = AblationConfig(
    ("state", "resnet-pose", "somewhere/of/mine/encoder"),
    ("dagger", "ppo"),
    ("scratch", "warm"),
    seeds=2,
    training={"engine": "warp", "steps": 1000},
    training_by_algorithm={"ppo": {"hyperparameters": {"n_epochs": 3}}},
)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A published study: its grid and its episodes, without its runs."""
    folder = write_study(tmp_path_factory.mktemp("study") / "study", CONFIG).path
    shutil.rmtree(folder / "runs")
    with gzip.open(folder / "episodes.csv.gz", "wb") as file:
        file.write((folder / "episodes.csv").read_bytes())
    (folder / "episodes.csv").unlink()
    return folder


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
    ("published", "here", "expected"),
    [
        ((0.5, 0.4, 0.6), (0.6, 0.5, 0.7), "inside"),
        ((0.5, 0.4, 0.6), (0.4, 0.1, 0.4), "inside"),
        ((0.5, 0.4, 0.6), (0.7, 0.6, 0.8), "outside"),
        ((0.5, 0.4, 0.6), (0.3, 0.2, 0.4), "outside"),
        ((0.5, 0.4, 0.6), (0.7, 0.61, 0.8), "apart"),
        ((0.5, 0.4, 0.6), (0.3, 0.2, 0.39), "apart"),
        ((1.0, 1.0, 1.0), (0.99, 0.98, 1.0), "outside"),
        ((1.0, 1.0, 1.0), (1.0 - 1e-12, 0.9, 1.0), "inside"),  # rounding
    ],
)
def test_where_a_result_lies(published, here, expected):
    assert verdict(Estimate(*published), Estimate(*here)) == expected


def test_rows_are_named_by_label_and_method(study):
    assert list(Published(study).rows) == [
        f"{name}/{method}"
        for method in ("dagger", "ppo", "ppo-warm")
        for name in ("state", "resnet-pose", "mine")
    ]


def test_results_are_those_of_the_table(study):
    result = Published(study).results["state", "ppo", "warm"]
    with gzip.open(study / "episodes.csv.gz", "rt", newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if (row["representation"], row["algorithm"], row["start"]) == ("state", "ppo", "warm")
        ]
    assert result.episodes == len(rows) == 80
    for i, seed in enumerate(result.seeds):
        for j, connector in enumerate(result.connectors):
            won = [
                int(row["success"])
                for row in rows
                if (row["seed"], row["connector"]) == (str(seed), connector)
            ]
            assert result.scores[i, j] == np.mean(won)


@pytest.mark.parametrize("method", ["dagger", "ppo", "ppo-warm"])
def test_a_row_trains_as_the_study_did_on_any_engine(method, study, tmp_path):
    published = Published(study)
    grid = published.grid(f"resnet-pose/{method}")
    variant = published.rows[f"resnet-pose/{method}"]
    cells = {cell for cell in CONFIG.cells if cell.variant == variant}
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
        (("--row", "mine/dagger"), "somewhere/of/mine/encoder, an encoder of"),
        (("--row", "state/ppo", "--representations", "stat"), "unknown representation 'stat'"),
        (("--row", "state/ppo", "--representations", "state", "random"), "one representation"),
        (("--representations", "state"), "--published is for --row"),
    ],
)
def test_what_is_no_row_is_refused(options, expected, study, tmp_path):
    assert expected in refused(study, tmp_path / "rows", *options)


def test_another_encoder_of_the_same_name_is_refused(study, tmp_path):
    folder = shutil.copytree(study, tmp_path / "study")
    document = json.loads((folder / "ablation.json").read_text())
    document["made"]["encoders"] = {"resnet-pose": "f" * 64}
    document["training"] = {}
    (folder / "ablation.json").write_text(json.dumps(document))
    said = refused(folder, tmp_path / "rows", "--row", "resnet-pose/dagger")
    assert "resnet-pose is another encoder here" in said
    assert "ffffffffffff at commit 0123456789ab" in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "holds neither episodes.csv nor episodes.csv.gz"),
        ("representation,algorithm\n", "no column 'start'"),
        ("representation,algorithm,start,seed,connector,success\na,b,c,0,usb,2\n", "line 2"),
        (
            "representation,algorithm,start,seed,connector,success\n"
            "a,b,c,0,usb,1\na,b,c,0,pin,1\na,b,c,1,usb,1\n",
            "no episodes of pin for a policy of seed 1",
        ),
    ],
)
def test_episodes_that_cannot_be_read_are_named(text, expected, tmp_path):
    if text is not None:
        (tmp_path / "episodes.csv").write_text(text)
    with pytest.raises(ValueError, match=expected) as error:
        read_results(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_a_grid_that_trains_nothing_has_no_presets():
    evaluated = AblationConfig(("state",), training={"engine": "warp"}, policies="somewhere")
    assert with_presets(evaluated) == evaluated


def test_without_the_repository_a_study_has_to_be_named(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PUBLISHED", tmp_path / "docs")
    with pytest.raises(ValueError, match=r"comes with a clone of the repository.*--published"):
        Published()


def test_a_row_that_is_done_is_held_against_what_was_published(study, tmp_path, capsys):
    row = {"name": "state/dagger", "published": str(study), "representation": "state"}
    own = Ablation(tmp_path / "row")
    grid = replace(with_presets(Published(study).grid("state/dagger")), seeds=1)
    own.write_grid(grid, {"row": row})
    write_cell(own, grid.cells[0], success=0.2)
    assert cli.main(["ablate", "--output", str(own.path)]) == 0
    shown = capsys.readouterr().out
    assert "seeds: 2 as published, 1 here" in shown
    assert "outside the published interval, and the two do not overlap" in shown
    document = json.loads((own.path / "row.json").read_text())
    assert document["verdict"] == "apart"
    assert document["differences"] == {"seeds": {"published": 2, "here": 1}}
    assert document["here"]["episodes"] == 40
    assert document["published"]["success"]["value"] > 0.9


@pytest.mark.parametrize(("folder", "rows"), [(None, 39), (DOCS / "two-cores", 7)])
def test_published_studies_can_be_read_and_are_of_their_track(folder, rows):
    published = Published(folder)
    assert len(published.rows) == rows
    assert published.config.training["settings"]["track"] == "loose"
    make_task("VTInsert-v0", **published.config.training["settings"])
    for method in {row.rpartition("/")[2] for row in published.rows}:
        with_presets(published.grid(f"state/{method}"))


def test_a_published_interval_is_that_of_the_page():
    success = Published().results["outputs/encoders/infonce/encoder", "dagger", "scratch"].success
    assert numbers.success(success, single=False) == "99.8% (99.0 to 100%)"
