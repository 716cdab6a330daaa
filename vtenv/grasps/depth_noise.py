"""Noise of the depth images of grasps."""

from __future__ import annotations

from dataclasses import dataclass

from vtenv.validation import as_number, require


@dataclass(frozen=True)
class DepthNoiseConfig:
    """Noise of the overhead depth camera; every part is off at zero.

    Attributes:
        noise_mm: Standard deviation of zero-mean Gaussian noise of each pixel at 0.35 m, the
            distance of the hand; it grows with the square of the distance, as in stereo and
            structured-light cameras.
        dropout: Probability that a pixel on a depth edge (a step of over 5 mm to one of its
            four neighbours) is lost and reads 0, 0 to 1.
        quantization_mm: Step to which depth is rounded.
    """

    noise_mm: float = 1.0
    dropout: float = 0.0
    quantization_mm: float = 0.0

    def __post_init__(self) -> None:
        for name, argument, high, unit in (
            ("noise_mm", "depth_noise_mm", 50.0, "a number of millimetres"),
            ("dropout", "depth_dropout", 1.0, "a probability"),
            ("quantization_mm", "depth_quantization_mm", 50.0, "a number of millimetres"),
        ):
            given = getattr(self, name)
            number = as_number(given)
            valid = number is not None and 0 <= number <= high
            require(valid, argument, given, f"{unit}, 0 to {high:g}")
            object.__setattr__(self, name, number)
