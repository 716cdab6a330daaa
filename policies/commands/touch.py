"""`vtinsert touch`: images of a real GelSight, calibrated and read as depth and contact."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from policies.choices import make_output

COLUMNS = ("image", "ball_diameter_mm", "centre_x_px", "centre_y_px", "contact_radius_px")
"""Columns of a table of presses."""


@dataclass(frozen=True)
class Calibrate:
    """Fit colours to images of balls that were pressed into the gel, and say how well they fit."""

    presses: tyro.conf.Positional[Path]
    """Table (.csv) of presses: image (a file beside the table), ball_diameter_mm, centre_x_px,
    centre_y_px, contact_radius_px."""
    background: Path
    """The sensor's image without contact."""
    pixel_mm: float = 0.0634
    """Pitch of the image's pixels on the gel; by default a GelSight Mini's at 320 x 240."""
    folds: int = 4
    """Parts of the presses, each rendered by a calibration that was fitted to the others."""
    seed: int = 0
    """Seed of the choice of parts and pixels."""
    output: Path = Path("outputs/touch")
    """Folder for calibration.npz, calibration.png (the image without contact), errors.csv and
    presses.png."""


@dataclass(frozen=True)
class Reconstruct:
    """Read depth and contact from images of a GelSight without markers."""

    images: tyro.conf.Positional[
        Annotated[tuple[Path, ...], tyro.conf.arg(help_behavior_hint="(one or more)")]
    ]
    """Images of one sensor."""
    background: Path
    """The same sensor's image without contact."""
    calibration: Path
    """What `vtinsert touch calibrate` has written."""
    output: Path = Path("outputs/touch")
    """Folder for each image's NAME.npz (depth_mm, contact) and NAME.png."""


What = (
    Annotated[Calibrate, tyro.conf.subcommand("calibrate")]
    | Annotated[Reconstruct, tyro.conf.subcommand("reconstruct")]
)


def touch(what: What) -> int:
    """Calibrate a real GelSight, or read depth and contact from its images.

    Args:
        what: What to do.

    Raises:
        ValueError: If a table or an image cannot be read, or images do not belong together.
    """
    if isinstance(what, Reconstruct):
        return _reconstruct(what)
    return _calibrate(what)


def _reconstruct(options: Reconstruct) -> int:
    import numpy as np

    from vtenv.atomic_write import atomic_write
    from vtenv.sensing.photometry import GelCalibration, contact_mask
    from vtenv.sensing.touch_pictures import read_image, reconstruction_picture, write_image

    calibration = GelCalibration.load(options.calibration)
    background = read_image(options.background)
    names = [path.stem for path in options.images]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(
            f"several images are called {', '.join(sorted(twice))}, as their results would be; "
            "give them in calls with an --output each"
        )
    images = {path: read_image(path) for path in options.images}
    make_output(options.output)
    for path, image in images.items():
        try:
            depth = calibration.reconstruct(image, background)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        mask = contact_mask(depth)
        with atomic_write(options.output / f"{path.stem}.npz") as part:
            np.savez_compressed(part, depth_mm=depth.astype(np.float32), contact=mask)
        write_image(options.output / f"{path.stem}.png", reconstruction_picture(image, depth, mask))
        area = float(mask.sum()) * calibration.pixel_mm**2
        print(f"{path.name}: {depth.max():.2f} mm at the deepest, {area:.1f} mm^2 in contact")
    print(f"Depth and contact: {options.output}")
    return 0


def _calibrate(options: Calibrate) -> int:
    import numpy as np

    from vtenv.run_folder import write_table
    from vtenv.sensing.photometry import GelCalibration, Press, ball_depth, cross_validate
    from vtenv.sensing.touch_pictures import calibration_picture, read_image, write_image

    rows = _read_presses(options.presses)
    if not 2 <= options.folds <= len(rows):
        raise ValueError(
            f"--folds {options.folds} is not allowed; it must be from 2 to {len(rows)}, the presses"
        )
    background = read_image(options.background)
    presses = []
    for row in rows:
        diameter, x, y, radius = (float(row[name]) for name in COLUMNS[1:])
        try:
            depth = ball_depth(background.shape[:2], options.pixel_mm, diameter, (x, y), radius)
        except ValueError as error:
            raise ValueError(f"{options.presses}, {row['image']}: {error}") from error
        presses.append(Press(read_image(options.presses.parent / row["image"]), depth))
    generator = np.random.default_rng(options.seed)
    found = cross_validate(presses, background, options.pixel_mm, options.folds, generator)
    calibration = GelCalibration.fit(presses, background, options.pixel_mm, seed=options.seed)
    make_output(options.output)
    calibration.save(options.output / "calibration.npz")
    errors = [{name: f"{error:.4f}" for name, error in tried.errors.items()} for tried in found]
    table = [{"image": row["image"]} | tried for row, tried in zip(rows, errors, strict=True)]
    write_table(options.output / "errors.csv", table)
    write_image(options.output / "calibration.png", background)
    write_image(options.output / "presses.png", calibration_picture(presses, found))
    print(f"{len(presses)} presses, each rendered and read by a calibration fitted to others:")
    for name in found[0].errors:
        values = [tried.errors[name] for tried in found]
        spread = f"from {np.min(values):.3f} to {np.max(values):.3f}"
        print(f"  {name:24} {np.mean(values):6.3f}  ({spread})")
    print(f"Calibration: {options.output / 'calibration.npz'}")
    return 0


def _read_presses(path: Path) -> list[dict[str, str]]:
    """Rows of a table of presses.

    Raises:
        ValueError: If a column or a number is missing.
    """
    from vtenv.run_folder import read_table

    rows = read_table(path)
    for number, row in enumerate(rows, 2):
        for name in COLUMNS:
            if not row.get(name):
                raise ValueError(f"{path}, line {number}, has no {name}")
        for name in COLUMNS[1:]:
            try:
                float(row[name])
            except ValueError:
                raise ValueError(
                    f"{path}, line {number}: {name}={row[name]!r} is not a number"
                ) from None
    if len(rows) < 2:
        raise ValueError(f"{path} lists {len(rows)} presses; some tens are needed")
    return rows
