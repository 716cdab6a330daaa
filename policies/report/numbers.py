"""Numbers and names as a report writes them."""

from __future__ import annotations

from policies.evaluation.statistics import Estimate

NONE = "-"
"""What stands where a number is not known."""


def percent(part: float) -> str:
    """A part of one as percent, to a tenth; those of all and of none without."""
    return f"{100 * part:.0f}%" if part in (0.0, 1.0) else f"{100 * part:.1f}%"


def p_value(p: float) -> str:
    """A p-value to a thousandth."""
    return f"{p:.3f}" if p >= 0.0005 else "< 0.001"


def success(found: Estimate, single: bool) -> str:
    """A success rate with its interval; where there is but one run, that is said instead."""
    if single:
        return f"{percent(found.value)} (1 seed)"
    low = percent(found.low).removesuffix("%")
    return f"{percent(found.value)} ({low} to {percent(found.high)})"


def steps(count: float) -> str:
    """A number of steps, to three digits: "950", "12.3 k", "5 M"."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * factor:
            return f"{count / factor:.3g} {letter}"
    return f"{count:.0f}"


def duration(seconds: float) -> str:
    """A time, in the unit that people would use: "45 s", "12 min", "3.4 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def spoken_list(words: list[str]) -> str:
    """Words as a list: "a, b and c"."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def commit(described: str) -> str:
    """A commit as `git describe` writes it; a changed checkout is said to be one."""
    clean = described.removesuffix("-dirty")
    changed = " with uncommitted changes (dirty): it alone does not give these numbers"
    return clean if clean == described else clean + changed
