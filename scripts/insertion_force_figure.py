"""Force against depth of a slow, straight insertion, and the same numbers as a table.

uv run python scripts/insertion_force_figure.py docs/images/insertion-force.png
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tyro
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vtenv.simulation import Simulation
from vtenv.tasks.insertion.config import InitialStateRanges
from vtenv.tasks.insertion.connectors import CONNECTORS, Connector
from vtenv.tasks.insertion.task import InsertionTask

_STEP = 0.1
"""Part of the greatest forward action: 0.4 mm a control step, 20 mm/s."""


def curve(connector: Connector) -> NDArray[np.float64]:
    """Depth past the mouth [m] and force between plug and socket [N], (T, 2)."""
    firm = {"grip_force_n": (20.0, 20.0), "socket_pitch_deg": (0.0, 0.0)}
    settings = {"disturbances": firm, "action_delay": 0}
    task = InsertionTask.config_type.from_settings(
        InsertionTask.env_id, {"connectors": (connector,), "modalities": ("state",), **settings}
    )
    simulation, world = Simulation(InsertionTask(task), 1, num_threads=1), np.zeros(1, np.int64)
    straight = dict.fromkeys(InitialStateRanges.names(), 0.0) | {"socket_x_mm": 37.0}
    simulation.reset(world, [np.random.default_rng(0)], straight)
    told: list[tuple[float, float]] = []
    while len(told) < 300:
        action = simulation.expert_action()
        action[:, 0] = _STEP
        simulation.step(world, action)
        depth, force = simulation.measures.depth[0], simulation.state.socket_force[0]
        if depth > connector.travel - 0.0003:  # the shoulder is at the mouth
            break
        told.append((depth, force))
    simulation.close()
    return np.array(told)


def main(path: Path, /) -> None:
    """Draw the figure and print the table.

    Args:
        path: Where the figure goes.
    """
    figure = Figure((7, 3.5), layout="constrained")
    axes = figure.add_subplot()
    print("| Connector | Sliding (N) | Peak (N) | Force of its springs (N) |\n|---|---:|---:|---:|")
    for connector in CONNECTORS.values():
        depth, force = curve(connector).T
        inside = depth > 0
        axes.plot(depth[inside] * 1e3, force[inside], label=connector.label)
        sliding = np.median(force[depth > 0.8 * connector.travel])
        mating = connector.mating
        spring = mating.force if mating is not None else 0.0
        print(f"| `{connector.name}` | {sliding:.1f} | {force.max():.1f} | {spring:g} |")
    axes.axhline(35, color="0.5", linestyle="--", linewidth=1)
    axes.text(0.2, 34, "USB 2.0: at most 35 N", color="0.4", va="top")
    axes.set(xlabel="Depth past the mouth (mm)", ylabel="Force (N)", ylim=(0, 38))
    axes.legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 0.9))
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    tyro.cli(main)
