"""Functions that Numba compiles."""

import numba.core.dispatcher
import pytest

from vtenv.jit import jit


def halves(number: float) -> float:
    return 1.0 / number


def test_it_divides_as_the_standard_says():
    assert jit()(halves)(0.0) == float("inf")


def test_where_nothing_can_be_kept_it_is_compiled_all_the_same(monkeypatch):
    def refuse(_: object) -> None:
        raise RuntimeError("cannot cache function 'halves': no locator available")

    monkeypatch.setattr(numba.core.dispatcher, "FunctionCache", refuse)
    with pytest.raises(RuntimeError, match="no locator"):
        numba.njit(cache=True)(halves)
    assert jit()(halves)(4.0) == 0.25
