"""`vtinsert doctor`: what works here, and what to do about what does not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from platformdirs import user_cache_path
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vtenv import provenance

Status = Literal["ok", "missing", "broken"]

_COLOURS = {"ok": "green", "missing": "yellow", "broken": "red"}
_TIMEOUT = 180
"""Seconds that a check may take; the first one compiles the sensors and settles the grasps."""

_EXTRAS = {
    "contrib": "the algorithms TQC and RecurrentPPO",
    "docs": "this project's pages",
    "onnx": "encoders that are faster on a CPU",
    "pretrain": "training encoders",
    "probe": "what encoders know",
    "ray": "ablation grids and data generation on a cluster",
    "report": "an ablation's page",
    "warp": "thousands of worlds on one GPU",
}
"""What each extra is for."""

_BACK_ENDS = {
    "linux": {
        "egl": "apt-get install libegl1 libopengl0 libgl1-mesa-dri; with NVIDIA's driver, which "
        "brings its own EGL, the first two; in a container also "
        "NVIDIA_DRIVER_CAPABILITIES=all",
        "osmesa": "apt-get install libosmesa6; not needed where egl works",
        "glfw": "run on a desktop, or put xvfb-run in front of the command; only `vtinsert view` "
        "and render_mode='human' need a display",
    },
    "darwin": {"cgl": "log in at the screen", "glfw": "log in at the screen"},
    "win32": {"wgl": "install the graphics driver of the card's maker"},
}
"""By platform, the rendering back ends (values of MUJOCO_GL) and how to get each."""

_REINSTALL = "reinstall with `uv sync --reinstall`; if that is no help, report what it says"

_TRY_ENGINE = """
import gymnasium, vtenv
env = gymnasium.make("VTInsert-v0")
env.reset(seed=0)
observation, *_ = env.step(env.action_space.sample())
print("resets, steps and senses", ", ".join(observation))
"""
_TRY_BACK_END = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><light pos='0 0 3'/><geom size='1'/></worldbody></mujoco>"
)
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 32, 32)
renderer.update_scene(data)
if not renderer.render().any():
    raise SystemExit("it draws nothing but black")
from OpenGL import GL
print(GL.glGetString(GL.GL_RENDERER).decode())
"""
_TRY_PICTURE = """
import sys, gymnasium, vtenv
from vtenv.rendering.opengl import opengl_backend
env = gymnasium.make("VTInsert-v0", render_mode="rgb_array", picture=sys.argv[1])
env.reset(seed=0)
height, width = env.render().shape[:2]
through = f" through {opengl_backend()}" if sys.argv[1] == "scene" else ""
print(f"{width} x {height}{through}")
"""
_TRY_ENCODER_AFTER_PICTURE = """
import gymnasium, vtenv
env = gymnasium.make("VTInsert-v0", render_mode="rgb_array")
env.reset(seed=0)
env.render()
from representation import EncodeObservation
env = EncodeObservation(env, "resnet-pose")
env.reset(seed=0)
env.render()
print("an encoder loaded after a picture was drawn")
"""


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        name: What was looked at.
        status: Whether it works.
        detail: What was found, in a few words.
        remedy: What to do about it if it does not work.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""


def doctor() -> int:
    """Say what works on this machine, and what to do about what does not.

    Tries the engine and the rendering back ends for real, each in a process of its own. The
    exit code is 0 if the environment runs, whatever else is missing.
    """
    with Console(stderr=True).status("Trying the engine and the rendering back ends"):
        engine, rendering = _try_for_real()
    sections = {
        "Machine": _check_machine(),
        "Packages": _check_packages(),
        "Extras": _check_extras(),
        "Engine": [engine],
        "Rendering (for people; observations need none)": rendering,
        "Video": [_check_video()],
        "Cache": [_check_cache()],
    }
    console = Console(highlight=False)
    width = max(len(found.name) for findings in sections.values() for found in findings)
    for title, findings in sections.items():
        console.print(f"[bold]{title}")
        console.print(_table(findings, width + 2))
    if engine.status != "ok":
        console.print(f"[red]The environment does not run here:[/] {engine.remedy}")
        return 1
    console.print("[green]The environment runs here.")
    return 0


def _table(findings: list[Finding], name_width: int) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(width=name_width, no_wrap=True)
    table.add_column(width=7, no_wrap=True)
    table.add_column(overflow="fold")
    for found in findings:
        detail = Text(f"{found.remedy}\n" if found.remedy else "")
        detail.append(found.detail, "dim" if found.remedy else "")
        status = Text(found.status, _COLOURS[found.status])
        table.add_row(Text(f"  {found.name}"), status, detail)
    return table


def _try_for_real() -> tuple[Finding, list[Finding]]:
    """Findings on the engine, and on the rendering back ends and modes."""
    back_ends = _BACK_ENDS.get(sys.platform, _BACK_ENDS["linux"])
    with ThreadPoolExecutor(2) as pool:
        engine = pool.submit(_try, "cpu", _TRY_ENGINE, remedy=_REINSTALL)
        tries = [
            pool.submit(_try, name, _TRY_BACK_END, remedy=remedy, back_end=name)
            for name, remedy in back_ends.items()
        ]
        tries += [
            pool.submit(_try, name, _TRY_PICTURE, picture, remedy=remedy)
            for name, picture, remedy in (
                (
                    "rgb_array",
                    "scene",
                    "get one of the back ends above; everything else runs without",
                ),
                ("sensors", "sensors", "see what the engine above says; this needs no OpenGL"),
            )
        ]
        tries.append(
            pool.submit(
                _try,
                "rgb_array, encoder",
                _TRY_ENCODER_AFTER_PICTURE,
                remedy="where rgb_array works: load the encoder before the first picture, and "
                "report what this says",
            )
        )
        return engine.result(), [future.result() for future in tries]


def _try(
    name: str, code: str, *arguments: str, remedy: str, back_end: str | None = None
) -> Finding:
    """Run Python code in a process of its own; it prints what it found."""
    if back_end == "glfw" and sys.platform == "linux" and not _has_display():
        return Finding(name, "missing", "there is no display", remedy)
    environment = dict(os.environ)
    if back_end is not None:
        environment |= {"MUJOCO_GL": back_end}
        environment.pop("PYOPENGL_PLATFORM", None)
    try:
        result = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return Finding(name, "broken", f"no answer within {_TIMEOUT} s", remedy)
    if result.returncode == 0:
        return Finding(name, "ok", result.stdout.strip())
    if result.returncode < 0:
        return Finding(name, "broken", f"crashed with signal {-result.returncode}", remedy)
    optional = back_end is not None or name.startswith("rgb_array")
    return Finding(name, "missing" if optional else "broken", _last_error(result.stderr), remedy)


def _has_display() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _last_error(stderr: str) -> str:
    """The message of the error that ended a process: what its traceback ends with."""
    if "'NoneType' object has no attribute" in stderr:
        return "its library was not found"  # how PyOpenGL puts it
    for line in reversed(stderr.splitlines()):
        if re.match(r"[\w.]+(Error|Exception|Warning)?: |\S", line):
            return line.strip()
    return "failed without a message"


def _check_machine() -> list[Finding]:
    found = provenance.hardware()
    return [
        Finding("processor", "ok", f"{found['cpu']}, {found['cores']} cores for this process"),
        Finding("memory", "ok", f"{found['memory_gib']} GiB"),
        Finding("system", "ok", str(found["platform"])),
    ]


def _check_packages() -> list[Finding]:
    findings = [Finding("python", "ok", f"{provenance.versions()['python']} at {sys.executable}")]
    own = provenance.version(provenance.DISTRIBUTION)
    if own is None:
        findings.append(
            Finding("vtinsert", "missing", "runs uninstalled", "uv sync, or pip install -e .")
        )
    else:
        commit = provenance.commit()
        findings.append(Finding("vtinsert", "ok", f"{own}, commit {commit}" if commit else own))
    for needed in provenance.requirements():
        if not needed.extra:
            findings.append(_check_requirement(needed, "uv sync, or pip install -e ."))
    return findings


def _check_requirement(needed: provenance.Requirement, remedy: str) -> Finding:
    installed = needed.installed
    if installed is None:
        return Finding(needed.name, "missing", "not installed", remedy)
    if not needed.satisfied:
        return Finding(needed.name, "broken", f"{installed} is older than {needed.minimum}", remedy)
    return Finding(needed.name, "ok", installed)


def _check_extras() -> list[Finding]:
    findings = []
    needed = provenance.requirements()
    for extra, purpose in _EXTRAS.items():
        parts = [requirement for requirement in needed if requirement.extra == extra]
        if not parts:
            continue
        if all(part.satisfied for part in parts):
            versions = ", ".join(f"{part.name} {part.installed}" for part in parts)
            findings.append(Finding(extra, "ok", f"{versions}; for {purpose}"))
        else:
            findings.append(Finding(extra, "missing", f"for {purpose}", f"uv sync --extra {extra}"))
    return findings


def _check_video() -> Finding:
    try:
        import imageio_ffmpeg  # type: ignore[import-untyped]

        program = imageio_ffmpeg.get_ffmpeg_exe()
        encoders = subprocess.run(
            [program, "-hide_banner", "-encoders"], capture_output=True, text=True, timeout=30
        ).stdout
        if "libx264" not in encoders:
            return Finding(
                "ffmpeg",
                "broken",
                f"{program} cannot write H.264",
                "unset IMAGEIO_FFMPEG_EXE to use the one that imageio-ffmpeg brings",
            )
        return Finding("ffmpeg", "ok", f"{imageio_ffmpeg.get_ffmpeg_version()} at {program}")
    except (ImportError, RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        return Finding("ffmpeg", "missing", str(error), "pip install imageio-ffmpeg")


def _check_cache() -> Finding:
    folder = user_cache_path("vtinsert")
    banks = list(folder.glob("grasps-*.npz")) if folder.is_dir() else []
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(nearest, os.W_OK):
        return Finding(
            "settled grasps",
            "broken",
            f"{nearest} cannot be written, so every start settles the grasps again",
            "set XDG_CACHE_HOME to a folder of yours",
        )
    kib = sum(path.stat().st_size for path in banks) / 1024
    return Finding("settled grasps", "ok", f"{len(banks)} banks, {kib:.0f} KiB in {folder}")
