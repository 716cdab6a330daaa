"""A window that shows a world beside a picture, and knows which keys are held.

MuJoCo's own viewer has no key releases, gives its shortcuts to most letters and, on macOS, needs a
special Python; this window has nothing but what is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import cv2
import glfw
import mujoco
import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from vtenv.rendering.opengl import has_display, prepare_opengl
from vtenv.rendering.renderers import PosedScene
from vtenv.tasks import Task
from vtenv.world_model import Snapshot

Columns = Sequence[tuple[str, str]]
"""Rows of two columns of text."""

_SIZE = (1280, 720)
"""Width and height when it opens, in screen coordinates."""
_SCENE_PART = 0.6
"""Part of the width that shows the world; the rest is for the picture and the notes below it."""
_FRAMED_ASPECT = 4 / 3
"""Width over height of a view that `PosedScene.frame` fills."""
_BACKGROUND = (0.09, 0.10, 0.12, 1.0)
_MAX_GEOMS = 500
_SMALLEST = 16
"""Side under which nothing is drawn, in pixels."""
_DRAGS = {
    glfw.MOUSE_BUTTON_LEFT: mujoco.mjtMouse.mjMOUSE_ROTATE_V,
    glfw.MOUSE_BUTTON_RIGHT: mujoco.mjtMouse.mjMOUSE_MOVE_V,
}
"""What dragging with each button does to the camera."""


class Window:
    """A window on a world; a context manager.

    Args:
        task: The task whose worlds to show.
        title: The window's title.

    Raises:
        DependencyNotInstalled: If no window can be opened; says what to do.
    """

    def __init__(self, task: Task, title: str) -> None:
        if sys.platform == "linux" and not has_display():
            raise DependencyNotInstalled(
                "a window needs a display, and there is none: neither DISPLAY nor WAYLAND_DISPLAY "
                "is set. Run it on a desktop, or through ssh -X; `vtinsert demo` needs no display"
            )
        prepare_opengl()
        # GLFW's Python binding warns of every error otherwise.
        self._error = "no reason given"
        glfw.set_error_callback(self._keep_error)
        if not glfw.init():
            raise DependencyNotInstalled(f"no window can be opened here: {self._error}")
        glfw.window_hint(glfw.SAMPLES, 4)
        self._window: Any = glfw.create_window(*_SIZE, title, None, None)
        if not self._window:
            glfw.terminate()
            raise DependencyNotInstalled(
                f"no window with OpenGL can be opened here: {self._error}. On Debian and Ubuntu: "
                "apt-get install libgl1 libgl1-mesa-dri"
            )
        glfw.make_context_current(self._window)
        glfw.swap_interval(1)
        self._scene = PosedScene(task)
        self._visuals = mujoco.MjvScene(self._scene.model, maxgeom=_MAX_GEOMS)
        self._options = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._framed = False
        self._context = mujoco.MjrContext(self._scene.model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_WINDOW, self._context)
        self._pressed: list[int] = []
        self._cursor = (0.0, 0.0)
        glfw.set_key_callback(self._window, self._on_key)
        glfw.set_cursor_pos_callback(self._window, self._on_cursor)
        glfw.set_scroll_callback(self._window, self._on_scroll)

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        """Whether nobody has asked for the window to close."""
        return not glfw.window_should_close(self._window)

    def pressed(self) -> list[int]:
        """Keys pressed since the last call, as GLFW's codes, in their order."""
        glfw.poll_events()
        pressed, self._pressed = self._pressed, []
        return pressed

    def is_held(self, key: int) -> bool:
        """Whether a key is down now."""
        return bool(glfw.get_key(self._window, key) == glfw.PRESS)

    def frame(self) -> None:
        """Point the camera at hand, plug and socket again, when the next picture is drawn."""
        self._framed = False

    def draw(
        self, state: Snapshot, picture: NDArray[np.uint8], status: str, notes: Columns
    ) -> None:
        """Show a world with its status, and to its right a picture with notes below.

        Args:
            state: The world.
            picture: RGB image, (H, W, 3); scaled to fit.
            status: Stands in a corner of the world's view.
            notes: Stand below the picture.
        """
        width, height = glfw.get_framebuffer_size(self._window)
        if min(width, height) < _SMALLEST:
            return  # minimised
        left = mujoco.MjrRect(0, 0, int(width * _SCENE_PART), height)
        self._scene.pose(state)
        if not self._framed:
            self._scene.frame(self._camera)
            self._camera.distance *= max(1.0, _FRAMED_ASPECT * left.height / left.width)
            self._framed = True
        mujoco.mjv_updateScene(
            self._scene.model,
            self._scene.data,
            self._options,
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._visuals,
        )
        mujoco.mjr_rectangle(mujoco.MjrRect(0, 0, width, height), *_BACKGROUND)
        mujoco.mjr_render(left, self._visuals, self._context)
        shown = _fit(picture, width - left.width, height)
        rows, columns = shown.shape[:2]
        right = mujoco.MjrRect(left.width, height - rows, columns, rows)
        mujoco.mjr_drawPixels(np.flipud(shown).ravel(), None, right, self._context)
        below = mujoco.MjrRect(left.width, 0, columns, height - rows)
        self._write(left, status, "")
        if notes:
            self._write(below, *("\n".join(column) for column in zip(*notes, strict=True)))
        glfw.swap_buffers(self._window)

    def close(self) -> None:
        """Close the window; may be called twice."""
        if self._window is None:
            return
        self._context.free()
        glfw.destroy_window(self._window)
        glfw.terminate()
        self._window = None

    def _write(self, place: mujoco.MjrRect, text: str, beside: str) -> None:
        corner = mujoco.mjtGridPos.mjGRID_TOPLEFT
        font = mujoco.mjtFont.mjFONT_NORMAL
        mujoco.mjr_overlay(font, corner, place, text, beside, self._context)

    def _keep_error(self, code: int, description: str | bytes) -> None:
        # The stubs say str, the library passes bytes.
        self._error = description.decode() if isinstance(description, bytes) else description

    def _on_key(self, window: Any, key: int, scancode: int, action: int, modifiers: int) -> None:
        if action == glfw.PRESS:
            self._pressed.append(key)

    def _on_cursor(self, window: Any, x: float, y: float) -> None:
        height = glfw.get_window_size(window)[1]
        dx, dy = (x - self._cursor[0]) / height, (y - self._cursor[1]) / height
        self._cursor = (x, y)
        for button, drag in _DRAGS.items():
            if glfw.get_mouse_button(window, button) == glfw.PRESS:
                mujoco.mjv_moveCamera(self._scene.model, drag, dx, dy, self._camera)
                return

    def _on_scroll(self, window: Any, dx: float, dy: float) -> None:
        zoom = mujoco.mjtMouse.mjMOUSE_ZOOM
        mujoco.mjv_moveCamera(self._scene.model, zoom, 0.0, -0.05 * dy, self._camera)


def _fit(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Scale an image so that it fits into a rectangle."""
    scale = min(width / image.shape[1], height / image.shape[0])
    size = (max(1, int(image.shape[1] * scale)), max(1, int(image.shape[0] * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.ascontiguousarray(cv2.resize(image, size, interpolation=how), np.uint8)
