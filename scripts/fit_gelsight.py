"""Fit the gel's colours that `rgb` is rendered with, and show them beside real ones.

    uv run --with taxim==1.4.1 --no-deps python scripts/fit_gelsight.py

The images are 48 presses of a ball of 4 mm on a GelSight, from the calibration of Taxim (Si and
Yuan, RA-L 2022), which the wheel `taxim` carries under the MIT licence of its authors.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np

from vtenv.sensing.photometry import (
    BUNDLED,
    GelCalibration,
    Press,
    ball_depth,
    cross_validate,
)
from vtenv.sensing.touch_pictures import calibration_picture, write_image

PICTURE = Path("docs/images/touch-colours.png")
SHRINK = 4
PIXEL_MM = 0.0295 * SHRINK
BALL_MM = 4.0
FOLDS = 4
CONTACT = 1.1
"""Radius of a contact, in parts of the circle that is marked in the image.

Chosen by the error in the marked circles, of presses that are left out: 6.0 grey levels at 1, 4.5
at 1.05, 3.9 at 1.1 and 3.8 from 1.15, where nearly every contact is as wide as the ball."""


def main() -> None:
    """Fit, tell the error in contact on presses that were left out, and write the file."""
    spec = importlib.util.find_spec("taxim")
    if spec is None or spec.origin is None:
        raise SystemExit("the wheel taxim is not there; run this with `uv run --with taxim==1.4.1`")
    pack = np.load(Path(spec.origin).parent / "calib" / "gelsight" / "dataPack.npz")
    rows, columns = (side // SHRINK for side in pack["f0"].shape[:2])

    def shrunk(image: np.ndarray) -> np.ndarray:
        small = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
        return np.asarray(small[..., ::-1], np.uint8)  # they are stored blue first

    background = shrunk(pack["f0"])
    presses = []
    for image, centre, radius in zip(
        pack["imgs"], pack["touch_center"], pack["touch_radius"], strict=True
    ):
        x, y = ((c + 0.5) / SHRINK - 0.5 for c in centre)
        edge = min(CONTACT * radius / SHRINK, 0.98 * BALL_MM / 2 / PIXEL_MM)
        depth = ball_depth((rows, columns), PIXEL_MM, BALL_MM, (x, y), edge)
        presses.append(Press(shrunk(image), depth))
    tried = cross_validate(presses, background, PIXEL_MM, FOLDS, np.random.default_rng(0))
    for name in tried[0].errors:
        print(f"{name}: {np.mean([each.errors[name] for each in tried]):.3f}")
    fitted = GelCalibration.fit(presses, background, PIXEL_MM)
    fitted.save(BUNDLED / "gelsight.npz")
    write_image(BUNDLED / "gelsight.png", background)
    write_image(PICTURE, calibration_picture(presses, tried))


if __name__ == "__main__":
    main()
