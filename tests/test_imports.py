"""Which package may import which, and what importing the world costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import vtenv

ROOT = Path(__file__).parents[1]
# From the innermost outwards: a package imports those before it, and never those after it.
LAYERS = ("vtenv", "representation", "policies", "scripts")
# What the world must do without, in any of its modules: `pip install` brings them, but an
# import takes seconds, and a worker process that only simulates would hold them in memory.
HEAVY = ("torch", "timm", "stable_baselines3")


def imported_packages(source: str) -> set[str]:
    """Top-level packages that a module imports, inside functions too."""
    packages = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            packages.add(node.module.split(".")[0])
    return packages


def test_imports_are_found_wherever_they_stand():
    source = """
import numpy as np, vtenv.tasks.insertion.task
from policies.cli import main
from . import neighbour
def lazy():
    import representation.probe
    if True:
        from torch.nn import Linear
"""
    expected = {"numpy", "vtenv", "policies", "representation", "torch"}
    assert imported_packages(source) == expected


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_run_one_way(layer):
    outer = set(LAYERS[LAYERS.index(layer) + 1 :]) | {"tests"}
    sources = sorted((ROOT / layer).rglob("*.py"))
    assert sources or layer == "scripts", f"{layer} has moved"
    wrong = {
        str(path.relative_to(ROOT)): sorted(found)
        for path in sources
        if (found := imported_packages(path.read_text(encoding="utf-8")) & outer)
    }
    assert wrong == {}


def test_representation_does_not_open_the_simulator():
    """It turns arrays into encoders; what makes the arrays is the world's business."""
    sources = sorted((ROOT / "representation").rglob("*.py"))
    users = [
        path.name
        for path in sources
        if "mujoco" in imported_packages(path.read_text(encoding="utf-8"))
    ]
    assert users == []


def modules_after(statement: str) -> set[str]:
    """Top-level packages loaded after a statement, in a process of its own."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import vtenv",
        # And not when it is used, either.
        "import gymnasium\n"
        "env = gymnasium.make('vtenv:VTInsert-v0')\n"
        "env.reset(seed=0)\n"
        "env.step(env.action_space.sample())\n"
        "env.close()",
    ],
    ids=["import", "make, reset and step"],
)
def test_the_world_does_not_import_what_learns(statement):
    loaded = modules_after(statement)
    assert {"vtenv", "gymnasium"} <= loaded
    assert loaded.isdisjoint(HEAVY)


def test_importing_the_world_registers_it_and_little_else():
    """A registry's entry is a name: MuJoCo's engine and the compiler wait until it is made."""
    loaded = modules_after("import vtenv, gymnasium; assert 'VTInsert-v0' in gymnasium.registry")
    assert loaded.isdisjoint({"mujoco", "numba", "imageio", "cv2"})


def test_what_is_imported_when_asked_for_is_all_there():
    names = "CONNECTOR_NAMES, DomainRandomizationConfig, InitialStateRanges"
    assert "mujoco" in modules_after(f"from vtenv import {names}, ENV_ID, provenance")
    assert sorted(vtenv.__all__) == sorted(name for name in vtenv.__all__ if hasattr(vtenv, name))
    with pytest.raises(AttributeError, match="no attribute 'CONNECTORS'"):
        vtenv.CONNECTORS  # noqa: B018
