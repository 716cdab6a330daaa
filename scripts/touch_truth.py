"""Hold simulated touch against the forces of the physics, and draw it.

    uv run python scripts/touch_truth.py

Writes numbers to `docs/results/touch-truth.json` and a picture to `docs/images/touch-truth.png`:

- how the taxels' sum and the markers' motion follow a load on a held plug;
- what a cycle of load leaves behind, below slip and past it;
- how well contact near the mouth is told from one image of each sense: a logistic regression on its
  pixels, fitted to some episodes and judged on others;
- how hard a plug is pushed against the socket by who turns back when markers move, and by who does
  not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib
import mujoco
import numpy as np
import tyro
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import vtenv
from vtenv import provenance
from vtenv.atomic_write import atomic_write, write_text
from vtenv.collection.experience import undelayed
from vtenv.sensing.pads import Pad, PadSensors, add_pads
from vtenv.tasks.insertion import scene
from vtenv.tasks.insertion.connectors import CONNECTORS
from vtenv.tasks.insertion.env import VTInsertVectorEnv
from vtenv.tasks.insertion.grasp_bank import settle_grasps
from vtenv.tasks.insertion.regions import JAMMED_FORCE_N, near_contact

matplotlib.use("agg")
from matplotlib import pyplot as plt

SENSES = ("contact", "gel", "shear", "markers")
PADS = tuple(
    Pad(f"gel_{side}", face, ("plug",), "square-24mm")
    for side, face in (("left", "-y"), ("right", "+y"))
)
LOADS = np.linspace(0.0, 12.0, 13)
MINI = {"touch_sensor": "gelsight-mini", "sensor_faults": "gelsight-mini"}
"""A sensor that is made, and its noise."""
STOP_MM = 0.05
"""Change of the markers' mean motion along the columns at which a push turns back."""


@dataclass(frozen=True)
class Options:
    """The options."""

    episodes: int = 240
    """Episodes whose contacts are told, half of them to fit to."""
    pushes: int = 64
    """Pushes against the socket."""
    numbers: Path = Path("docs/results/touch-truth.json")
    """Where numbers go."""
    picture: Path = Path("docs/images/touch-truth.png")
    """Where the picture goes."""


def main(options: Options) -> None:
    """Measure and draw."""
    curves = {name: load_curve(name) for name in CONNECTORS}
    cycles = {name: load_curve(name.split(",")[0], loads, 1) for name, loads in CYCLES.items()}
    numbers = {
        "commit": provenance.commit(),
        "sum of taxels, greatest error [N]": {
            name: round(float(np.abs(curve["taxels"] - curve["contact"]).max()), 4)
            for name, curve in curves.items()
        },
        "markers, mean motion at 12 N [mm]": {
            name: round(float(curve["motion"][-1]), 3) for name, curve in curves.items()
        },
        "left by a cycle of load, greatest motion [mm]": {
            name: round(float(cycle["greatest"][-1]), 4) for name, cycle in cycles.items()
        },
        "contact near the mouth, area under the ROC curve": told_contacts(options.episodes),
        "the same, of a GelSight Mini with its noise": told_contacts(
            options.episodes, {**MINI, "contact_size": (48, 64)}
        ),
        "peak force of pushes, median [N]": pushed(options.pushes),
        "the same, with a GelSight Mini and its noise": pushed(options.pushes, MINI),
    }
    write_text(options.numbers, json.dumps(numbers, indent=2) + "\n")
    print(json.dumps(numbers, indent=2))
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), constrained_layout=True)
    for name, curve in curves.items():
        axes[0].plot(curve["contact"], curve["taxels"], "o-", label=name)
        axes[1].plot(LOADS, curve["motion"], "o-", label=name)
    for name, cycle in cycles.items():
        axes[2].plot(CYCLES[name], cycle["greatest"], ".-", label=name)
    for axis, across, up in zip(
        axes,
        ("contact force of both pads [N]", "load on the plug [N]", "load of a cycle [N]"),
        ("sum of the taxels [N]", "markers' mean motion [mm]", "greatest motion of a marker [mm]"),
        strict=True,
    ):
        axis.set(xlabel=across, ylabel=up)
        axis.legend(frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    with atomic_write(options.picture) as part:
        figure.savefig(part, dpi=120, format="png")


_UP = np.linspace(0.0, 1.0, 25)
CYCLES = {
    f"{connector}, to {peak:g} N and back": peak * np.concatenate([_UP, _UP[-2::-1]])
    for connector, peak in (("usb", 6.0), ("stud", 45.0))
}
"""Loads of a cycle: a flat plug below slip, and a round one past it. Pads let go at 60 N."""


def load_curve(
    connector: str, loads: NDArray[np.float64] = LOADS, steps: int = 10
) -> dict[str, Any]:
    """Push a held plug out of the hand, along the fingers.

    Args:
        connector: The plug's name.
        loads: Forces on its centre of mass, one after the other, [N].
        steps: Control steps that each lasts.

    Returns:
        By load: tangential force along the columns on both pads, by the taxels and by the contacts
        [N]; the markers' mean motion, and the greatest of one [mm].
    """
    spec = scene.build_spec(scene.SceneConfig(), CONNECTORS[connector])
    add_pads(spec, PADS)
    model = spec.compile()
    data = mujoco.MjData(model)
    grasp = settle_grasps(CONNECTORS[connector], np.zeros((1, 3)))[0]
    data.qpos[scene.FINGER_QPOS] = grasp[:2]
    data.qpos[scene.PLUG_POS] = grasp[2:5]
    data.qpos[scene.PLUG_POS.stop - 1] += scene.HAND_HEIGHT
    data.qpos[scene.PLUG_QUAT] = grasp[5:9]
    data.mocap_pos[0] = [1.0, 0.0, scene.HAND_HEIGHT]
    data.ctrl[scene.FINGER_CTRL] = scene.GRIP_FORCE
    sensors = PadSensors(model, PADS, ("shear", "markers"), groups=(scene.PLUG_GROUP,))
    plug = model.body("plug").id
    taxels, contact, motion, greatest = [], [], [], []
    rest = None
    for load in loads:
        data.xfrc_applied[plug, 0] = -load
        for _ in range(steps):
            mujoco.mj_step(model, data, scene.SUBSTEPS)
            told = sensors.read(data)
        rest = told["markers"] if rest is None else rest
        left, right = told["shear"][:, 1].sum(axis=(-1, -2))
        taxels.append(left - right)  # the right pad's columns run the other way
        readings = [data.sensor(pad.wrench).data[0] for pad in PADS]
        contact.append(sum(readings))
        moved = (told["markers"] - rest)[:, 0].mean(axis=(-1, -2))
        motion.append((moved[0] - moved[1]) / 2)
        greatest.append(np.abs(told["markers"] - rest).max())
    return {
        "taxels": np.array(taxels),
        "contact": np.array(contact),
        "motion": np.array(motion),
        "greatest": np.array(greatest),
    }


def told_contacts(
    episodes: int, settings: Mapping[str, Any] = MappingProxyType({}), worlds: int = 24
) -> dict[str, float]:
    """Area under the ROC curve of contact against none near the mouth, for each sense."""
    # Images and contacts of one moment.
    at_once = undelayed(vtenv.ENV_ID, {**settings, "modalities": SENSES})
    envs = VTInsertVectorEnv(worlds, max_episode_steps=100, **at_once)
    generator = np.random.default_rng(0)
    seen: dict[str, list[NDArray[Any]]] = {key: [] for key in (*SENSES, "touches", "round")}
    for turn in range(-(-episodes // worlds)):
        envs.reset(seed=turn * worlds)
        over, blind_from = np.zeros(worlds, bool), generator.integers(0, 30, worlds)
        for step in range(60):
            action = envs.simulation.expert_action() + generator.normal(0.0, 0.3, (worlds, 5))
            action[:, 0] = np.where(step >= blind_from, 0.5, action[:, 0])
            action = np.clip(action, -1, 1)
            observation, _, terminated, _, info = envs.step(action.astype(np.float32))
            force = np.asarray(info["contact_force"], np.float64)
            near = near_contact(1e3 * info["insertion_depth"], 1e3 * info["lateral_error"])
            kept = near & ~over & ~terminated & ((force > JAMMED_FORCE_N) | (force == 0))
            over |= terminated
            for key in SENSES:
                seen[key].append(observation[key].reshape(worlds, -1)[kept])
            seen["touches"].append(force[kept] > 0)
            seen["round"].append(np.full(kept.sum(), turn))
    envs.close()
    joined = {key: np.concatenate(parts) for key, parts in seen.items()}
    fitted = joined["round"] % 2 == 0
    touches = joined["touches"]
    found: dict[str, float] = {"states": len(touches), "part in contact": float(touches.mean())}
    for key in SENSES:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
        model.fit(joined[key][fitted], touches[fitted])
        scores = model.decision_function(joined[key][~fitted])
        found[key] = float(roc_auc_score(touches[~fitted], scores))
    return {key: round(value, 3) for key, value in found.items()}


def pushed(worlds: int, settings: Mapping[str, Any] = MappingProxyType({})) -> dict[str, float]:
    """Median of the greatest force on the socket's face, pushed at blindly and by touch."""
    aside = {"socket_y_mm": 12.0, "socket_x_mm": 36.0}  # the hand goes straight past the mouth

    def stop(start: NDArray[Any], now: NDArray[Any]) -> NDArray[np.bool_]:
        moved = (now - start)[:, :, 0].mean(axis=(-1, -2))
        return np.abs(moved[:, 0] - moved[:, 1]) / 2 > STOP_MM

    def peak(stops: Callable[..., NDArray[np.bool_]] | None) -> NDArray[np.float64]:
        envs = VTInsertVectorEnv(worlds, modalities=("markers",), max_episode_steps=100, **settings)
        observation, _ = envs.reset(seed=0, options=aside)
        start, still = observation["markers"], np.zeros(worlds, bool)
        greatest, over = np.zeros(worlds), np.zeros(worlds, bool)
        for _ in range(90):
            action = np.zeros((worlds, 5), np.float32)
            action[:, 0] = np.where(still, -0.5, 0.15)
            observation, _, terminated, _, info = envs.step(action)
            greatest = np.maximum(greatest, np.where(over, 0.0, info["contact_force"]))
            over |= terminated
            if stops is not None:
                still |= stops(start, observation["markers"])
        envs.close()
        return greatest

    blind, by_touch = peak(None), peak(stop)
    there = blind > JAMMED_FORCE_N
    return {
        "pushes": int(there.sum()),
        "blind": round(float(np.median(blind[there])), 1),
        "back when markers move": round(float(np.median(by_touch[there])), 1),
    }


if __name__ == "__main__":
    main(tyro.cli(Options))
