"""Vectors of a dictionary of observations, as a flat observation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from vtenv.arrays import namespace


def joined(observation: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """Vectors of an observation as one, arrays or tensors, (..., D)."""
    parts = [observation[key] for key in keys]
    return parts[0] if len(parts) == 1 else namespace(parts[0]).concat(parts, axis=-1)


def joined_space(space: spaces.Space[Any], keys: Sequence[str]) -> spaces.Box:
    """The space of what `joined` returns."""
    assert isinstance(space, spaces.Dict)
    boxes = [space[key] for key in keys]
    low, high = (np.concatenate([getattr(box, end) for box in boxes]) for end in ("low", "high"))
    return spaces.Box(low, high, dtype=np.float32)
