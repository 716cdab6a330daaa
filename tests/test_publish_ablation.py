from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from made_up_study import write_study

from policies.ablation.folder import Ablation
from policies.ablation.grid import AblationConfig
from policies.ablation.published import published_row
from policies.report.study import read_study
from scripts.publish_ablation import main

FIRST = AblationConfig(
    ("state", "pose"),
    ("dagger", "ppo"),
    ("warm",),
    seeds=1,
    encoders={"pose": ("resnet-pose", "outputs/pose-1/encoder")},
    contrasts=(("state", "pose"),),
)
MORE = replace(
    FIRST,
    representations=("state", "pose", "proprio"),
    encoders={"pose": ("outputs/pose-2/encoder",)},
    seeds_by_representation={"state": 2},
)
SUCCESS = {"outputs/pose-1/encoder": 0.8, "outputs/pose-2/encoder": 0.6}


@pytest.fixture
def parts(tmp_path, monkeypatch) -> list[Path]:
    monkeypatch.setattr("made_up_study.STRENGTH", {"state": 0.9, "resnet-pose": 0.7, **SUCCESS})
    found = []
    for name, config in {"first": FIRST, "more": MORE}.items():
        ablation = write_study(tmp_path / name, config)
        made = ablation.read_config()["made"]
        digests = {each: f"digest of {each}" for each in config.trained_on if "pose" in each}
        ablation.write_grid(config, {**made, "commit": name, "encoders": digests})
        found.append(ablation.path)
    return found


def finals(folder: Path) -> dict:
    return {
        (run.representation, *run.cell.variant, run.cell.seed): (run.finals, run.steps.tolist())
        for run in read_study(folder).runs
    }


def test_a_report_reads_of_what_is_published_what_it_reads_of_the_runs(parts, tmp_path):
    main((parts[0],), tmp_path / "published")
    assert finals(tmp_path / "published") == finals(parts[0])
    assert not list((tmp_path / "published").glob("runs"))


def test_several_folders_are_published_as_one(parts, tmp_path):
    main(tuple(parts), tmp_path / "published")
    published = Ablation(tmp_path / "published")
    grid = published.read_grid()
    assert grid.encoders["pose"] == ("resnet-pose", *SUCCESS)
    assert grid.contrasts == FIRST.contrasts
    assert grid.seeds_by_representation == {"state": 2}
    study = read_study(published.path)
    assert len(study.runs) == len(grid.cells) and not study.unfinished
    made = published.read_config()["made"]
    assert made["commit"] == "first, more"
    assert [part["commit"] for part in made["parts"]] == ["first", "more"]
    assert made["encoders"] == {name: f"digest of {name}" for name in ("resnet-pose", *SUCCESS)}
    row = published_row(published.path, "pose/ppo-warm")
    assert row.result.success.levels == ("encoders", "episodes")
    shares = [np.mean(table) for table in row.result.scores.values()]
    assert row.result.success.value == pytest.approx(np.mean(shares))


def test_what_is_published_can_be_gone_on_from_and_stays_the_same(parts, tmp_path):
    main(tuple(parts), tmp_path / "at-once")
    main((parts[0],), tmp_path / "in-turn")
    main((tmp_path / "in-turn", parts[1]), tmp_path / "in-turn")
    for file in ("ablation.json", "episodes.csv.gz", "evaluations.csv"):
        one, other = (tmp_path / name / file for name in ("at-once", "in-turn"))
        assert one.read_bytes() == other.read_bytes()


def test_a_grid_of_the_whole_gives_the_order_and_the_contrasts(parts, tmp_path):
    whole = tmp_path / "grid.yml"
    grid = FIRST.grown({"representations": MORE.representations, "encoders": MORE.encoders})
    fields = {
        "representations": ["proprio", *grid.representations[:2]],
        "algorithms": ["dagger", "ppo"],
        "starts": ["warm"],
        "seeds": 1,
        "seeds_by_representation": {"state": 2},
        "encoders": {name: list(alike) for name, alike in grid.encoders.items()},
        "contrasts": [["pose", "proprio"]],
    }
    whole.write_text(yaml.safe_dump(fields))
    main(tuple(parts), tmp_path / "published", grid=whole)
    study = read_study(tmp_path / "published")
    assert list(study.representations) == ["proprio", "state", "pose"]
    assert study.contrasts == [("pose", "proprio")]

    whole.write_text(yaml.safe_dump(fields | {"encoders": {"pose": ["resnet-pose"]}}))
    with pytest.raises(ValueError, match=r"grid.yml lacks outputs/pose-1/encoder.*; add it"):
        main(tuple(parts), tmp_path / "other", grid=whole)
    whole.write_text(yaml.safe_dump(fields | {"training": {"steps": 5}}))
    with pytest.raises(ValueError, match="training"):
        main(tuple(parts), tmp_path / "other", grid=whole)
    assert not (tmp_path / "other").exists()


def test_what_does_not_go_together_is_refused(parts, tmp_path):
    more = Ablation(parts[1])
    made = more.read_config()["made"]
    more.write_grid(MORE, made | {"encoders": {"resnet-pose": "another"}})
    with pytest.raises(ValueError, match="resnet-pose is another encoder in each"):
        main(tuple(parts), tmp_path / "published")
    more.write_grid(replace(MORE, training={"steps": 5}), made)
    with pytest.raises(ValueError, match="training"):
        main(tuple(parts), tmp_path / "published")
    more.write_grid(MORE, made)
    table = more.folder(MORE.cells[0]) / "episodes.csv"
    table.write_text(table.read_text().replace("1000003", "1000004"))
    with pytest.raises(ValueError, match="state, dagger, scratch, 0 played otherwise in each"):
        main(tuple(parts), tmp_path / "published")
    with pytest.raises(ValueError, match="no policy that is done"):
        empty = tmp_path / "empty"
        Ablation(empty).write_grid(FIRST, {})
        main((empty,), tmp_path / "published")
    assert not (tmp_path / "published").exists()
