"""How a column of a data set is stored: as it is, as bits, or in steps of 16 bits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vtenv.validation import require

Storage = Literal["raw", "bits"] | float
"""As `vtenv.modalities.Modality.storage`: as it is; flags as bits; or the step, in the column's
unit, of which 16-bit multiples are stored."""

LARGEST = np.iinfo(np.uint16).max
"""Greatest multiple of a step that is stored."""

_DTYPES = ("bool", *(f"{kind}{8 << i}" for kind in ("int", "uint") for i in range(4)))
_DTYPES += ("float16", "float32", "float64")


@dataclass(frozen=True)
class Column:
    """What a column holds, a row at a time."""

    dtype: str
    """NumPy's name of the values' type."""
    shape: tuple[int, ...]
    """Shape of one row's values."""
    storage: Storage = "raw"
    """How they are stored."""

    def __post_init__(self) -> None:
        require(self.dtype in _DTYPES, "dtype", self.dtype, f"one of {', '.join(_DTYPES)}")
        fits = all(side >= 0 for side in self.shape) and math.prod(self.shape) < 1 << 40
        require(fits and len(self.shape) <= 32, "shape", self.shape, "sides of 0 or more")
        known = self.storage in ("raw", "bits") or 0 < float(self.storage) < math.inf
        require(known, "storage", self.storage, "raw, bits, or a step above 0")

    @classmethod
    def of(cls, values: NDArray[Any], storage: str | float = "raw") -> Column:
        """The column that holds values, (n, ...)."""
        return cls(values.dtype.name, tuple(values.shape[1:]), storage)  # type: ignore[arg-type]

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """The type on disk."""
        if self.storage == "raw":
            return np.dtype(self.dtype)
        return np.dtype(np.uint8 if self.storage == "bits" else np.uint16)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of one row on disk."""
        return (math.ceil(math.prod(self.shape) / 8),) if self.storage == "bits" else self.shape

    @property
    def row_bytes(self) -> int:
        """Bytes of one row on disk."""
        return math.prod(self.stored_shape) * self.stored_dtype.itemsize

    def encode(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        """A new array, (n, *stored_shape), of the values, (n, *shape), of the column `name`.

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
        if self.storage == "raw":
            return values.copy()
        if self.storage == "bits":
            if values.dtype not in (np.uint8, np.bool_) or (values > 1).any():
                raise ValueError(f"column {name!r} is stored as bits: uint8 or bool, 0 or 1")
            return np.packbits(values.reshape(len(values), -1), axis=-1)
        if values.dtype != np.float32:
            raise ValueError(
                f"column {name!r} is {values.dtype.name}; what is stored in steps is float32"
            )
        greatest = np.float32(LARGEST * self.storage)
        if values.size and not (values.min() >= 0 and values.max() <= greatest):
            raise ValueError(
                f"column {name!r} reaches from {values.min():g} to {values.max():g}; in steps of "
                f"{self.storage:g} it is stored from 0 to {greatest:g}"
            )
        return np.rint(values * np.float32(1 / self.storage)).astype(np.uint16)

    def decode(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Values from how they are stored; the inverse of `encode`."""
        if self.storage == "raw":
            return stored
        if self.storage == "bits":
            bits = np.unpackbits(stored, axis=-1, count=math.prod(self.shape))
            return bits.reshape(len(stored), *self.shape).view(self.dtype)
        return np.multiply(stored, np.float32(self.storage), dtype=np.float32)
