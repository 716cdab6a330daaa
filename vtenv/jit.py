"""Functions that Numba compiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def jit(**options: Any) -> Callable[[Function], Function]:
    """Decorate a function that is to be compiled when it is first called.

    It runs without Python's lock, divides as IEEE 754 says, and is kept for later processes: beside
    its file, or in the user's cache. Where neither can be written, every process compiles it anew.

    Args:
        options: More of `numba.njit`'s options.

    Returns:
        The decorator.
    """
    options = {"nogil": True, "error_model": "numpy", **options}

    def decorate(function: Function) -> Function:
        try:
            made: Function = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # there is no folder to keep it in
            made = numba.njit(**options)(function)
        return made

    return decorate
