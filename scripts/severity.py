"""Success of policies against how bad their sensors are: conditions to play, and their picture.

    for policy in study-pose study-dynamics; do
      uv run vtinsert evaluate $policy --output outputs/severity/$policy --conditions training \
          scripts.severity:VISION_HALF scripts.severity:VISION_ONE scripts.severity:VISION_TWO \
          scripts.severity:TOUCH_ONE scripts.severity:TOUCH_FOUR
    done
    uv run python scripts/severity.py outputs/severity/* --output severity.png

The world is that of the track `contact`; faults are those of the track `shift`, or a multiple of
them, of the depth camera or of the contact mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from matplotlib.figure import Figure

from policies.evaluation.conditions import Condition
from vtenv.atomic_write import atomic_write
from vtenv.json_document import read_object
from vtenv.tasks.insertion.tracks import TRACKS

SUMMARY_FILE = "summary.json"
_SHIFT = TRACKS["shift"].settings
_CAMERA = ("camera_shift_mm", "camera_tilt_deg")


def faulty(sense: str, times: float) -> Condition:
    """The track `contact` with faults of `shift`, so many times as large, of one sense.

    Args:
        sense: "vision", for the depth camera and where it stands, or "touch", for contact masks.
        times: What sizes, probabilities and ranges of faults are multiplied by, at least 0.

    Raises:
        ValueError: If there is no such sense.
    """
    if sense not in ("vision", "touch"):
        raise ValueError(f"sense={sense!r} is not allowed; choose vision or touch")
    of = "depth_" if sense == "vision" else "touch_"
    faults = {
        name: times * size for name, size in _SHIFT["sensor_faults"].items() if name.startswith(of)
    }
    settings: dict[str, Any] = {"track": "contact", "sensor_faults": faults}
    if sense == "vision":
        settings |= {name: times * _SHIFT[name] for name in ("depth_noise_mm", "depth_dropout")}
        domain = dict.fromkeys(_SHIFT["domain_randomization"])
        camera = {n: [times * end for end in _SHIFT["domain_randomization"][n]] for n in _CAMERA}
        settings["domain_randomization"] = domain | camera
    return Condition(f"{sense} {times:g}", f"{times:g} times the faults of {sense}", settings)


VISION_HALF, VISION_ONE, VISION_TWO = (faulty("vision", times) for times in (0.5, 1.0, 2.0))
TOUCH_ONE, TOUCH_FOUR = (faulty("touch", times) for times in (1.0, 4.0))


def curves(summary: Mapping[str, Any]) -> dict[str, list[tuple[float, float, float, float]]]:
    """Success by sense: how bad it is, rising, and success with its interval, in [0, 1].

    Raises:
        ValueError: If the sound sensors were not played.
    """
    played = summary["conditions"]
    if "training" not in played:
        raise ValueError(f"{summary['policy']} was not played with sound sensors; add training")
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for name, condition in played.items():
        sense, _, times = name.partition(" ")
        if times:
            found.setdefault(sense, []).append((float(times), *_success(condition)))
    sound = (0.0, *_success(played["training"]))
    return {sense: sorted([sound, *points]) for sense, points in found.items()}


def _success(condition: Mapping[str, Any]) -> tuple[float, float, float]:
    result = condition["results"]["all"]
    return (result["success"], *result["interval"])


def main(
    evaluations: Annotated[tuple[Path, ...], tyro.conf.Positional],
    output: Path = Path("severity.png"),
) -> None:
    """Draw success against severity, a line for each policy and a panel for each sense.

    Args:
        evaluations: Folders of `vtinsert evaluate`, one a policy.
        output: Where the picture goes.
    """
    if not evaluations:
        raise ValueError("name one folder of an evaluation or more")
    summaries = [read_object(folder / SUMMARY_FILE, ValueError) for folder in evaluations]
    lines = {summary["policy"]: curves(summary) for summary in summaries}
    senses = list(dict.fromkeys(sense for found in lines.values() for sense in found))
    for policy, found in lines.items():
        if lacking := [sense for sense in senses if sense not in found]:
            raise ValueError(f"{policy} was not played with faults of {lacking[0]}, as others were")
    figure = Figure((3.6 * len(senses) + 2.2, 3.6), layout="constrained")
    panels = figure.subplots(1, len(senses), sharey=True, squeeze=False)[0]
    for panel, sense in zip(panels, senses, strict=True):
        for number, (policy, found) in enumerate(lines.items()):
            times, rates, lows, highs = np.transpose(found[sense])
            ends = 100 * (rates - lows), 100 * (highs - rates)
            style = {"color": f"C{number}", "marker": "o", "capsize": 2, "label": policy}
            panel.errorbar(times, 100 * rates, ends, **style)
        panel.set(
            title=f"faults of {sense}", xlabel="times those of the track shift", ylim=(0, 100)
        )
        panel.grid(alpha=0.2)
    panels[0].set_ylabel("success (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    with atomic_write(output) as temporary:
        figure.savefig(temporary, dpi=120, format=output.suffix[1:])


if __name__ == "__main__":
    tyro.cli(main)
