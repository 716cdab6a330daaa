"""How a column of a data set is stored: depth in hundredths of a millimetre, masks as bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

DEPTH_STEP = 1e-5
"""What one stored unit of depth stands for, in [m]."""
MAX_STORED_DEPTH = float(np.float32(np.iinfo(np.uint16).max * DEPTH_STEP))
"""Greatest depth that can be stored, in [m]."""

_ENCODING_BY_NAME = {"depth": "depth_10um", "contact": "bits"}
"""Columns that are not stored as they are."""


@dataclass(frozen=True)
class Column:
    """What a column holds, a row at a time.

    Attributes:
        dtype: NumPy's name of the values' type.
        shape: Shape of one row's values.
        encoding: How they are stored, one of `ENCODINGS`.
    """

    dtype: str
    shape: tuple[int, ...]
    encoding: str = "raw"

    @classmethod
    def of(cls, name: str, values: NDArray[Any]) -> Column:
        """The column that values of this name are stored in."""
        encoding = _ENCODING_BY_NAME.get(name, "raw")
        return cls(values.dtype.name, tuple(values.shape[1:]), encoding)

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """The type on disk."""
        return np.dtype(ENCODINGS[self.encoding].stored_dtype or self.dtype)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of one row on disk."""
        return ENCODINGS[self.encoding].stored_shape(self.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row on disk."""
        return math.prod(self.stored_shape) * self.stored_dtype.itemsize

    def encode(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        """Values as they are stored.

        Args:
            name: The column's name, for errors.
            values: (n, *shape).

        Returns:
            (n, *stored_shape).

        Raises:
            ValueError: If values are of another form, not finite, or cannot be stored.
        """
        if values.dtype.name != self.dtype or values.shape[1:] != self.shape:
            raise ValueError(
                f"column {name!r} is {self.dtype} {list(self.shape)} a row; these are "
                f"{values.dtype.name} {list(values.shape[1:])}"
            )
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ValueError(f"column {name!r} holds values that are not finite")
        return ENCODINGS[self.encoding].encode(name, values)

    def decode(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Values from how they are stored; the inverse of `encode`."""
        return ENCODINGS[self.encoding].decode(stored, self)


class _Encoding(NamedTuple):
    stored_dtype: str | None
    stored_shape: Callable[[tuple[int, ...]], tuple[int, ...]]
    encode: Callable[[str, NDArray[Any]], NDArray[Any]]
    decode: Callable[[NDArray[Any], Column], NDArray[Any]]


def _encode_depth(name: str, values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype != np.float32:
        raise ValueError(f"column {name!r} is {values.dtype.name}; depth is float32, in metres")
    if values.size and not (values.min() >= 0 and values.max() <= MAX_STORED_DEPTH):
        raise ValueError(
            f"column {name!r} reaches from {values.min():g} to {values.max():g} m; depth is "
            f"stored from 0 to {MAX_STORED_DEPTH:g} m"
        )
    return np.rint(values * np.float32(1 / DEPTH_STEP)).astype(np.uint16)


def _decode_depth(stored: NDArray[Any], column: Column) -> NDArray[Any]:
    return np.multiply(stored, np.float32(DEPTH_STEP), dtype=np.float32)


def _encode_bits(name: str, values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype != np.uint8 or (values > 1).any():
        raise ValueError(f"column {name!r} is a mask: uint8, 0 or 1")
    return np.packbits(values.reshape(len(values), -1), axis=-1)


def _decode_bits(stored: NDArray[Any], column: Column) -> NDArray[Any]:
    bits = np.unpackbits(stored, axis=-1, count=math.prod(column.shape))
    return bits.reshape(len(stored), *column.shape)


ENCODINGS = {
    "raw": _Encoding(
        None, lambda shape: shape, lambda _, values: values.copy(), lambda stored, _: stored
    ),
    "depth_10um": _Encoding("uint16", lambda shape: shape, _encode_depth, _decode_depth),
    "bits": _Encoding(
        "uint8", lambda shape: (math.ceil(math.prod(shape) / 8),), _encode_bits, _decode_bits
    ),
}
"""Ways of storing a column: as it is; float32 [m] as uint16 in 0.01 mm; uint8 {0, 1} as bits."""
