"""OpenGL for people to look at: pictures drawn off screen, and MuJoCo's viewer.

Loads no OpenGL until a `Canvas` or a `Window` is made.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib
import importlib.util
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

_WITHOUT_OPENGL = 'render_mode="sensors" and render_mode="depth_array" work without OpenGL.'
_HOW_TO_GET = {
    "egl": "On Debian and Ubuntu: apt-get install libegl1 libopengl0 libgl1-mesa-dri.",
    "osmesa": "On Debian and Ubuntu: apt-get install libosmesa6. Or set MUJOCO_GL=egl.",
    "glfw": "It needs a display. Without one, on Linux, set MUJOCO_GL=egl.",
    "cgl": "It needs a session with access to the display.",
}
"""What to do about each library that cannot be used."""

_opened_in: int | None = None
"""Id of the process in which OpenGL was opened, if it was."""


class Canvas:
    """An OpenGL context that draws one model off screen.

    Args:
        model: The model; its off-screen buffer is sized to fit.
        size: Width and height of a picture, in pixels.

    Raises:
        DependencyNotInstalled: If OpenGL cannot be used; says what to install.
        RuntimeError: If the process was forked from one that has used OpenGL; says what to do.
    """

    def __init__(self, model: mujoco.MjModel, size: tuple[int, int]) -> None:
        self._model = model
        model.vis.global_.offwidth, model.vis.global_.offheight = size
        self._visuals = mujoco.MjvScene(model, maxgeom=500)
        self._options = mujoco.MjvOption()
        self._viewport = mujoco.MjrRect(0, 0, *size)
        self._gl, self._context = _open_context(model)
        self._closing = _closing(self, _free, self._gl, self._context)

    def draw(self, data: mujoco.MjData, camera: mujoco.MjvCamera) -> NDArray[np.uint8]:
        """Draw the model as `data` poses it.

        Raises:
            RuntimeError: If the process was forked since the canvas was made; says what to do.
        """
        _check_process()
        every = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self._model, data, self._options, None, camera, every, self._visuals)
        image = np.empty((self._viewport.height, self._viewport.width, 3), np.uint8)
        with self._gl.as_current():
            mujoco.mjr_render(self._viewport, self._visuals, self._context)
            mujoco.mjr_readPixels(image, None, self._viewport, self._context)
        return image[::-1].copy()  # OpenGL's first row is the lowest; OpenCV takes no views

    def close(self) -> None:
        """Release the context; may be called twice."""
        self._closing()


def _free(gl: Any, context: mujoco.MjrContext) -> None:
    with gl.as_current():
        context.free()
    gl.free()


class Window:
    """MuJoCo's viewer on a model, which draws what `handle.sync()` takes over from it.

    Args:
        model: The model.
        data: Its state.

    Attributes:
        handle: The viewer's handle.

    Raises:
        DependencyNotInstalled: If no window can be opened; says what to do.
        RuntimeError: If the process was forked from one that has used OpenGL; says what to do.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        prepare_opengl()
        if sys.platform.startswith("linux"):
            _check_window()
        viewer = importlib.import_module("mujoco.viewer")
        others = set(threading.enumerate())
        self.handle = viewer.launch_passive(model, data, show_left_ui=False, show_right_ui=False)
        threads = set(threading.enumerate()) - others
        _mark_process()
        self._closing = _closing(self, _close_window, self.handle, threads)

    def close(self) -> None:
        """Close the window and wait until it is gone; may be called twice."""
        self._closing()


def _close_window(handle: Any, threads: set[threading.Thread]) -> None:
    handle.close()
    for thread in threads:
        thread.join(timeout=10.0)


def _closing(owner: Canvas | Window, close: Callable[..., None], *held: Any) -> Callable[[], None]:
    """Close what a canvas or window holds: when it is asked to, is gone, or Python exits.

    What outlives the driver's own clean-up brings the interpreter down. That was registered when
    the driver was loaded, so this, registered later, comes before it.
    """
    closing = weakref.finalize(owner, close, *held)
    closing.atexit = False
    atexit.register(closing)
    return closing


def _check_window() -> None:
    """Try to open a window: without one, the viewer would wait for it forever.

    Raises:
        DependencyNotInstalled: If no window can be opened; says what to do.
    """
    cause = "neither DISPLAY nor WAYLAND_DISPLAY is set"
    if has_display():
        with warnings.catch_warnings(record=True) as reported:
            warnings.simplefilter("always")
            glfw = importlib.import_module("glfw")
            if glfw.init():
                glfw.window_hint(glfw.VISIBLE, 0)
                window = glfw.create_window(64, 64, "", None, None)
                glfw.default_window_hints()
                if window:
                    glfw.destroy_window(window)
                    return
        cause = str(reported[0].message) if reported else "no window with OpenGL"
    raise DependencyNotInstalled(
        f'render_mode="human" opens a window, which cannot be done here: {cause}. Use '
        'render_mode="rgb_array" to record pictures instead, or run under a virtual display: '
        f"apt-get install xvfb && xvfb-run -a python ... {_WITHOUT_OPENGL}"
    )


def has_display() -> bool:
    """Whether a window can be opened, as far as the environment variables tell."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def opengl_backend() -> str:
    """The library that pictures are drawn with: "egl", "osmesa", "glfw" or "cgl".

    `MUJOCO_GL` chooses it. Where that is not set it is EGL on Linux, with or without a
    display, and the system's own elsewhere.

    Raises:
        DependencyNotInstalled: If `MUJOCO_GL` turns OpenGL off.
    """
    chosen = os.environ.get("MUJOCO_GL", "").lower().strip()
    if chosen in _HOW_TO_GET:
        return chosen
    if chosen in ("glx", "wgl"):
        return "glfw"
    if chosen in ("disable", "disabled", "off", "false", "0"):
        raise DependencyNotInstalled(
            f"OpenGL is turned off by MUJOCO_GL={chosen}; unset it, or set it to egl. "
            f"{_WITHOUT_OPENGL}"
        )
    if sys.platform.startswith("linux"):
        return "egl"
    return "cgl" if sys.platform == "darwin" else "glfw"


def prepare_opengl() -> None:
    """Make the process ready for OpenGL; to be called before any of it is loaded.

    Mesa loads its driver, and with it the system's LLVM, with `RTLD_GLOBAL`. Triton, which PyTorch
    imports, contains another LLVM whose symbols are exported: loaded after Mesa's driver, it binds
    to the driver's LLVM and crashes. So its library is loaded first, which binds it to its own and
    costs about 0.05 s; a later `import triton` reuses it. No Python package is imported.

    Raises:
        RuntimeError: If the process was forked from one that has used OpenGL; says what to do.
    """
    _check_process()
    if sys.platform.startswith("linux"):
        triton = importlib.util.find_spec("triton")
        for folder in (triton and triton.submodule_search_locations) or ():
            with contextlib.suppress(OSError):  # `import triton` would say what is wrong with it
                ctypes.CDLL(str(Path(folder, "_C", "libtriton.so")))


def _mark_process() -> None:
    """Note that this process has used OpenGL."""
    global _opened_in
    _opened_in = os.getpid()


def _check_process() -> None:
    """Refuse a process that was forked from one that has used OpenGL.

    A fork does not copy the driver's threads, so drawing would wait for them forever.

    Raises:
        RuntimeError: If it is one; says what to do.
    """
    if _opened_in not in (None, os.getpid()):
        raise RuntimeError(
            "OpenGL cannot draw in this process, which was forked from one that had already used "
            'it. Start workers with "spawn" instead of "fork": AsyncVectorEnv(..., '
            'context="spawn"), SubprocVecEnv(..., start_method="spawn"); or start them before the '
            f"first picture. {_WITHOUT_OPENGL}"
        )


def _open_context(model: mujoco.MjModel) -> tuple[Any, Any]:
    """Make an OpenGL context, and in it MuJoCo's for a model.

    `mujoco.Renderer` uses the library that was chosen when MuJoCo was imported, which without
    `MUJOCO_GL` is one that needs a display; so this chooses for itself.

    Raises:
        DependencyNotInstalled: If OpenGL cannot be used; says what to install.
        RuntimeError: If the process was forked from one that has used OpenGL; says what to do.
    """
    backend = opengl_backend()
    prepare_opengl()
    size = model.vis.global_.offwidth, model.vis.global_.offheight
    with warnings.catch_warnings(record=True) as reported:  # how GLFW says what is wrong
        warnings.simplefilter("always")
        try:
            gl = importlib.import_module(f"mujoco.{backend}").GLContext(*size)
            with gl.as_current():
                context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
                mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)
        except Exception as error:  # each library, driver and loader has errors of its own
            missing = isinstance(error, AttributeError) and "NoneType" in str(error)
            cause = "its library was not found" if missing else str(error).rstrip(".")
            cause = str(reported[0].message) if reported else cause
            raise DependencyNotInstalled(
                'render_mode="rgb_array" draws with OpenGL, which cannot be used here through '
                f"{backend.upper()}: {cause}. {_HOW_TO_GET[backend]} {_WITHOUT_OPENGL}"
            ) from error
    _mark_process()
    return gl, context
