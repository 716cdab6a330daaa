"""What is observed of a held plug besides images: vectors that the task computes."""

from __future__ import annotations

from vtenv.modalities import Modality

VECTOR_LIMIT = 30.0
"""Bound of every entry of `proprio` and `state`, in the entry's unit."""

PROPRIO = Modality(
    key="proprio",
    label="Proprioception",
    unit="cm, rad",
    shape=(12,),
    low=-VECTOR_LIMIT,
    high=VECTOR_LIMIT,
)
"""The hand, its target ahead of it, and the fingers."""

STATE = Modality(
    key="state",
    label="Privileged state",
    unit="cm, rad, 10 N",
    shape=(31,),
    low=-VECTOR_LIMIT,
    high=VECTOR_LIMIT,
)
"""Proprioception; plug, socket and force; and the connector's sizes."""
