"""`vtinsert view`: drive the hand from the keyboard and see what the sensors see."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from policies.choices import default

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from policies.films.window import Window

_BINDINGS = (
    ("arrow keys", "forwards, backwards, left, right"),
    ("W S", "up, down"),
    ("A D", "turn left, right"),
    ("Q Z", "nose up, down"),
    ("Shift", "with these: finer"),
    ("R", "new episode"),
    ("C", "next connector, or other variant of the task"),
    ("E", "the expert takes over, or gives back"),
    ("Space", "pause"),
    ("F", "frame hand and socket again"),
    ("H", "hide or show these keys"),
    ("mouse", "drag to turn and to shift the view, scroll to zoom"),
    ("Esc", "close"),
)
_MOVES = {
    "UP": (0, 1.0),
    "DOWN": (0, -1.0),
    "LEFT": (1, 1.0),
    "RIGHT": (1, -1.0),
    "W": (2, 1.0),
    "PAGE_UP": (2, 1.0),
    "S": (2, -1.0),
    "PAGE_DOWN": (2, -1.0),
    "A": (3, 1.0),
    "D": (3, -1.0),
    "Q": (4, -1.0),
    "Z": (4, 1.0),
}
"""Component of the action that a key, of GLFW's name, moves, and its sign."""
_COARSE, _FINE = 0.12, 0.03
"""Size of the action while a key is held: 24 or 6 mm/s forwards."""

_EXPERT_SLOWDOWN = 4
"""How much slower than real the expert is shown; it takes half a second."""
_EXPERT_PAUSE = 1.5
"""Seconds for which the end of the expert's episode stays in view."""
_MAX_STEPS_PER_PICTURE = 5
"""Where drawing is slow, the world slows down rather than jump further."""


@dataclass
class Session:
    """What the person at the keyboard has chosen, and how the episode stands."""

    variant: str
    expert: bool = False
    paused: bool = False
    help: bool = True
    ended_at: float | None = None


def view(
    *,
    task: str = "VTInsert-v0",
    seed: Annotated[int | None, default("another each time")] = None,
    settings: tyro.conf.Suppress[dict[str, Any] | None] = None,
) -> int:
    """Drive the hand from the keyboard and see what the sensors see.

    Opens a window with the scene on the left and the sensor panel on the right; needs a
    display. The keys are printed, and shown in the window.

    Args:
        task: What to play: an id of Gymnasium's registry. Its environment's settings are options
            too, such as --connectors usb or --clearance-mm 0.2; --help beside --task lists them.
        seed: Seed of the first episode.
        settings: Settings of the task's environment.
    """
    from policies.films import film
    from policies.films.window import Window
    from policies.worlds import variant_names
    from vtenv.registry import make_task, make_world

    chosen = {"modalities": film.MODALITIES, **(settings or {})}
    made = make_task(task, **chosen)
    window = Window(made, "VTInsert")
    for keys, meaning in _BINDINGS:
        print(f"{keys:>12}  {meaning}")
    env = make_world(task, **chosen)
    try:
        with window:
            _run(window, env, variant_names(made), seed)
    finally:
        env.close()
    return 0


def _run(window: Window, env: Any, variants: tuple[str, ...], seed: int | None) -> None:
    import glfw

    from vtenv.expert_policy import expert_actions
    from vtenv.rendering.renderers import PanelRenderer

    panel, session = PanelRenderer(), Session(variants[0])
    info = _start(env, session, seed)
    clock = time.monotonic()
    while window.is_open:
        for key in window.pressed():
            if key == glfw.KEY_ESCAPE:
                return
            if key in (glfw.KEY_R, glfw.KEY_C):
                if key == glfw.KEY_C:
                    following = variants.index(session.variant) + 1
                    session.variant = variants[following % len(variants)]
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
        period = (_EXPERT_SLOWDOWN if session.expert else 1) / env.metadata["render_fps"]
        due = min(int((now - clock) / period), _MAX_STEPS_PER_PICTURE)
        clock = max(clock + due * period, now - period)
        for _ in range(due):
            if session.paused or session.ended_at is not None:
                break
            keys = _driven(window, env.action_space.shape)
            driven = expert_actions(env.simulation)[0] if session.expert else keys
            _, _, terminated, _, info = env.step(driven)
            if terminated:
                session.ended_at = now
        state = env.simulation.engine.snapshot(0)
        notes = _BINDINGS if session.help else ()
        window.draw(state, panel.render(env.simulation, 0), _status(session, info), notes)


def _start(env: Any, session: Session, seed: int | None = None) -> dict[str, Any]:
    from policies.worlds import variant_key

    session.ended_at = None
    info: dict[str, Any] = env.reset(
        seed=seed, options={variant_key(env.simulation.task): session.variant}
    )[1]
    return info


def _driven(window: Window, shape: tuple[int, ...]) -> NDArray[Any]:
    """The action of the keys that are held, of a shape (A,)."""
    import glfw
    import numpy as np

    action = np.zeros(shape, np.float32)
    finer = window.is_held(glfw.KEY_LEFT_SHIFT) or window.is_held(glfw.KEY_RIGHT_SHIFT)
    for key, (component, sign) in _MOVES.items():
        if window.is_held(getattr(glfw, f"KEY_{key}")):
            action[component] = sign * (_FINE if finer else _COARSE)
    return action


def _status(session: Session, info: dict[str, Any]) -> str:
    if session.ended_at is not None:
        state = "success" if info["is_success"] else f"failed: {info['failure']}"
        return state if session.expert else f"{state}; R for a new episode"
    if session.paused:
        return "paused"
    return f"the expert drives, at 1/{_EXPERT_SLOWDOWN} speed" if session.expert else "you drive"
