"""Colour images of a GelSight: rendered from depth, and read back as depth and contact.

A calibration is fitted to images of presses of known shape, such as balls. It answers both ways:

- `GelCalibration.render`: membrane depth -> RGB. The change of colour against the image without
  contact is a polynomial in the membrane's slope and depth, whose coefficients change with the
  place in the image and with the colour that the light has there.
- `GelCalibration.reconstruct`: RGB -> slopes -> depth, by the same kind of regression and Poisson
  integration; `contact_mask` thresholds it.

Source:
    Wang et al., GelSight Wedge (ICRA 2021), for slopes by regression and Poisson integration;
    Si and Yuan, Taxim (RA-L 2022), for a polynomial table over slope and place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vtenv.atomic_write import atomic_write
from vtenv.sensing.profiles import SQUARE_24MM, SensorProfile
from vtenv.validation import require

BUNDLED = Path(__file__).parent
"""Folder of the calibration that comes with the package, `gelsight.npz`, and of the sensor's image
without contact, `gelsight.png`: from Taxim's 48 presses, under the licence that lies beside them.
`scripts/fit_gelsight.py` has made them."""

Float = NDArray[np.float64]
Image = NDArray[np.uint8]

MEMBRANE_MM = (0.5, 0.25, 0.125)
"""Standard deviations of the Gaussians by which the membrane bridges what does not touch it."""
SLOPE_DEGREE = 5
"""Of the polynomial of colour in slope; it is linear in depth, alone and times each slope."""
COLOUR_DEGREE = 3
"""Of the polynomial of slope, in the change of colour."""
_RIDGE = 1e-5
_SMOOTH_PX = 1.0  # of the change of colour, before slopes are read from it
_QUIET_PX = 2.0  # of its size, before it is judged where nothing touches
_QUIET = 2.0  # times the change of the quietest quarter, up to which a change is noise
_LIGHT_PX = 6.0  # of the image without contact, which tells how a place is lit
_DOT_LEVELS = 25  # by which a marker is darker than what is around it
_MOST_DOTS = 20  # of dirt, on a gel without markers
_FITTED_RADII = 2.5  # pixels are fitted up to this many contact radii, and a few beyond


class Press(NamedTuple):
    """One image of a calibration.

    Attributes:
        image: (H, W, 3), uint8, RGB.
        depth_mm: What is pressed in, without the membrane around it: (H, W), at least 0, [mm].
    """

    image: Image
    depth_mm: Float


def ball_depth(
    size: tuple[int, int],
    pixel_mm: float,
    diameter_mm: float,
    centre_px: tuple[float, float],
    contact_radius_px: float,
) -> Float:
    """Depth to which a ball is pressed in, from the circle that it leaves in the image.

    Args:
        size: Rows and columns of the image.
        pixel_mm: Pitch of the pixels on the gel, [mm].
        diameter_mm: Of the ball.
        centre_px: Column and row of the circle's centre.
        contact_radius_px: Radius of the circle.

    Returns:
        (H, W), [mm]; 0 beyond the circle.

    Raises:
        ValueError: If the circle is larger than the ball.
    """
    radius, contact = diameter_mm / 2, contact_radius_px * pixel_mm
    require(
        0 < contact <= radius,
        "contact_radius_px",
        contact_radius_px,
        f"above 0 and at most {radius / pixel_mm:g}, the radius of the ball",
    )
    rows, columns = np.mgrid[: size[0], : size[1]]
    across = np.hypot(columns - centre_px[0], rows - centre_px[1]) * pixel_mm
    height = np.sqrt(np.maximum(radius**2 - across**2, 0.0)) - np.sqrt(radius**2 - contact**2)
    return np.where(across < contact, np.maximum(height, 0.0), 0.0)


def membrane(depth_mm: Float, pixel_mm: float) -> Float:
    """Depth of the membrane around what is pressed into it.

    The surface follows what touches it and bridges the rest, ever more closely: Gaussians from
    wide to narrow, between which what touches is put back.

    Args:
        depth_mm: What is pressed in, (H, W), [mm]; 0 where nothing touches.
        pixel_mm: Pitch of the pixels, [mm].

    Source:
        Wang et al., TACTO, and Si and Yuan, Taxim (section III-B), for the pyramid of Gaussians.
    """
    surface: Any = depth_mm
    for deviation in MEMBRANE_MM:
        surface = cv2.GaussianBlur(surface, (0, 0), deviation / pixel_mm)
        surface = np.where(depth_mm > 0, depth_mm, surface)
    smooth: Float = cv2.GaussianBlur(surface, (0, 0), MEMBRANE_MM[-1] / pixel_mm)
    return smooth


def contact_mask(
    depth_mm: Float, fraction: float = 0.2, least_mm: float = 0.05
) -> NDArray[np.bool_]:
    """Where a reconstructed surface is pressed in, rather than pulled along.

    Args:
        depth_mm: From `GelCalibration.reconstruct`, (H, W), [mm].
        fraction: Part of the greatest depth that counts as contact.
        least_mm: Depth that counts at least: below it is noise of the reconstruction, [mm].
    """
    return depth_mm > max(fraction * float(depth_mm.max()), least_mm)


def mask_on_pad(
    mask: NDArray[np.bool_],
    pixel_mm: float,
    profile: SensorProfile = SQUARE_24MM,
    size: tuple[int, int] | None = None,
) -> NDArray[np.uint8]:
    """A real sensor's contact as a simulated one feels it, to the same scale.

    Args:
        mask: Where it is touched, (H, W).
        pixel_mm: Pitch of its pixels, [mm].
        profile: The simulated sensor; the environment's by default.
        size: Rows and columns of its mask; None for its own.

    Returns:
        (rows, columns), uint8; the middles are one, and beyond what the real one sees is no
        contact.
    """
    (rows, columns), (height, width) = size or profile.image_size, mask.shape
    step = 2e3 * profile.half_extent_of((rows, columns))[1] / rows / pixel_mm
    there = np.array(
        [
            [step, 0.0, (width - 1) / 2 - step * (columns - 1) / 2],
            [0.0, step, (height - 1) / 2 - step * (rows - 1) / 2],
        ]
    )
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(mask.astype(np.uint8), there, (columns, rows), flags=flags))


@dataclass(frozen=True)
class GelCalibration:
    """How one sensor's colours follow from its membrane.

    Attributes:
        pixel_mm: Pitch of the pixels on the gel, [mm].
        to_colour: Coefficients of the polynomial of colour, (features, 3).
        to_slope: Coefficients of the polynomial of slope, (features, 2).
        steepest: Slope beyond which nothing was seen; steeper surfaces are rendered as if they
            were as steep, [mm/mm].
        deepest_mm: Likewise of depth, [mm].
    """

    pixel_mm: float
    to_colour: Float
    to_slope: Float
    steepest: float
    deepest_mm: float

    @classmethod
    def fit(
        cls, presses: Sequence[Press], background: Image, pixel_mm: float, *, seed: int = 0
    ) -> GelCalibration:
        """Fit to presses of known shape.

        Args:
            presses: Images of one size; some tens, spread over the gel.
            background: The sensor's image without contact, (H, W, 3), uint8, RGB.
            pixel_mm: Pitch of the pixels, [mm].
            seed: Of the choice of pixels that are fitted.

        Raises:
            ValueError: If there is no press, or an image is not of the background's shape.
        """
        require(len(presses) > 0, "presses", presses, "at least one press")
        generator = np.random.default_rng(seed)
        place = _places(background)
        rows: list[tuple[Float, Float, Float, Float]] = []
        steepest = deepest = 0.0
        for press in presses:
            _check_image(press.image, background)
            surface = membrane(np.asarray(press.depth_mm, np.float64), pixel_mm)
            slope = _slopes(surface, pixel_mm)
            near = _near_contact(press.depth_mm)
            chosen = generator.random(near.shape) < np.where(near, 0.4, 0.01)
            change = _change(press.image, background)[chosen]
            smooth = _told_change(press.image, background)[chosen]
            own = slope[:, chosen], surface[chosen], place[:, chosen]
            steepest = max(steepest, float(np.hypot(*own[0]).max()))
            deepest = max(deepest, float(own[1].max()))
            rows.append(
                (_surface_features(*own), change, _colour_features(smooth, own[2]), own[0].T)
            )
        surfaces, changes, colours, slopes = (
            np.concatenate(parts) for parts in zip(*rows, strict=True)
        )
        return cls(
            pixel_mm,
            _ridge_regression(surfaces, changes),
            _ridge_regression(colours, slopes),
            steepest,
            deepest,
        )

    def render(self, depth_mm: Float, background: Image) -> Image:
        """The image of a membrane.

        Args:
            depth_mm: Depth of the membrane, as `membrane` returns it, (H, W), [mm].
            background: Image without contact of the sensor, (H, W, 3), uint8, RGB.

        Returns:
            (H, W, 3), uint8, RGB, without noise.

        Raises:
            ValueError: If the depth has not the background's size.
        """
        depth = np.asarray(depth_mm, np.float64)
        if depth.shape != background.shape[:2]:
            raise ValueError(
                f"the depth has shape {depth.shape}, the background {background.shape}; resize one "
                "to the other's rows and columns"
            )
        slope = _slopes(depth, self.pixel_mm)
        norm = np.hypot(*slope)
        slope *= np.minimum(1.0, self.steepest / np.maximum(norm, 1e-9))
        place = _places(background)
        features = _surface_features(
            slope.reshape(2, -1),
            np.clip(depth, 0.0, self.deepest_mm).ravel(),
            place.reshape(len(place), -1),
        )
        change = (features @ self.to_colour).reshape(background.shape)
        return np.clip(np.rint(background + change), 0, 255).astype(np.uint8)

    def coefficients(self, background: Image) -> Float:
        """The polynomial of each pixel's change of colour, (H, W, terms, 3).

        Args:
            background: Image without contact of the sensor, (H, W, 3), uint8, RGB.
        """
        places = _places(background)
        by_place = self.to_colour.reshape(-1, len(places), 3)
        return np.einsum("phw,tpc->hwtc", places, by_place)

    def slopes(self, image: Image, background: Image) -> Float:
        """Slopes of the membrane in an image, down the columns' and the rows' axis.

        Args:
            image: (H, W, 3), uint8, RGB.
            background: The same sensor's image without contact.

        Returns:
            (2, H, W): along x (columns) and y (rows), [mm/mm].

        Raises:
            ValueError: If the images are not uint8 of one shape.
        """
        _check_image(image, background)
        return self._slopes_of(_told_change(image, background), background)

    def _slopes_of(self, change: Float, background: Image) -> Float:
        place = _places(background)
        features = _colour_features(change.reshape(-1, 3), place.reshape(len(place), -1))
        slope = (features @ self.to_slope).T.reshape(2, *change.shape[:2])
        # What changes no more than the image's quietest quarter is level.
        size = _size(change)
        quiet = _QUIET * np.quantile(size, 0.25) + 1e-9
        return slope * np.clip((size - quiet) / quiet, 0.0, 1.0)

    def reconstruct(self, image: Image, background: Image) -> Float:
        """Depth of the membrane in an image, by integration of its slopes.

        The depth is 0 where colours have changed least: the median of a quarter of the image.

        Args:
            image: (H, W, 3), uint8, RGB.
            background: The same sensor's image without contact.

        Returns:
            (H, W), [mm]; what is deeper than its surroundings is positive.

        Raises:
            ValueError: If the images are not uint8 of one shape.
        """
        _check_image(image, background)
        change = _told_change(image, background)
        depth = integrate(self._slopes_of(change, background)) * self.pixel_mm
        size = _size(change)
        return depth - np.median(depth[size <= np.quantile(size, 0.25)])

    def save(self, path: str | Path) -> None:
        """Write the calibration, whole or not at all, as NumPy's .npz without pickles."""
        with atomic_write(Path(path)) as part, part.open("wb") as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls, path: str | Path) -> GelCalibration:
        """Read a calibration that `save` has written.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If it is no calibration, or of other polynomials; says what to do.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                found = cls(**{name: file[name] for name in cls.__dataclass_fields__})
        except (KeyError, ValueError, EOFError) as error:
            raise ValueError(
                f"{path} is no calibration of a gel; fit one with GelCalibration.fit"
            ) from error
        one = np.zeros((_PLACES, 1))
        surface, colour = _surface_features(one[:2], one[0], one), _colour_features(one[:3].T, one)
        expected = (surface.shape[1], 3), (colour.shape[1], 2)
        if (found.to_colour.shape, found.to_slope.shape) != expected:
            raise ValueError(f"{path} was fitted with other polynomials; fit it again")
        return found


class Tried(NamedTuple):
    """What a calibration made of a press that it was not fitted to.

    Attributes:
        rendered: The image, (H, W, 3), uint8, rendered from the press's depth.
        depth_mm: The depth, (H, W), reconstructed from the press's image.
        errors: In the region of contact: mean absolute error of colour in grey levels of 255,
            beside that of the image without contact; root mean square error of depth [mm]; and
            the contact mask's intersection over union.
    """

    rendered: Image
    depth_mm: Float
    errors: dict[str, float]


def cross_validate(
    presses: Sequence[Press],
    background: Image,
    pixel_mm: float,
    folds: int,
    generator: np.random.Generator,
) -> list[Tried]:
    """Render and reconstruct each press by a calibration that was fitted to others.

    Args:
        presses: All presses.
        background: The sensor's image without contact, (H, W, 3), uint8, RGB.
        pixel_mm: Pitch of the pixels, [mm].
        folds: Parts of the presses, each left out of one fit.
        generator: Draws the parts.

    Returns:
        One result for each press.
    """
    part = generator.permutation(len(presses)) % folds
    found: dict[int, Tried] = {}
    for left_out in range(folds):
        others = [press for press, own in zip(presses, part, strict=True) if own != left_out]
        calibration = GelCalibration.fit(others, background, pixel_mm)
        for index in np.flatnonzero(part == left_out).tolist():
            press = presses[index]
            rendered = calibration.render(membrane(press.depth_mm, pixel_mm), background)
            depth = calibration.reconstruct(press.image, background)
            real, touching = press.image.astype(np.float64), press.depth_mm > 0
            mask = contact_mask(depth)
            errors = {
                "colour error": float(np.abs(rendered - real)[touching].mean()),
                "without a model": float(np.abs(background - real)[touching].mean()),
                "depth error [mm]": float(
                    np.sqrt(np.square(depth - press.depth_mm)[touching].mean())
                ),
                "mask overlap": float((mask & touching).sum() / (mask | touching).sum()),
            }
            found[index] = Tried(rendered, depth, errors)
    return [found[index] for index in range(len(presses))]


def integrate(slope: Float) -> Float:
    """The surface with these slopes, in the least-squares sense; level at the image's edges.

    Args:
        slope: Along columns and rows, (2, H, W), in units of height per pixel.

    Returns:
        (H, W), in that unit; its mean is 0.

    Source:
        Frankot and Chellappa (1988), by Poisson's equation on the image and its mirror images.
    """
    across, down = slope
    divergence = np.zeros_like(across)
    for axis, steps in ((1, (across[:, 1:] + across[:, :-1]) / 2), (0, (down[1:] + down[:-1]) / 2)):
        nothing = np.zeros_like(np.take(divergence, [0], axis))
        divergence += np.diff(np.concatenate([nothing, steps, nothing], axis), axis=axis)
    rows, columns = divergence.shape
    mirrored = np.pad(divergence, ((0, rows), (0, columns)), mode="symmetric")
    eigenvalues = (
        2 * np.cos(np.pi * np.arange(2 * rows) / rows)[:, None]
        + 2 * np.cos(np.pi * np.arange(columns + 1) / columns)
        - 4
    )
    eigenvalues[0, 0] = 1.0
    spectrum = np.fft.rfft2(mirrored) / eigenvalues
    spectrum[0, 0] = 0.0
    return np.fft.irfft2(spectrum, s=mirrored.shape)[:rows, :columns]


def _slopes(depth_mm: Float, pixel_mm: float) -> Float:
    """Slopes of a surface along columns and rows, (2, H, W), [mm/mm]."""
    down, across = np.gradient(depth_mm / pixel_mm)
    return np.stack([across, down])


def _change(image: Image, background: Image) -> Float:
    return image.astype(np.float64) - background


def _told_change(image: Image, background: Image) -> Float:
    """The change of colour that tells slopes: smoothed, and without a drift of the whole image."""
    change = cv2.GaussianBlur(_change(image, background), (0, 0), _SMOOTH_PX)
    return change - np.median(change, axis=(0, 1))


def _size(change: Float) -> Float:
    """How much each pixel changes, (H, W), smoothed, to judge where nothing touches."""
    return cv2.GaussianBlur(np.linalg.norm(change, axis=-1), (0, 0), _QUIET_PX)


_PLACES = 9


def _places(background: Image) -> Float:
    """Functions of the place by which coefficients change, its light among them, (9, H, W)."""
    rows, columns = background.shape[:2]
    v, u = np.mgrid[:rows, :columns] / np.array([rows, columns]).reshape(2, 1, 1) - 0.5
    light = cv2.GaussianBlur(background.astype(np.float64), (0, 0), _LIGHT_PX) / 128 - 1
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v, *np.moveaxis(light, -1, 0)])


def _surface_features(slope: Float, depth_mm: Float, place: Float) -> Float:
    """What colour is linear in: slopes (2, n), depths (n,) and places (9, n) -> (n, features)."""
    x, y = slope
    terms = [
        x**i * y**j
        for i, j in product(range(SLOPE_DEGREE + 1), repeat=2)
        if 0 < i + j <= SLOPE_DEGREE
    ]
    terms += [depth_mm, depth_mm * x, depth_mm * y]
    return np.stack([term * where for term in terms for where in place], axis=-1)


def _colour_features(change: Float, place: Float) -> Float:
    """What slope is linear in: changes of colour (n, 3) and places (9, n) -> (n, features)."""
    red, green, blue = change.T / 64
    terms = [
        red**i * green**j * blue**k
        for i, j, k in product(range(COLOUR_DEGREE + 1), repeat=3)
        if 0 < i + j + k <= COLOUR_DEGREE
    ]
    return np.stack([term * where for term in terms for where in place], axis=-1)


def _ridge_regression(features: Float, targets: Float) -> Float:
    scale = features.std(axis=0) + 1e-12
    scaled = features / scale
    gram = scaled.T @ scaled + _RIDGE * len(scaled) * np.eye(scaled.shape[1])
    solved: Float = np.linalg.solve(gram, scaled.T @ targets)
    return solved / scale[:, None]


def _near_contact(depth_mm: Float) -> NDArray[np.bool_]:
    """Pixels in contact, and around it up to `_FITTED_RADII` times its radius."""
    touching = (np.asarray(depth_mm) > 0).astype(np.uint8)
    radius = np.sqrt(touching.sum() / np.pi)
    distance = cv2.distanceTransform(1 - touching, cv2.DIST_L2, 5)
    return distance < (_FITTED_RADII - 1) * radius


def _check_image(image: Image, background: Image) -> None:
    """Refuse what is no image of the background's shape.

    Raises:
        ValueError: Names what was given, and what is allowed.
    """
    for name, given in (("background", background), ("image", image)):
        if given.dtype != np.uint8 or given.ndim != 3 or given.shape[2] != 3:
            raise ValueError(
                f"the {name} is {given.dtype} of shape {given.shape}; an RGB image is uint8 of "
                "shape (rows, columns, 3)"
            )
    if image.shape != background.shape:
        raise ValueError(
            f"the image has shape {image.shape} and its background {background.shape}; take both "
            "with one camera, cropped alike"
        )
    if (dots := _count_dots(background)) > _MOST_DOTS:
        raise ValueError(
            f"the background has {dots} dark dots, as a gel with markers has; take images with a "
            "gel without, as colours between markers alone tell no slopes"
        )


def _count_dots(image: Image) -> int:
    """How many small round spots of an image are darker than what is around them, as markers are.

    Args:
        image: (H, W, 3), uint8, RGB.
    """
    rows = image.shape[0]
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), rows / 320)
    side = 2 * (rows // 24) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    darker = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, disc) > _DOT_LEVELS
    spots = cv2.connectedComponentsWithStats(darker.astype(np.uint8))[2][1:]
    width, height, area = (
        spots[:, k] for k in (cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT, cv2.CC_STAT_AREA)
    )
    round_ = np.maximum(width, height) < 1.8 * np.minimum(width, height)
    return int((round_ & (area > 0.5 * width * height) & (area > (rows / 100) ** 2)).sum())
