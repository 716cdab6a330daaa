"""Pictures of the environment, for people.

`rgb_array` and `human` draw with OpenGL, which is loaded when the first picture is asked for;
`depth_array` and `sensors` need none.
"""

from __future__ import annotations

import time
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from vtenv.modalities import DEPTH
from vtenv.rendering.opengl import Canvas, Window
from vtenv.rendering.panel import draw_panel
from vtenv.sensing.cameras import Poses
from vtenv.sensing.cpu import RayCamera
from vtenv.simulation import Simulation
from vtenv.tasks import Task
from vtenv.validation import require
from vtenv.world_model import Snapshot

RENDER_MODES = ("rgb_array", "human", "depth_array", "sensors")
"""The closed set of render modes."""
PICTURES = ("scene", "sensors", "depth")
"""What `rgb_array` may show: the scene, what the policy senses, or the overhead camera's depth."""
RENDER_FPS = 50
"""Pictures a second of real time: one a control step."""

IMAGE_SIZE = (640, 480)
"""Width and height of pictures, in pixels."""
_AZIMUTH, _ELEVATION = 67.0, -21.0
"""Where the camera looks, in degrees: along the hand, from its right and from above."""


class Renderer:
    """Draws worlds in one render mode."""

    def render(self, simulation: Simulation, world: int) -> NDArray[Any] | None:
        """Draw a world.

        Returns:
            The picture; None where it is shown instead.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Release windows and memory, if it holds any; may be called twice."""


def make_renderer(render_mode: str | None, task: Task, picture: str = "scene") -> Renderer | None:
    """Make the renderer of a mode; loads no OpenGL.

    Args:
        render_mode: One of `RENDER_MODES`, or None for no renderer.
        task: The task whose worlds to draw.
        picture: One of `PICTURES`, for "rgb_array".

    Raises:
        ValueError: If there is no such mode or picture; lists those there are.
    """
    require(picture in PICTURES, "picture", picture, f"one of {', '.join(PICTURES)}")
    if picture != "scene" and render_mode not in (None, "rgb_array"):
        raise ValueError(
            f'picture={picture!r} goes with render_mode="rgb_array", not {render_mode!r}'
        )
    if render_mode is None:
        return None
    modes = f"one of {', '.join(RENDER_MODES)}, or None"
    require(render_mode in RENDER_MODES, "render_mode", render_mode, modes)
    if "sensors" in (render_mode, picture):
        return PanelRenderer()
    if render_mode == "depth_array":
        return DepthRenderer(task)
    if render_mode == "human":
        return WindowRenderer(task)
    return PictureRenderer(task) if picture == "scene" else DepthPictureRenderer(task)


class DepthRenderer(Renderer):
    """What the overhead camera would see without noise, (H, W), float32, [m].

    Args:
        task: The task whose worlds to draw.
    """

    def __init__(self, task: Task) -> None:
        self._data = [mujoco.MjData(model) for model in task.world_model.models]
        self._task = task

    def render(self, simulation: Simulation, world: int) -> NDArray[Any]:
        """Cast the overhead camera's rays."""
        state = simulation.engine.snapshot(world)
        data = self._data[state.variant]
        _pose(data, state)
        poses = Poses(
            np.array([state.variant]),
            data.geom_xpos[None],
            data.geom_xmat[None],
            state.cam_pos[None],
            state.cam_mat[None],
        )
        rays = RayCamera(self._task.world_model, "overhead", poses)
        image = np.empty(rays.shape, np.float32)
        rays.cast(np.zeros(1, np.int64), image)
        return image[0, 0]


class DepthPictureRenderer(DepthRenderer):
    """The same in colours, (H, W, 3), uint8, which films and windows take."""

    def render(self, simulation: Simulation, world: int) -> NDArray[np.uint8]:
        """Colour the depth as data sets and panels do."""
        assert DEPTH.draw is not None
        return DEPTH.draw(super().render(simulation, world))


class PanelRenderer(Renderer):
    """What the policy saw last, and how the task stands, (480, 640, 3), uint8."""

    def render(self, simulation: Simulation, world: int) -> NDArray[np.uint8]:
        """Draw the panel of the last observation."""
        observation, info = simulation.last_of(world)
        task = simulation.task
        return draw_panel(observation, info, task.config.modalities, task.panel(info))


class PosedScene:
    """The render model of an environment, posed as one of its worlds.

    Attributes:
        model: The render model.
        data: Its data; poses only.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self.model = task.render_spec().compile()
        self.data = mujoco.MjData(self.model)
        self._shown = -1

    def pose(self, state: Snapshot) -> None:
        """Take over a world's variant and poses."""
        if state.variant != self._shown:
            self._task.show_variant(self.model, state.variant)
            self._shown = state.variant
        _pose(self.data, state)
        mujoco.mj_camlight(self.model, self.data)

    def frame(self, camera: mujoco.MjvCamera) -> None:
        """Point a camera so that hand, plug and socket fill the picture."""
        hand, socket = self.data.body("hand").xpos, self.data.mocap_pos[0]
        camera.type = mujoco.mjtCamera.mjCAMERA_FREE
        camera.lookat = (hand + socket) / 2 + [0.001, 0.0, 0.008]
        camera.distance = 0.175 + 1.0 * float(np.linalg.norm(hand - socket))
        camera.azimuth, camera.elevation = _AZIMUTH, _ELEVATION


class PictureRenderer(Renderer):
    """Third-person pictures, (H, W, 3), uint8, drawn off screen.

    Args:
        task: The task whose worlds to draw.
        size: Width and height of a picture, in pixels.
    """

    def __init__(self, task: Task, size: tuple[int, int] = IMAGE_SIZE) -> None:
        self._task = task
        self._size = size
        self._scene: PosedScene | None = None
        self._canvas: Canvas | None = None

    def render(self, simulation: Simulation, world: int) -> NDArray[np.uint8]:
        """Draw a world.

        Raises:
            DependencyNotInstalled: If OpenGL cannot be used; says what to install.
            RuntimeError: If the process was forked from one that has drawn; says what to do.
        """
        if self._scene is None or self._canvas is None:
            self._scene = PosedScene(self._task)
            self._canvas = Canvas(self._scene.model, self._size)
        self._scene.pose(simulation.engine.snapshot(world))
        camera = mujoco.MjvCamera()
        self._scene.frame(camera)
        return self._canvas.draw(self._scene.data, camera)

    def close(self) -> None:
        """Release the OpenGL context; may be called twice."""
        if self._canvas is not None:
            self._canvas.close()
            self._canvas = None


class WindowRenderer(Renderer):
    """MuJoCo's interactive viewer, in real time.

    Args:
        task: The task whose worlds to draw.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._scene: PosedScene | None = None
        self._window: Window | None = None
        self._due = 0.0

    def render(self, simulation: Simulation, world: int) -> None:
        """Show a world, no earlier than its time; nothing once the window was closed.

        Raises:
            DependencyNotInstalled: If there is no display; says what to do.
            RuntimeError: If the process was forked from one that has drawn; says what to do.
        """
        state = simulation.engine.snapshot(world)
        if self._scene is None:
            self._scene = PosedScene(self._task)
            self._scene.pose(state)
            self._window = Window(self._scene.model, self._scene.data)
            with self._window.handle.lock():
                self._scene.frame(self._window.handle.cam)
        if self._window is None or not self._window.handle.is_running():
            return
        with self._window.handle.lock():
            self._scene.pose(state)
        self._window.handle.sync()
        time.sleep(max(0.0, self._due - time.monotonic()))
        self._due = max(self._due, time.monotonic()) + 1 / RENDER_FPS

    def close(self) -> None:
        """Close the window; may be called twice."""
        if self._window is not None:
            self._window.close()
            self._window = None


def _pose(data: mujoco.MjData, state: Snapshot) -> None:
    """Take over a world's poses, as far as geoms."""
    data.qpos[:] = state.qpos
    data.mocap_pos[:], data.mocap_quat[:] = state.mocap_pos, state.mocap_quat
    mujoco.mj_kinematics(data.model, data)
