"""Arrays of NumPy or torch alike: their functions, and how they are moved and captured."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from array_api_compat import array_namespace, to_device
from numpy.typing import NDArray

Array = Any
"""An array of a library that the array API standard covers."""

Key = TypeVar("Key", bound=Hashable)
R = TypeVar("R")
T = TypeVar("T")


def namespace(array: Array) -> Any:
    """The array API functions for an array: NumPy's own, or those of its library."""
    return np if isinstance(array, np.ndarray) else array_namespace(array)


def to_host(values: Array) -> NDArray[Any]:
    """An array of any library as NumPy's."""
    return values if isinstance(values, np.ndarray) else np.asarray(to_device(values, "cpu"))


def constant(values: Any, like: Array, dtype: Any = None) -> Array:
    """Values as an array of the library, device and, unless given, dtype of another.

    Numbers and tuples of them become an array once, which all share: it must not be changed,
    and a device need not be waited for.
    """
    dtype = dtype or like.dtype
    if isinstance(values, float | int | tuple | range):
        return _shared(values, namespace(like), dtype, like.device)
    return namespace(like).asarray(values, dtype=dtype, device=like.device)


@functools.cache
def _shared(values: Any, xp: Any, dtype: Any, device: Any) -> Array:
    return xp.asarray(values, dtype=dtype, device=device)


def renewed(worlds: Array | None, new: T, old: T) -> T:
    """A nest of arrays: rows of `new` for the worlds of a mask, and of `old` for the others.

    Args:
        worlds: The mask, (N,), bool; None for all.
        new: Arrays (N, ...) in nested dicts, tuples and dataclasses, or one.
        old: Likewise.
    """
    if worlds is None:
        return new
    pairs = zip(leaves(new), leaves(old), strict=True)
    masks = ((worlds.reshape(-1, *[1] * (one.ndim - 1)), one, other) for one, other in pairs)
    return rebuild(new, (namespace(one).where(mask, one, other) for mask, one, other in masks))


def leaves(tree: Any) -> Iterator[Array]:
    """The arrays in nested dicts, tuples and dataclasses, in order; None holds none."""
    if tree is None:
        return
    parts = _parts(tree)
    if parts is None:
        yield tree
    else:
        for part in parts:
            yield from leaves(part)


def rebuild(tree: T, arrays: Iterator[Array]) -> T:
    """The same nest around other arrays."""
    if tree is None:
        return tree
    parts = _parts(tree)
    if parts is None:
        return next(arrays)
    built: Any = [rebuild(part, arrays) for part in parts]
    if isinstance(tree, dict):
        return dict(zip(tree, built, strict=True))  # type: ignore[return-value]
    return tuple(built) if isinstance(tree, tuple) else type(tree)(*built)  # type: ignore[return-value]


def _parts(tree: Any) -> list[Any] | None:
    if isinstance(tree, dict):
        return list(tree.values())
    if isinstance(tree, tuple):
        return list(tree)
    if is_dataclass(tree):
        return [getattr(tree, field.name) for field in fields(tree)]
    return None


class ArrayBackend(Protocol):
    """What the arrays of a library need besides the array API, on one device."""

    def asarray(self, values: Array) -> Array:
        """Values as an array of the library, on the device, in its precision."""

    def copy(self, arrays: Mapping[Key, Array]) -> dict[Key, Array]:
        """Copies of arrays, which share no element, in few operations."""

    def to_host(self, arrays: Mapping[Key, Array]) -> Callable[[], dict[Key, NDArray[Any]]]:
        """Start to bring arrays to the host; the function returned waits until they are there.

        Where the device has errors to report, the function raises them, too.
        """

    def capture(self, function: Callable[..., R]) -> Callable[..., R]:
        """A pure function of arrays, captured as one graph where the device has graphs.

        Args:
            function: What differs between its calls must be among its arguments, which are
                arrays, None, or dicts, tuples and dataclasses of them, as are its results.
        """


class NumpyBackend:
    """NumPy's arrays, which are on the host as they are; an `ArrayBackend`."""

    def asarray(self, values: Any) -> NDArray[Any]:
        """Values as a NumPy array."""
        return np.asarray(values)

    def copy(self, arrays: Mapping[Key, Array]) -> dict[Key, Array]:
        """Copies of arrays."""
        return {name: array.copy() for name, array in arrays.items()}

    def to_host(self, arrays: Mapping[Key, Array]) -> Callable[[], dict[Key, NDArray[Any]]]:
        """The arrays as they are."""
        return lambda: dict(arrays)

    def capture(self, function: Callable[..., R]) -> Callable[..., R]:
        """The function as it is."""
        return function
