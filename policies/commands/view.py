"""`vtinsert view`: drive the hand from the keyboard and see what the sensors see."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import glfw
import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from policies.commands import CommandError, ConnectorName
from policies.evaluation.episodes import expert
from policies.films import film
from policies.films.window import Window
from vtenv.rendering.renderers import make_renderer
from vtenv.tasks.insertion.config import VTInsertConfig
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES
from vtenv.tasks.insertion.env import VTInsertEnv
from vtenv.tasks.insertion.scene import SUBSTEPS, TIMESTEP

_BINDINGS = (
    ("arrow keys", "forwards, backwards, left, right"),
    ("W S", "up, down"),
    ("A D", "turn left, right"),
    ("Q Z", "nose up, down"),
    ("Shift", "with these: finer"),
    ("R", "new episode"),
    ("C", "next connector"),
    ("E", "the expert takes over, or gives back"),
    ("Space", "pause"),
    ("F", "frame hand and socket again"),
    ("H", "hide or show these keys"),
    ("mouse", "drag to turn and to shift the view, scroll to zoom"),
    ("Esc", "close"),
)
_MOVES = {
    glfw.KEY_UP: (0, 1.0),
    glfw.KEY_DOWN: (0, -1.0),
    glfw.KEY_LEFT: (1, 1.0),
    glfw.KEY_RIGHT: (1, -1.0),
    glfw.KEY_W: (2, 1.0),
    glfw.KEY_PAGE_UP: (2, 1.0),
    glfw.KEY_S: (2, -1.0),
    glfw.KEY_PAGE_DOWN: (2, -1.0),
    glfw.KEY_A: (3, 1.0),
    glfw.KEY_D: (3, -1.0),
    glfw.KEY_Q: (4, -1.0),
    glfw.KEY_Z: (4, 1.0),
}
"""Component of the action that a key moves, and its sign."""
_COARSE, _FINE = 0.12, 0.03
"""Size of the action while a key is held: 24 or 6 mm/s forwards."""

_STEP_SECONDS = TIMESTEP * SUBSTEPS
_EXPERT_SLOWDOWN = 4
"""How much slower than real the expert is shown; it takes half a second."""
_EXPERT_PAUSE = 1.5
"""Seconds for which the end of the expert's episode stays in view."""
_MAX_STEPS_PER_PICTURE = 5
"""Where drawing is slow, the world slows down rather than jump further."""


@dataclass
class Session:
    """What the person at the keyboard has chosen, and how the episode stands."""

    connector: str
    expert: bool = False
    paused: bool = False
    help: bool = True
    ended_at: float | None = None


def view(
    *, connector: ConnectorName = "usb", clearance_mm: float = 0.4, seed: int | None = None
) -> int:
    """Drive the hand from the keyboard and see what the sensors see.

    Opens a window with the scene on the left and the sensor panel on the right; needs a
    display. The keys are printed, and shown in the window.

    Args:
        connector: The connector to begin with.
        clearance_mm: Room between plug and socket on each side, 0.1 to 2 mm.
        seed: Seed of the first episode; by default another each time.
    """
    try:
        config = VTInsertConfig.from_settings(clearance_mm=clearance_mm)
        window = Window(config, "VTInsert")
    except (ValueError, DependencyNotInstalled) as error:
        raise CommandError(str(error)) from None
    for keys, meaning in _BINDINGS:
        print(f"{keys:>12}  {meaning}")
    env = VTInsertEnv(modalities=film.MODALITIES, clearance_mm=clearance_mm)
    try:
        with window:
            _run(window, env, Session(connector), seed)
    finally:
        env.close()
    return 0


def _run(window: Window, env: VTInsertEnv, session: Session, seed: int | None) -> None:
    panel: Any = make_renderer("sensors", env.config)
    info = _start(env, session, seed)
    clock = time.monotonic()
    while window.is_open:
        for key in window.pressed():
            if key == glfw.KEY_ESCAPE:
                return
            if key in (glfw.KEY_R, glfw.KEY_C):
                if key == glfw.KEY_C:
                    following = CONNECTOR_NAMES.index(session.connector) + 1
                    session.connector = CONNECTOR_NAMES[following % len(CONNECTOR_NAMES)]
                info = _start(env, session)
            elif key == glfw.KEY_E:
                session.expert = not session.expert
            elif key == glfw.KEY_SPACE:
                session.paused = not session.paused
            elif key == glfw.KEY_H:
                session.help = not session.help
            elif key == glfw.KEY_F:
                window.frame()
        now = time.monotonic()
        waited = 0.0 if session.ended_at is None else now - session.ended_at
        if session.expert and waited > _EXPERT_PAUSE:
            info = _start(env, session)
        period = _STEP_SECONDS * (_EXPERT_SLOWDOWN if session.expert else 1)
        due = min(int((now - clock) / period), _MAX_STEPS_PER_PICTURE)
        clock = max(clock + due * period, now - period)
        for _ in range(due):
            if session.paused or session.ended_at is not None:
                break
            action = expert(env.simulation)[0] if session.expert else _driven(window)
            _, _, terminated, _, info = env.step(action)
            if terminated:
                session.ended_at = now
        state = env.simulation.engine.physics(0)
        notes = _BINDINGS if session.help else ()
        window.draw(state, panel.render(env.simulation, 0), _status(session, info), notes)


def _start(env: VTInsertEnv, session: Session, seed: int | None = None) -> dict[str, Any]:
    session.ended_at = None
    return env.reset(seed=seed, options={"connector": session.connector})[1]


def _driven(window: Window) -> NDArray[np.float32]:
    """The action of the keys that are held."""
    action = np.zeros(5, np.float32)
    finer = window.is_held(glfw.KEY_LEFT_SHIFT) or window.is_held(glfw.KEY_RIGHT_SHIFT)
    for key, (component, sign) in _MOVES.items():
        if window.is_held(key):
            action[component] = sign * (_FINE if finer else _COARSE)
    return action


def _status(session: Session, info: dict[str, Any]) -> str:
    if session.ended_at is not None:
        state = "inserted" if info["is_success"] else f"failed: {info['failure']}"
        return state if session.expert else f"{state}; R for a new episode"
    if session.paused:
        return "paused"
    return f"the expert drives, at 1/{_EXPERT_SLOWDOWN} speed" if session.expert else "you drive"
