from __future__ import annotations

import csv
import json
from collections import Counter
from concurrent.futures import Future
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from policies.ablation.command import show_results
from policies.ablation.executors import Executor
from policies.ablation.folder import EPISODES_FILE, FAILED_FILE, Ablation
from policies.ablation.grid import PRESETS, AblationConfig, Cell, preset_grid
from policies.ablation.published import PUBLISHED
from policies.ablation.run import GridStatus, run_grid
from policies.commands.ablate import PresetName
from policies.learners.training_folder import TrainingFolder
from policies.representation_names import check_representation, split_part
from representation.bundled import bundled

CONFIG = AblationConfig(("state", "proprio"), ("dagger", "ppo"), ("scratch", "warm"), seeds=2)
STATE = Cell("state", "dagger", "scratch", 0)


def finish(ablation: Ablation, cell: Cell, success: int = 1) -> None:
    """Leave what a cell leaves that is done."""
    ablation.folder(cell).mkdir(parents=True, exist_ok=True)
    row = {
        "representation": cell.representation,
        "seed": cell.seed,
        "connector": "usb",
        "success": success,
        "failure": "" if success else "missed",
    }
    TrainingFolder(ablation.folder(cell)).write_table("episodes", [row])


# The grid
def test_cells_are_every_combination_one_seed_after_the_other():
    cells = CONFIG.cells
    assert len(cells) == len(set(cells)) == 2 * 3 * 2
    assert [cell.seed for cell in cells] == [0] * 6 + [1] * 6
    assert [cell.variant for cell in cells[:6]] == [
        (representation, *method)
        for method in (("dagger", "scratch"), ("ppo", "scratch"), ("ppo", "warm"))
        for representation in ("state", "proprio")
    ]


def test_a_warm_start_is_the_distilled_policy_of_the_same_seed():
    for cell in CONFIG.cells:
        if cell.start == "warm":
            expected = Cell(cell.representation, "dagger", "scratch", cell.seed)
            assert cell.begins_with == expected
            assert expected in CONFIG.cells
        else:
            assert cell.begins_with is None


def test_folders_say_what_they_hold():
    warm = Cell("resnet-pose:vision", "ppo", "warm", 3)
    assert warm.folder == Path("runs/resnet-pose-vision/ppo-warm/seed-3")
    hub = Cell("someone/encoder", "dagger", "scratch", 0)
    assert hub.folder == Path("runs/someone-encoder/dagger/seed-0")


@given(
    st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4),
    st.integers(1, 3),
    st.permutations(["dagger", "ppo", "sac"]),
)
def test_no_two_cells_share_a_folder_and_all_stay_inside(names, seeds, algorithms):
    try:
        config = AblationConfig(names, algorithms, ("scratch", "warm"), seeds)
    except ValueError as error:
        assert "share the folder" in str(error)
        return
    folders = [cell.folder for cell in config.cells]
    assert len(folders) == len(set(folders))
    assert all(not folder.is_absolute() and ".." not in folder.parts for folder in folders)


def test_budgets_are_those_of_all_but_where_an_algorithm_has_its_own():
    config = AblationConfig(
        ("state",),
        ("dagger", "ppo"),
        training={"steps": 10, "engine": "warp"},
        training_by_algorithm={"ppo": {"steps": 99}},
    )
    steps = {cell.algorithm: config.training_of(cell)["steps"] for cell in config.cells}
    assert steps == {"dagger": 10, "ppo": 99}
    assert config.training_of(config.cells[0])["engine"] == "warp"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"representations": []}, "needs representations"),
        ({"representations": "state"}, "a list"),
        ({"representations": [""]}, "must be names"),
        ({"representations": ["a:b", "a-b"]}, "share the folder 'a-b'"),
        ({"algorithms": [1]}, "must be text"),
        ({"algorithms": []}, "a name or more"),
        ({"starts": ["luke"]}, "one of scratch, warm"),
        ({"algorithms": ["ppo"], "starts": ["warm"]}, "add dagger"),
        ({"seeds": 0}, "at least 1"),
        ({"seeds": True}, "an integer"),
        ({"training": {"seed": 1}}, "seed is decided for each cell"),
        ({"seeds": 2.0}, "an integer"),
        ({"seeds": 10**9}, "a grid of 1,000,000,000 cells, 1,000,000,000 seeds each, is too large"),
        ({"representations": ["x" * 5000]}, "too long"),
        ({"training": 5}, "an object"),
        ({"training_by_algorithm": {"dagger": 5}}, "an object"),
        ({"evaluation": {"episodes": "many"}}, "an integer"),
        ({"evaluation": {"episodes": 0}}, "0 seeds are not allowed"),
        ({"evaluation": {"seeds": "exam"}}, "seeds.*one of.*test"),
        ({"evaluation": {"condition": "moon"}}, "unknown condition 'moon'"),
        ({"training_by_algorithm": {"sac": {}}}, "'sac'"),
        ({"evaluation": {"episods": 1}}, "no 'episods'"),
        ({"nonsense": 1}, "no 'nonsense'"),
        ({"contrasts": [["state", "random"]]}, "pairs of two of the representations"),
        ({"contrasts": [["state", "state"]]}, "pairs of two of the representations"),
        ({"encoders": {"state": []}}, "has none for 'state'"),
        ({"seeds_by_representation": {"pose": 2}}, "one or more for names among state"),
        ({"seeds_by_representation": {"state": 0}}, "one or more for names among state"),
        ({"seeds_by_representation": {"state": 10**9}}, "1,000,000,000 seeds each, is too large"),
        ({"encoders": {"a": ["x"], "state": ["x"]}}, "has 'x' twice"),
    ],
)
def test_what_is_no_grid_is_refused(fields, expected):
    with pytest.raises(ValueError, match=expected):
        AblationConfig.from_json({"representations": ["state"], **fields})


def test_a_grid_without_representations_is_refused():
    with pytest.raises(ValueError, match="needs representations"):
        AblationConfig.from_json({"seeds": 1})


def test_a_representation_may_have_policy_seeds_of_its_own_number():
    config = AblationConfig(
        ("end-to-end", "pose"),
        ("dagger", "ppo"),
        ("warm",),
        seeds=1,
        encoders={"pose": ("a", "b", "c")},
        seeds_by_representation={"end-to-end": 3},
    )
    seeds = Counter((cell.representation, cell.algorithm) for cell in config.cells)
    assert seeds == {
        (name, algorithm): count
        for name, count in {"end-to-end": 3, "a": 1, "b": 1, "c": 1}.items()
        for algorithm in ("dagger", "ppo")
    }
    grown = config.grown({"seeds_by_representation": {"end-to-end": 2, "pose": 2}})
    assert grown.seeds_by_representation == {"end-to-end": 3, "pose": 2}
    assert set(config.cells) < set(grown.cells) and len(grown.cells) == len(config.cells) + 6
    # Policies that all representations have had stay in the grid.
    several = replace(config, seeds=3, seeds_by_representation={})
    assert several.grown({"seeds_by_representation": {"pose": 2}}).cells == several.cells


# A grid grows
def test_a_grid_grows_and_keeps_what_is_there():
    begun = AblationConfig(("state",), training={"steps": 10, "settings": {"connectors": ["usb"]}})
    grown = begun.grown(
        {"representations": ["proprio", "state"], "algorithms": ["ppo"], "seeds": 4}
    )
    assert grown.representations == ("state", "proprio")
    assert grown.algorithms == ("dagger", "ppo")
    assert grown.seeds == 4
    assert set(begun.cells) < set(grown.cells)
    assert grown.grown({}) == grown
    assert grown.grown({"seeds": 1, "training": {"settings": {"connectors": ["usb"]}}}) == grown
    own = grown.grown({"algorithms": ["sac"], "training_by_algorithm": {"sac": {"steps": 5}}})
    assert own.training_by_algorithm == {"sac": {"steps": 5}}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"training": {"steps": 11}}, "steps is 11, and was 10"),
        ({"training": {"engine": "warp"}}, "engine is 'warp', and was not given"),
        ({"training": {"settings": {"connectors": ["aux"]}}}, r"connectors is \['aux'\], and was"),
        ({"training_by_algorithm": {"dagger": {"steps": 1}}}, "training of dagger: steps is 1"),
        ({"evaluation": {"episodes": 8}}, "episodes is 8, and was 400"),
    ],
)
def test_policies_that_would_not_compare_are_not_added(asked, expected):
    begun = AblationConfig(("state",), training={"steps": 10, "settings": {"connectors": ["usb"]}})
    with pytest.raises(ValueError, match=expected):
        begun.grown(asked)


# The grids that come with the package
@pytest.mark.parametrize("name", get_args(PresetName))
def test_bundled_grids_are_what_their_files_say(name):
    document = yaml.safe_load((PRESETS / f"{name}.yml").read_text())
    assert preset_grid(name) == AblationConfig.from_json(document)


@pytest.mark.parametrize("name", get_args(PresetName))
def test_bundled_grids_train(name, tmp_path):
    from policies.ablation.cell import train_config

    config = preset_grid(name)
    for representation in config.representations:
        check_representation(representation)
    for cell, held_out in product(config.cells, config.folds):
        training = train_config(Ablation(tmp_path), config, cell, 1, held_out).resolved()
        assert training.representation == cell.representation
        assert (training.start is None) == (cell.start == "scratch")


def test_every_bundled_grid_is_a_preset():
    assert {path.stem for path in PRESETS.glob("*.yml")} == {*get_args(PresetName)}


@pytest.mark.parametrize("track", ["contact", "nominal", "precision", "shift", "transfer"])
def test_the_study_is_a_preset_with_its_bundled_encoders_alone(track):
    published = Ablation(PUBLISHED / track).read_grid()
    first = {group: alike[0] for group, alike in published.encoders.items()}

    def alone(name: str) -> str:
        group, part = split_part(name)
        encoder = first.get(group, group)
        return f"{encoder}:{part}" if part else encoder

    assert {*first.values()} <= {*bundled("encoders")}
    assert preset_grid(f"study-{track}") == replace(
        published,
        representations=tuple(map(alone, published.representations)),
        contrasts=tuple((alone(a), alone(b)) for a, b in published.contrasts),
        encoders={},
        seeds_by_representation={},
        policies=published.policies and "outputs/study-nominal",
    )


# Connectors that are left out, each in turn
def test_policies_learn_without_the_connector_that_is_held_out(tmp_path):
    from policies.ablation.cell import train_config

    name = "encoders/without-{held_out}/pose:touch"
    config = AblationConfig(
        (name,),
        ("dagger", "ppo"),
        ("warm",),
        seeds=1,
        training={"settings": {"connectors": ["aux", "usb", "stud"], "clearance_mm": 0.8}},
        held_out=("usb", "stud"),
    )
    ablation = Ablation(tmp_path)
    dagger, warm = config.cells
    assert config.folds == ("usb", "stud")
    for held_out, others in (("usb", ["aux", "stud"]), ("stud", ["aux", "usb"])):
        training = train_config(ablation, config, warm, 1, held_out)
        assert training.settings == {"connectors": others, "clearance_mm": 0.8}
        assert training.representation == f"encoders/without-{held_out}/pose:touch"
        assert training.start == str(ablation.folder(dagger) / f"without-{held_out}")
    everything = AblationConfig(("state",), held_out=("pin",))
    assert everything.training_of(everything.cells[0], "pin")["settings"] == {
        "connectors": ["aux", "usb", "stud"]
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"held_out": ["rj45"]}, "held_out=.*aux, pin, usb, stud"),
        (
            {"held_out": ["usb"], "training": {"settings": {"connectors": ["usb"]}}},
            "two or more: usb",
        ),
        ({"held_out": ["usb", "pin"], "evaluation": {"episodes": 1}}, "2 or more, one a connector"),
        ({"representations": ["without-{held_out}"]}, "needs held_out"),
        ({"policies": "x", "training": {"steps": 5}}, "trains none.*leave out steps"),
        ({"policies": "x", "held_out": ["usb"]}, "leave out held_out"),
    ],
)
def test_what_cannot_be_held_out_or_evaluated_is_refused(fields, expected):
    with pytest.raises(ValueError, match=expected):
        AblationConfig.from_json({"representations": ["state"], **fields})


def test_what_is_held_out_stays_so():
    begun = AblationConfig(("state",), held_out=("usb",))
    assert begun.grown({"seeds": 4}).held_out == ("usb",)
    with pytest.raises(ValueError, match=r"held_out is .*, and was"):
        begun.grown({"held_out": ("pin",)})


# The folder
def test_a_grid_is_read_as_it_was_written(tmp_path):
    ablation = Ablation(tmp_path / "new" / "study")
    assert not ablation.begun
    ablation.write_grid(CONFIG, {"commit": "abc"})
    assert ablation.read_grid() == CONFIG
    # Such a file is itself a grid to begin with.
    document = json.loads((ablation.path / "ablation.json").read_text())
    assert AblationConfig.from_json(document) == CONFIG
    assert document["made"] == {"commit": "abc"}


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    for path in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(ValueError, match="something else"):
            Ablation(path).require_own()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "holds no ablation.json"),
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ("[" * 200_000, "is not JSON"),
        (
            '{"format": "vtinsert-ablation", "version": 1, "representations": ["a"], "seeds": '
            "1000000000}",
            "too large",
        ),
        ('{"format": "vtinsert-training"}', 'no "format"'),
        ('{"format": "vtinsert-ablation", "version": 9}', "version 9"),
        ('{"format": "vtinsert-ablation", "version": 1}', "needs representations"),
    ],
)
def test_a_folder_that_cannot_be_read_is_named(text, expected, tmp_path):
    if text is not None:
        (tmp_path / "ablation.json").write_text(text)
    with pytest.raises(ValueError, match=expected) as refused:
        Ablation(tmp_path).read_grid()
    assert str(tmp_path) in str(refused.value)


def test_a_cell_is_what_its_files_say(tmp_path):
    ablation = Ablation(tmp_path)
    assert ablation.state(STATE) == "missing"
    ablation.write_failure(STATE, "ValueError: no", "Traceback\n...")
    assert ablation.state(STATE) == "failed"
    assert ablation.read_failure(STATE) == "ValueError: no"
    document = json.loads((ablation.folder(STATE) / FAILED_FILE).read_text())
    assert document == {
        "representation": "state",
        "algorithm": "dagger",
        "start": "scratch",
        "seed": 0,
        "error": "ValueError: no",
        "traceback": "Traceback\n...",
    }
    ablation.forget_failure(STATE)
    assert ablation.state(STATE) == "missing"
    finish(ablation, STATE)
    assert ablation.state(STATE) == "done"


def test_the_table_of_all_episodes_has_those_of_cells_that_are_done(tmp_path):
    ablation = Ablation(tmp_path)
    ablation.write_episodes(CONFIG.cells)
    assert not (tmp_path / EPISODES_FILE).exists()
    for cell in CONFIG.cells[::2]:
        finish(ablation, cell)
    ablation.write_episodes(CONFIG.cells)
    with (tmp_path / EPISODES_FILE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [(cell.representation, str(cell.seed)) for cell in CONFIG.cells[::2]]
    assert [(row["representation"], row["seed"]) for row in rows] == expected


# In which order cells run
def test_cells_wait_for_what_they_start_from(tmp_path):
    ablation = Ablation(tmp_path)
    config = AblationConfig(("state",), ("ppo", "dagger"), ("scratch", "warm"), 1)
    scratch, warm, dagger = config.cells
    status = GridStatus.of(ablation, config)
    assert status.ready() == scratch
    status.states[scratch] = "running"
    assert status.ready() == dagger
    status.states[dagger] = "running"
    assert status.ready() is None
    status.states[dagger] = "done"
    assert status.ready() == warm


def test_what_has_nothing_to_start_from_is_blocked_and_no_more(tmp_path):
    ablation = Ablation(tmp_path)
    config = AblationConfig(("state", "proprio"), ("dagger", "ppo"), ("warm",), 1)
    ablation.write_failure(STATE, "ValueError: no")
    status = GridStatus.of(ablation, config)
    assert status.errors == {STATE: "ValueError: no"}
    assert status.cells("blocked") == [Cell("state", "ppo", "warm", 0)]
    assert len(status.cells("waiting")) == 2


class InOrder:
    """What runs cells that need no training: what a cell leaves is there at once.

    Args:
        failing: Cells that die, by name, and how.
        interrupt_at: The cell in which Ctrl-C is pressed, counted from 1.
        elsewhere: Whether cells are done on a node that does not share the folder.
    """

    def __init__(self, failing=None, interrupt_at: int = 0, elsewhere: bool = False) -> None:
        self.failing = failing or {}
        self.interrupt_at = interrupt_at
        self.elsewhere = elsewhere
        self.started: list[str] = []
        self.interrupted = False

    def submit(self, command, log) -> Future[str]:
        ablation = Ablation(command[-2])
        about = json.loads(command[-1])
        cell = Cell(**{name: about[name] for name in asdict(STATE)})
        self.started.append(cell.name)
        if len(self.started) == self.interrupt_at:
            raise KeyboardInterrupt
        done: Future[str] = Future()
        done.set_result(self.failing.get(cell.name, ""))
        if not self.elsewhere and cell.name not in self.failing:
            finish(ablation, cell)
        return done

    def interrupt(self) -> None:
        self.interrupted = True

    @property
    def executor(self) -> Executor:
        return Executor(1, self.submit, self.interrupt)


def run(ablation: Ablation, config: AblationConfig, cells: InOrder) -> GridStatus:
    if not ablation.begun:
        ablation.write_grid(config, {})
    status = GridStatus.of(ablation, config)
    run_grid(ablation, status, cells.executor, threads=1)
    return status


def test_one_cell_that_dies_does_not_keep_the_others_from_running(tmp_path):
    ablation = Ablation(tmp_path)
    executor = InOrder({STATE.name: "its process was ended by SIGKILL"})
    status = run(ablation, CONFIG, executor)
    assert status.cells("failed") == [STATE]
    assert status.cells("blocked") == [Cell("state", "ppo", "warm", 0)]
    assert len(status.cells("done")) == len(CONFIG.cells) - 2
    assert "SIGKILL" in ablation.read_failure(STATE)
    # Again: nothing is done twice, and the failure stands.
    executor = InOrder()
    run(ablation, CONFIG, executor)
    assert executor.started == []
    # Tried again, it and what waited for it are done.
    ablation.forget_failure(STATE)
    status = run(ablation, CONFIG, executor)
    assert executor.started == [STATE.name, Cell("state", "ppo", "warm", 0).name]
    assert status.cells("done") == list(CONFIG.cells)


def test_a_failure_that_could_not_be_written_down_is_not_pointed_to(tmp_path, capsys):
    ablation = Ablation(tmp_path)
    path = "outputs/some/where/pose/encoder"
    config = AblationConfig((path, "state"), seeds=1)
    cell = config.cells[0]
    ablation.write_grid(config, {})
    blocked = ablation.folder(cell).parents[1]
    blocked.parent.mkdir()
    blocked.touch()  # a file where its folder would be
    status = run(ablation, config, InOrder({cell.name: "its process was ended by SIGKILL"}))
    assert show_results(ablation, status) == 1
    shown = capsys.readouterr().out
    assert "failed: pose, dagger, seed 0: its process was ended by SIGKILL" in shown
    assert "failed.json" not in shown
    assert f"vtinsert ablate --output {tmp_path} --retry" in shown


def test_an_interruption_goes_to_the_cells_and_keeps_what_is_done(tmp_path):
    ablation = Ablation(tmp_path)
    executor = InOrder(interrupt_at=3)
    with pytest.raises(KeyboardInterrupt):
        run(ablation, CONFIG, executor)
    assert executor.interrupted
    assert len(GridStatus.of(ablation, CONFIG).cells("done")) == 2
    executor = InOrder()
    run(ablation, CONFIG, executor)
    assert len(executor.started) == len(CONFIG.cells) - 2


def test_a_cell_whose_files_are_elsewhere_says_so(tmp_path):
    status = run(Ablation(tmp_path), AblationConfig(("state",), seeds=1), InOrder(elsewhere=True))
    assert "every node must see this folder" in status.errors[STATE]
