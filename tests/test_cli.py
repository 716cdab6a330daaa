import dataclasses
import importlib
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from packaging.requirements import Requirement

from policies import cli
from policies.worlds import DEFAULT_TASK, setting_names
from vtenv import provenance
from vtenv.atomic_write import atomic_write

ROOT = Path(__file__).parents[1]


def run_python(code, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def options_of(name):
    """Options of a command by subcommand; by the empty name for a command that has none."""
    module = importlib.import_module(f"policies.commands.{name}")
    groups = {"": cli.load_command(name)}
    if hasattr(module, "What"):
        groups = {config.name: kind for kind, config in map(get_args, get_args(module.What))}
    return {subcommand: set(_options(group)) for subcommand, group in groups.items()}


def _options(group):
    hints = get_type_hints(group, include_extras=True)
    defaults = {p.name: p.default for p in inspect.signature(group).parameters.values()}
    nested = {n: type(d) for n, d in defaults.items() if dataclasses.is_dataclass(d)} | {
        f.name: f.default_factory for f in getattr(group, "__dataclass_fields__", {}).values()
    }
    for parameter in inspect.signature(group).parameters.values():
        inner = nested.get(parameter.name) or hints.get(parameter.name)
        inner = next(iter(get_args(inner)), inner)
        if dataclasses.is_dataclass(inner):
            yield from _options(inner)
        elif not re.search("Positional|Suppress", str(parameter.annotation)):
            yield "--" + parameter.name.removesuffix("_path").replace("_", "-")


def test_without_arguments_it_shows_the_help(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main([])
    assert exit_.value.code == 0
    assert "benchmark" in capsys.readouterr().out


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_its_summary_and_its_help(name, capsys):
    command = cli.load_command(name)
    assert inspect.getdoc(command).splitlines()[0] == cli.COMMANDS[name]
    for subcommand, options in options_of(name).items():
        with pytest.raises(SystemExit) as exit_:
            cli.main([name, *filter(None, [subcommand]), "--help"])
        assert exit_.value.code == 0
        shown = capsys.readouterr().out
        assert all(option in shown for option in options)
        assert not re.search(r"\bNone\b|default: \)", shown)


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "expert", "--nonsense", "1"],
        ["train", "--representatoin", "state"],
        ["dmeo"],
        ["demo", "--episodes", "many"],
    ],
)
def test_what_it_cannot_parse_is_said_on_stderr(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert arguments[-2] in captured.err if len(arguments) > 1 else arguments[0] in captured.err
    assert not captured.out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["demo", "--clearance-mm", "9"], "0.03 to 2"),
        (["demo", "--episodes", "0"], "1 or more"),
        (["demo", "--filmed", "-1"], "0 or more"),
        (["demo", "--connectors", "hdmi"], "aux, pin, usb, stud"),
        (["demo", "--policy", "nobody"], "neither a bundled policy"),
        (["view", "--clearance-mm", "9"], "0.03 to 2"),
        (["benchmark", "--image-size", "4"], "8 to 512"),
        (["benchmark", "--json", "no/such/folder/x.json"], "no/such/folder"),
        (["report", ".", "--audits", "no/such/folder"], "there is no no/such/folder"),
        (["touch", "calibrate", "a.csv", "--background", "b.png"], "a.csv: No such file"),
    ],
)
def test_what_is_not_allowed_is_said_in_one_line(arguments, expected, capsys):
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith(f"vtinsert {arguments[0]}: ")
    assert expected in captured.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["demo", "--clearence-mm", "1"], "did you mean clearance_mm"),
        (["train", "--task", "VTInsrt-v0", "--reward", "sparse"], "Did you mean: `VTInsert`"),
        (["train", "--representation", "resnet-poes"], "did you mean resnet-pose"),
        (["evaluate", "resnet-dynamic"], "did you mean resnet-dynamics"),
        (
            ["train", "--connectors", "hdmi"],
            "unknown connector 'hdmi'; choose of aux, pin, usb, stud",
        ),
    ],
)
def test_a_name_that_is_unknown_is_told_the_nearest(arguments, expected, capsys):
    assert cli.main(arguments) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["train", "--steps", "0"], ["evaluate", "x", "--filmed=-1"]])
def test_a_configuration_that_is_not_allowed_is_refused_by_the_parser(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2
    assert "is not allowed" in capsys.readouterr().err


def test_the_help_beside_a_task_lists_its_settings(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--task", DEFAULT_TASK, "--help"])
    shown = capsys.readouterr().out
    assert all(option in shown for option in setting_names(DEFAULT_TASK, options=True))
    assert "(default: each connector's own fit)" in shown.replace("\n     ", "")
    assert "None" not in shown


def test_help_and_refusals_load_nothing_heavy():
    code = """
import contextlib, sys
from policies.cli import COMMANDS, main
helps = [[name, "--help"] for name in COMMANDS]
refused = [
    ["pretrain"],
    ["train", "--representation", "nope"],
    ["probe", "nope"],
    ["ablate", "--representations", "nope"],
    ["report", "no/such/folder"],
]
live = ["pretrain", "--live", "cpu", "--objective"]
values = [
    ["ablate", "--workers", "0"],
    ["ablate", "--preset", "quick", "--connectors", "nope"],
    ["ablate", "--preset", "quick", "--task", "nope"],
    ["ablate", "--representations", "state", "--algorithms", "json:nothing"],
    ["audit", "--policies", "json:nothing"],
    ["audit", "--track", "nope"],
    ["benchmark", "--encoders", "nope"],
    ["dataset", "experience", "--connectors", "nope"],
    ["demo", "--connectors", "nope"],
    ["evaluate", "resnet-pose", "--connectors", "nope"],
    ["evaluate", "resnet-pose", "--conditions", "track-nope"],
    ["evaluate", "json:nothing"],
    ["pretrain", "--data", "no/such/folder", "--objective", "pose"],
    ["pretrain", "--resume", "--output", "no/such/folder"],
    [*live, "nope"],
    [*live, "json:nothing"],
    [*live, "pose", "--augment", "nope"],
    [*live, "pose", "--backbone", "resnet19"],
    [*live, "pose", "--start", "nope"],
    ["probe", "resnet-pose", "--rows", "3"],
    ["probe", "resnet-pose", "--data", "no/such/folder"],
    ["probe", "json:nothing"],
    ["probe", "random:nope"],
    ["train", "--algorithm", "json:nothing"],
    ["train", "--connectors", "nope"],
    ["train", "--representation", "json:nothing"],
    ["train", "--resume", "--output", "no/such/folder"],
    ["train", "--set", "nope=1"],
    ["train", "--start", "no/such/folder"],
]
presets = [
    ["pretrain", "--preset", "control-resnet-pose", "--help"],
    ["ablate", "--preset", "quick", "--help"],
]
light = [["--help"], *helps, ["dataset", "experience", "--help"], *presets, *refused]
for arguments in [*light, *values]:
    with contextlib.suppress(SystemExit):
        assert main(arguments) == 2, arguments
    heavy = {"torch", "timm"} if arguments in values else {"torch", "mujoco", "numba", "cv2"}
    heavy |= {"gymnasium", "numpy"} if arguments in light else set()
    assert not heavy & sys.modules.keys(), (arguments, heavy & sys.modules.keys())
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("no/such/folder") == 6
    assert all(name in result.stdout for name in cli.COMMANDS)


def test_the_version_is_said(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("vtinsert")


def test_view_says_that_it_needs_a_display(monkeypatch, capsys):
    if sys.platform != "linux":
        pytest.skip("displays are named by environment variables on Linux only")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert cli.main(["view"]) == 2
    assert "display" in capsys.readouterr().err


def test_an_interruption_within_a_callback_from_c_is_not_lost():
    code = """
import ctypes, signal, sys, time
from policies import cli
try:
    with cli._signals_as_interruption():
        ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(signal.SIGTERM))()
        time.sleep(60)
except KeyboardInterrupt:
    sys.exit(130)
"""
    result = run_python(code)
    assert (result.returncode, result.stderr) == (130, "")


def test_a_reader_that_goes_away_is_no_error():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "policies.cli", "--help"]
    result = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert result.stderr == ""


def test_the_page_of_commands_names_options_that_there_are():
    page = (ROOT / "docs" / "commands.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert sections.keys() == cli.COMMANDS.keys()
    for name, section in sections.items():
        options = set().union(*options_of(name).values())
        mentioned = set(re.findall(r"(?:^\| |, )`(--[\w-]+)`", section, re.MULTILINE))
        if "settings" in inspect.signature(cli.load_command(name)).parameters:
            of_the_task = set(setting_names(DEFAULT_TASK, options=True))
            mentioned, options = mentioned - of_the_task, options - of_the_task
        assert mentioned <= options
        assert not mentioned or mentioned | {"--seed", "--task"} >= options


def commands_of(page):
    """Words after `vtinsert` in a page's commands that stand there as they are given."""
    for block in re.findall(r"^```bash\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(r"(?:uv run )?vtinsert (?!.*[$])([^|&>]*)", line)
            if found and "mine:" not in line:  # a reader's own module; run by another test
                yield shlex.split(found[1], comments=True)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_commands_in_pages_are_understood(name):
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    commands = [given for page in pages for called, *given in commands_of(page) if called == name]
    # One of each choice of options; --row without a name lists the rows as an error does.
    different = {frozenset(word for word in given if word[:2] == "--"): given for given in commands}
    assert different
    for given in different.values():
        assert given == ["--row"] or callable(cli.parse(name, given))


@pytest.mark.slow
def test_doctor_names_versions_and_finds_that_the_environment_runs(capsys):
    assert cli.main(["doctor"]) == 0
    shown = capsys.readouterr().out
    for name, version in provenance.versions().items():
        assert name in shown
        assert version in shown
    for name in (
        "Rendering",
        "sensors",
        "rgb_array, encoder",
        "ffmpeg",
        "settled grasps",
        "The environment runs here",
    ):
        assert name in shown


def test_doctor_takes_a_busy_machine_for_what_it_may_be():
    doctor = importlib.import_module("policies.commands.doctor")
    found = doctor._try("cpu", "import time; time.sleep(60)", doctor._REINSTALL, timeout=0.1)
    assert (found.status, found.detail) == ("broken", "no answer within 0.1 s")
    assert found.remedy.startswith("try again when the machine is less busy; if that is no help")


def test_doctor_says_which_extra_to_install(monkeypatch):
    doctor = importlib.import_module("policies.commands.doctor")
    needed = Requirement("no-such-distribution>=1.0")
    monkeypatch.setattr(provenance, "requirements", lambda extra: [needed] * (extra == "warp"))
    (found,) = doctor._check_extras()
    assert (found.status, found.remedy) == ("missing", "uv sync --extra warp")


def test_requirements_are_those_of_the_project():
    always, warp = ({one.name for one in provenance.requirements(e)} for e in ("", "warp"))
    assert "mujoco" in always and "mujoco-warp" in warp and not always & warp


@pytest.mark.parametrize(("line", "satisfied"), [("", True), (">=0.1", True), (">=99.0.1", False)])
def test_a_version_that_is_too_old_does_not_satisfy(line, satisfied):
    assert provenance.satisfied(Requirement(f"mujoco{line}")) is satisfied


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("before")
    with pytest.raises(RuntimeError, match="half way"), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("half way")
    assert path.read_text() == "before"
    with atomic_write(path) as temporary:
        temporary.write_text("after")
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]
