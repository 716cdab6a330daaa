from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml
from executor_checks import check_executor
from filelock import FileLock

from policies import cli
from policies.ablation.cell import run_cell
from policies.ablation.display import last_row
from policies.ablation.executors import ray_executor
from policies.ablation.folder import Ablation
from policies.ablation.grid import AblationConfig
from vtenv.run_folder import read_table

# Enough to go through everything, and to learn nothing.
TINY = """\
representations: [state]
algorithms: [dagger, ppo]
starts: [warm]
seeds: 1
training:
  steps: 64
  num_envs: 4
  evaluation_episodes: 2
  settings: {connectors: [usb], clearance_mm: 0.8, max_episode_steps: 10}
training_by_algorithm:
  ppo: {hyperparameters: {n_steps: 16, batch_size: 32, critic_warmup_steps: 0}}
evaluation: {episodes: 3}
"""
DAGGER, WARM = "runs/state/dagger/seed-0", "runs/state/ppo-warm/seed-0"
ALONE = ("--workers", "1", "--threads", "1", "--filmed", "0")


@dataclass
class Shown:
    """What a command came to."""

    code: int
    out: str
    err: str


def ablate(output: Path, *options: str) -> Shown:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(["ablate", "--output", str(output), *ALONE, *options])
    return Shown(code, out.getvalue(), err.getvalue())


def episodes(output: Path) -> list[dict[str, str]]:
    with (output / "episodes.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def times(output: Path) -> dict[str, int]:
    """When each file of a study was last written."""
    files = [path for path in output.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(output)): path.stat().st_mtime_ns for path in files}


@pytest.fixture(scope="module")
def grid(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("grid") / "tiny.yml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def study(grid, tmp_path_factory) -> tuple[Path, list[Shown]]:
    """A study whose first policy fails, is left alone, and is tried again; what was shown."""
    output = tmp_path_factory.mktemp("study") / "study"
    Ablation(output).write_grid(AblationConfig.from_json(yaml.safe_load(TINY)), {})
    broken = output / DAGGER / "config.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    shown = [ablate(output, "--grid", str(grid))]
    failed = json.loads((output / DAGGER / "failed.json").read_text())
    assert "is not JSON" in failed["error"]
    assert failed["traceback"].startswith("Traceback")
    assert failed["traceback"] in (output / DAGGER / "log.txt").read_text()
    assert not (output / WARM).exists()
    before = times(output)
    shown.append(ablate(output))
    assert times(output) == before
    broken.unlink()
    shown.append(ablate(output, "--retry"))
    return output, shown


@pytest.mark.slow
def test_a_policy_that_fails_is_told_and_tried_again_when_asked(study):
    output, (first, second, third) = study
    assert (first.code, second.code, third.code) == (1, 1, 0)
    assert "failed 1 of 2: state, dagger, seed 0: RunFolderError" in first.err
    for shown in (first, second):
        assert "failed: state, dagger, seed 0: RunFolderError" in shown.out
        assert "1 had no policy to start from" in shown.out
        assert str(output / DAGGER / "failed.json") in shown.out
        assert f"vtinsert ablate --output {output} --retry" in shown.out
    assert "done 1 of 2: state, dagger, seed 0: success" in third.err
    assert "done 2 of 2: state, ppo from dagger, seed 0: success" in third.err
    assert "Distilled from the scripted expert" in third.out
    assert "PPO from a warm start" in third.out
    assert f"vtinsert report {output}" in third.out
    assert not list(output.rglob("failed.json"))


@pytest.mark.slow
def test_a_study_holds_its_runs_and_every_episode(study):
    output, _ = study
    assert AblationConfig.from_json(json.loads((output / "ablation.json").read_text())).seeds == 1
    for folder, start in ((DAGGER, None), (WARM, str(output / DAGGER))):
        names = {path.name for path in (output / folder).iterdir()}
        assert {"config.json", "result.json", "best", "policy", "log.txt"} <= names
        config = json.loads((output / folder / "config.json").read_text())
        assert config["start"] == start
        assert config["representation"] == "state"
    rows = episodes(output)
    assert [row["episode"] for row in rows] == ["0", "1", "2"] * 2
    assert [row["algorithm"] for row in rows] == ["dagger"] * 3 + ["ppo"] * 3
    assert [row["start"] for row in rows] == ["scratch"] * 3 + ["warm"] * 3
    assert {row["connector"] for row in rows} == {"usb"}
    assert {row["seed"] for row in rows} == {"0"}
    # Every policy is judged by the same episodes, which are none of those it was selected by.
    seeds = [int(row["episode_seed"]) for row in rows]
    assert seeds[:3] == seeds[3:]
    assert min(seeds) >= 1_000_000
    assert max(seeds) < 2_000_000


@pytest.mark.slow
def test_what_is_done_is_not_done_again(study, grid):
    output, _ = study
    before = times(output)
    del before["episodes.csv"]  # is put together anew, and comes out the same
    rows = episodes(output)
    assert ablate(output, "--grid", str(grid)).code == 0
    after = times(output)
    del after["episodes.csv"]
    assert after == before
    assert episodes(output) == rows


@pytest.mark.slow
def test_a_row_that_is_trained_again_comes_to_the_same(study, tmp_path):
    published, _ = study
    output = tmp_path / "row"
    command = ("--row", "state/ppo-warm", "--published", str(published))
    shown = ablate(output, *command)
    assert shown.code == 0, shown.err
    assert "state/ppo-warm: the result lies inside the published interval." in shown.out
    # On one machine policies are the same, to the bit.
    assert episodes(output) == episodes(published)
    document = json.loads((output / "row.json").read_text())
    assert document["verdict"] == "inside"
    assert document["settings"] == {}
    assert document["difference"]["value"] == 0
    assert document["here"]["success"] == document["published"]["success"]
    # Whatever goes on with the folder says so again, and trains nothing.
    before = times(output / "runs")
    for options in ((), command):
        again = ablate(output, *options)
        assert again.code == 0, again.err
        assert again.out == shown.out
    assert times(output / "runs") == before
    # Another row is refused there.
    other = ablate(output, "--row", "state/dagger", "--published", str(published))
    assert other.code == 2
    assert "holds something else than the row state/dagger" in other.err


@pytest.mark.slow
def test_policies_of_another_ablation_are_evaluated_and_not_trained(study, tmp_path):
    trained, _ = study
    grid = {
        "policies": str(trained),
        "representations": ["state"],
        "algorithms": ["dagger", "ppo"],
        "starts": ["warm"],
        "seeds": 1,
        "evaluation": {"condition": "connectors-0.9", "episodes": 4},
    }
    (tmp_path / "grid.json").write_text(json.dumps(grid))
    before = times(trained)
    shown = ablate(tmp_path / "shift", "--grid", str(tmp_path / "grid.json"))
    assert shown.code == 0, shown.err
    assert times(trained) == before
    rows = episodes(tmp_path / "shift")
    # The default's four connectors, where the policies have learned one.
    assert [row["connector"] for row in rows].count("pin") == 2
    assert not (tmp_path / "shift" / DAGGER / "policy").exists()
    (tmp_path / "grid.json").write_text(json.dumps({**grid, "representations": ["proprio"]}))
    shown = ablate(tmp_path / "other", "--grid", str(tmp_path / "grid.json"))
    assert shown.code == 2
    assert "lacks policies of 2 of 2 cells, such as proprio, dagger, seed 0" in shown.err


@pytest.mark.slow
def test_each_connector_is_left_out_in_turn_and_played_alone(tmp_path):
    grid = yaml.safe_load(TINY) | {"held_out": ["usb", "stud"], "evaluation": {"episodes": 5}}
    grid["training"]["settings"] = {"connectors": ["usb", "stud"], "clearance_mm": 0.8}
    grid["training_by_algorithm"]["dagger"] = {"steps": 10**9}  # which an option changes
    (tmp_path / "grid.json").write_text(json.dumps(grid))
    output = tmp_path / "study"
    shown = ablate(output, "--grid", str(tmp_path / "grid.json"), "--steps", "32")
    assert shown.code == 0, shown.err
    assert "done 2 of 2: state, ppo from dagger, seed 0: success" in shown.err
    for folder in (DAGGER, WARM):
        for held_out, others in (("usb", ["stud"]), ("stud", ["usb"])):
            run = output / folder / f"without-{held_out}"
            config = json.loads((run / "config.json").read_text())
            assert config["settings"]["connectors"] == others
            assert config["steps"] == 32
            with (run / "evaluations.csv").open(newline="") as file:
                columns = next(csv.reader(file))
            assert f"success_{held_out}" not in columns
            if folder == WARM:
                assert config["start"] == str(output / DAGGER / f"without-{held_out}")
    rows = episodes(output)
    assert [row["connector"] for row in rows] == ["usb", "usb", "usb", "stud", "stud"] * 2
    assert [row["episode"] for row in rows] == ["0", "1", "2", "3", "4"] * 2
    assert cli.main(["report", str(output)]) == 0


@pytest.fixture
def nodes(monkeypatch):
    """Two nodes of one CPU each, of a Ray cluster at RAY_ADDRESS, all on this machine."""
    # Ray gives its processes 15 s to start: too few to compile all they import every time.
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="needs the extra ray")
    head = {"num_cpus": 0, "include_dashboard": False}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    try:
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        yield [cluster.add_node(num_cpus=1) for _ in range(2)]
    finally:
        cluster.shutdown()


def lose_node_of_cell(nodes) -> None:
    """Kill all that runs on the node where a cell runs, as where its power fails."""
    for node in nodes:
        (raylet,) = node.all_processes["raylet"]
        top = psutil.Process(raylet.process.pid)
        processes = [top, *top.children(recursive=True)]
        if any("policies.ablation.cell" in process.cmdline() for process in processes):
            for process in processes:
                process.kill()
            return
    raise AssertionError("the cell runs on no node")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ray's clusters are experimental there")
def test_a_policy_goes_on_on_another_node_of_ray_where_its_own_is_lost(nodes, tmp_path):
    fields = yaml.safe_load(TINY) | {"algorithms": ["ppo"], "starts": ["scratch"]}
    fields["training"] |= {"steps": 768, "evaluate_every": 768, "checkpoint_every": 64}
    config = AblationConfig.from_json(fields)
    (tmp_path / "grid.json").write_text(json.dumps(fields))
    alone = Ablation(tmp_path / "alone")
    alone.write_grid(config, {})
    (cell,) = config.cells
    there = Ablation(tmp_path / "study").folder(cell)
    first_rows = []

    def lose_in_the_middle():
        while not any(there.glob("checkpoints/[0-9]*")):
            time.sleep(0.01)
        lose_node_of_cell(nodes)
        first_rows.append(read_table(there / "metrics.csv")[0])

    with ray_executor(workers=2, threads=1) as executor:
        check_executor(executor, tmp_path)
        watching = threading.Thread(target=lose_in_the_middle, daemon=True)
        watching.start()
        # A Ray that is there is used, and left running.
        options = ("--grid", str(tmp_path / "grid.json"), "--executor", "ray")
        shown = ablate(tmp_path / "study", *options)
        assert shown.code == 0, shown.err
        assert sys.modules["ray"].is_initialized()
    assert not sys.modules["ray"].is_initialized()
    watching.join()
    # With the times of what was trained on the lost node: it was not begun anew.
    assert first_rows == read_table(there / "metrics.csv")[:1]
    run_cell(alone, cell, threads=1, filmed=0)
    for name in ("policy/policy.safetensors", "episodes.csv"):
        assert (there / name).read_bytes() == (alone.folder(cell) / name).read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C of a process group")
def test_an_interruption_loses_nothing_and_says_how_to_go_on(tmp_path):
    output = tmp_path / "study"
    grid = yaml.safe_load(TINY) | {"algorithms": ["dagger"], "starts": ["scratch"]}
    del grid["training_by_algorithm"]
    grid["training"]["steps"] = 100_000
    (tmp_path / "grid.json").write_text(json.dumps(grid))
    command = [sys.executable, "-m", "policies.cli", "ablate", "--output", str(output), *ALONE]
    process = subprocess.Popen(
        [*command, "--grid", str(tmp_path / "grid.json")],
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        # A shell's background jobs ignore it, and so would this one under theirs.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    begun = output / DAGGER / "evaluations.csv"
    while not last_row(begun):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, shown = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in shown
    assert "0 of 1 policies are done, and nothing is lost" in shown
    assert f"vtinsert ablate --output {output}" in shown
    log = (output / DAGGER / "log.txt").read_text()
    assert "Stopped at step" in log
    (checkpoint,) = (output / DAGGER / "checkpoints").iterdir()
    assert f"{int(checkpoint.name):,}" in log
    assert not (output / DAGGER / "failed.json").exists()


# What is said at once
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "--preset, --grid, --row or --representations is needed"),
        (("--preset", "quick", "--grid", "x.yml"), "only one can be given"),
        (("--grid", "no/such/file.yml"), "no/such/file.yml"),
        (("--representations", "stat"), "unknown representation 'stat'"),
        (("--representations", "state", "--algorithms", "pppo"), "ppo"),
        (("--representations", "state", "--algorithms", "ppo", "--starts", "warm"), "add dagger"),
        (("--representations", "state", "--seeds", "0"), "at least 1"),
        (("--representations", "state", "--steps", "-5"), "steps=-5"),
        (("--representations", "state", "--clearance-mm", "9"), "0.03 to 2"),
        (("--representations", "state", "--condition", "moon"), "'moon'"),
        (("--representations", "state", "--workers", "0"), "workers=0"),
        (("--representations", "state", "--filmed", "-1"), "filmed=-1"),
        (
            ("--representations", "state", "--algorithms", "sac", "dagger", "--starts", "warm"),
            "sac cannot go on from a policy of dagger",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(options, expected, tmp_path, capsys):
    output = tmp_path / "study"
    assert cli.main(["ablate", "--output", str(output), *options]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("vtinsert ablate: ")
    assert shown.count("\n") == 1
    assert expected in shown
    assert not output.exists()


@pytest.mark.parametrize("text", ["- state\n", "representations: [\n", "representation: [state]\n"])
def test_a_file_that_is_no_grid_is_refused(text, tmp_path, capsys):
    path = tmp_path / "grid.yml"
    path.write_text(text)
    assert cli.main(["ablate", "--grid", str(path), "--output", str(tmp_path / "study")]) == 2
    assert capsys.readouterr().err.startswith("vtinsert ablate: ")


def test_two_commands_do_not_work_in_one_folder(tmp_path, capsys):
    with FileLock(tmp_path / ".lock"):
        arguments = ["--representations", "state", "--output", str(tmp_path)]
        assert cli.main(["ablate", *arguments]) == 2
    assert "another process is writing" in capsys.readouterr().err


def test_the_last_row_of_a_table_is_found_while_it_grows(tmp_path):
    path = tmp_path / "metrics.csv"
    assert last_row(path) == {}
    path.write_text("steps,success\n")
    assert last_row(path) == {}
    path.write_text("steps,success\n" + "".join(f"{i},0.5\n" for i in range(5000)))
    assert last_row(path) == {"steps": "4999", "success": "0.5"}
