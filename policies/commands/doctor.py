"""`vtinsert doctor`: what works here, and what to do about what does not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from packaging.requirements import Requirement
    from rich.console import Console

_COLOURS = {"ok": "green", "missing": "yellow", "broken": "red"}
_TIMEOUT, _FIRST_TIMEOUT = 180, 600
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
    "video": "gymnasium.wrappers.RecordVideo",
    "zoo": "our hyperparameters in rl-zoo",
}
"""What each extra is for."""

_EGL = (
    "apt-get install libegl1 libopengl0 libgl1-mesa-dri; with NVIDIA's driver, which brings its "
    "own EGL, the first two; in a container also NVIDIA_DRIVER_CAPABILITIES=all"
)
_GLFW = (
    "run on a desktop, or put xvfb-run in front of the command; only `vtinsert view` and "
    "render_mode='human' need a display"
)
_BACK_ENDS = {
    "darwin": {"cgl": "log in at the screen", "glfw": "log in at the screen"},
    "win32": {"wgl": "install the graphics driver of the card's maker"},
}.get(
    sys.platform,
    {
        "egl": _EGL,
        "osmesa": "apt-get install libosmesa6; not needed where egl works",
        "glfw": _GLFW,
    },
)
"""The platform's rendering back ends (values of MUJOCO_GL) and how to get each."""

_INSTALL = "uv sync, or pip install -e ."
_BUSY = "try again when the machine is less busy; if that is no help, "
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
picture = "sensors" if sys.argv[1] == "sensors" else "scene"
env = gymnasium.make("VTInsert-v0", render_mode="rgb_array", picture=picture)
env.reset(seed=0)
height, width = env.render().shape[:2]
through = f" through {opengl_backend()}" if picture == "scene" else ""
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


_MODES = {
    "rgb_array": (_TRY_PICTURE, "get one of the back ends above; everything else runs without"),
    "sensors": (_TRY_PICTURE, "see what the engine above says; this needs no OpenGL"),
    "rgb_array, encoder": (
        _TRY_ENCODER_AFTER_PICTURE,
        "where rgb_array works: load the encoder before the first picture, and report what this "
        "says",
    ),
}
"""Render modes, code that tries each, and what to do if it fails."""


class Finding(NamedTuple):
    """What a check found, in a few words, and what to do about it if it does not work."""

    name: str
    status: Literal["ok", "missing", "broken"]
    detail: str
    remedy: str = ""


def doctor() -> int:
    """Say what works on this machine, and what to do about what does not.

    Tries the engine and the rendering back ends for real, each in a process of its own. The
    exit code is 0 if the environment runs, whatever else is missing.
    """
    from rich.console import Console

    with Console(stderr=True).status("Trying the engine and the rendering back ends"):
        engine, *rendering = _try_for_real()
    sections = {
        "Machine": _check_machine(),
        "Packages": _check_packages(),
        "Extras": _check_extras(),
        "Engine": [engine],
        "Rendering (for people; observations need none)": rendering,
        "Video": [_check_video()],
        "Cache": [_check_cache()],
    }
    _print(Console(highlight=False), sections)
    if engine.status != "ok":
        print(f"The environment does not run here: {engine.remedy}")
        return 1
    print("The environment runs here.")
    return 0


def _print(console: Console, sections: Mapping[str, Sequence[Finding]]) -> None:
    from rich.table import Table
    from rich.text import Text

    width = max(len(found.name) for findings in sections.values() for found in findings)
    for title, findings in sections.items():
        console.print(f"[bold]{title}")
        table = Table.grid(padding=(0, 2))
        table.add_column(width=width + 2, no_wrap=True)
        table.add_column(width=7, no_wrap=True)
        table.add_column(overflow="fold")
        for found in findings:
            detail = Text(f"{found.remedy}\n" if found.remedy else "")
            detail.append(found.detail, "dim" if found.remedy else "")
            table.add_row(f"  {found.name}", Text(found.status, _COLOURS[found.status]), detail)
        console.print(table)


def _try_for_real() -> list[Finding]:
    """Findings on the engine, then on the rendering back ends and modes."""
    engine = _try("cpu", _TRY_ENGINE, _REINSTALL, timeout=_FIRST_TIMEOUT)
    with ThreadPoolExecutor(2) as pool:
        tries = []
        for name, remedy in _BACK_ENDS.items():
            tries.append(pool.submit(_try, name, _TRY_BACK_END, remedy, back_end=name))
        for name, (code, remedy) in _MODES.items():
            tries.append(pool.submit(_try, name, code, remedy))
        return [engine, *(attempt.result() for attempt in tries)]


def _try(
    name: str,
    code: str,
    remedy: str,
    back_end: str | None = None,
    timeout: float = _TIMEOUT,
) -> Finding:
    """Run Python code in a process of its own, which is told the name; it prints what it found."""
    environment = dict(os.environ)
    if back_end == "glfw" and sys.platform == "linux":
        if not {"DISPLAY", "WAYLAND_DISPLAY"} & environment.keys():
            return Finding(name, "missing", "there is no display", remedy)
    if back_end is not None:
        environment["MUJOCO_GL"] = back_end
        environment.pop("PYOPENGL_PLATFORM", None)
    try:
        result = subprocess.run(
            [sys.executable, "-c", code, name],
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        return Finding(name, "broken", f"no answer within {timeout:g} s", _BUSY + remedy)
    if result.returncode == 0:
        return Finding(name, "ok", result.stdout.strip())
    if result.returncode < 0:
        return Finding(name, "broken", f"crashed with signal {-result.returncode}", remedy)
    optional = back_end is not None or name.startswith("rgb_array")
    return Finding(name, "missing" if optional else "broken", _last_error(result.stderr), remedy)


def _last_error(stderr: str) -> str:
    """The message of the error that ended a process: what its traceback ends with."""
    if "'NoneType' object has no attribute" in stderr:
        return "its library was not found"  # how PyOpenGL puts it
    unindented = [line for line in stderr.splitlines() if line[:1].strip()]
    return unindented[-1].strip() if unindented else "failed without a message"


def _check_machine() -> list[Finding]:
    from vtenv import provenance

    found = provenance.hardware()
    told = {
        "processor": f"{found['cpu']}, {found['cores']} cores for this process",
        "memory": f"{found['memory_gib']} GiB",
        "system": str(found["platform"]),
    }
    return [Finding(name, "ok", detail) for name, detail in told.items()]


def _check_packages() -> list[Finding]:
    from vtenv import provenance

    findings = [Finding("python", "ok", f"{provenance.versions()['python']} at {sys.executable}")]
    if own := provenance.version(provenance.DISTRIBUTION):
        commit = provenance.commit()
        findings.append(Finding("vtinsert", "ok", f"{own}, commit {commit}" if commit else own))
    else:
        findings.append(Finding("vtinsert", "missing", "runs uninstalled", _INSTALL))
    return findings + [_check_requirement(needed) for needed in provenance.requirements()]


def _check_requirement(needed: Requirement) -> Finding:
    from vtenv import provenance

    installed = provenance.version(needed.name)
    if installed is None:
        return Finding(needed.name, "missing", "not installed", _INSTALL)
    if not provenance.satisfied(needed):
        return Finding(needed.name, "broken", f"{installed} is not {needed.specifier}", _INSTALL)
    return Finding(needed.name, "ok", installed)


def _check_extras() -> list[Finding]:
    from vtenv import provenance

    findings = []
    for extra, purpose in _EXTRAS.items():
        parts = provenance.requirements(extra)
        if not all(map(provenance.satisfied, parts)):
            findings.append(Finding(extra, "missing", f"for {purpose}", f"uv sync --extra {extra}"))
        elif parts:
            versions = ", ".join(f"{part.name} {provenance.version(part.name)}" for part in parts)
            findings.append(Finding(extra, "ok", f"{versions}; for {purpose}"))
    return findings


def _check_video() -> Finding:
    try:
        import imageio_ffmpeg  # type: ignore[import-untyped]

        program = imageio_ffmpeg.get_ffmpeg_exe()
        command = [program, "-hide_banner", "-encoders"]
        encoders = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout
        version = imageio_ffmpeg.get_ffmpeg_version()
    except (ImportError, RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        return Finding("ffmpeg", "missing", str(error), "pip install imageio-ffmpeg")
    if "libx264" not in encoders:
        unset = "unset IMAGEIO_FFMPEG_EXE to use the one that imageio-ffmpeg brings"
        return Finding("ffmpeg", "broken", f"{program} cannot write H.264", unset)
    return Finding("ffmpeg", "ok", f"{version} at {program}")


def _check_cache() -> Finding:
    from platformdirs import user_cache_path

    folder = user_cache_path("vtinsert")
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(nearest, os.W_OK):
        return Finding(
            "settled grasps",
            "broken",
            f"{nearest} cannot be written, so every start settles the grasps again",
            "set XDG_CACHE_HOME to a folder of yours",
        )
    banks = list(folder.glob("grasps-*.npz"))
    kib = sum(path.stat().st_size for path in banks) / 1024
    return Finding("settled grasps", "ok", f"{len(banks)} banks, {kib:.0f} KiB in {folder}")
