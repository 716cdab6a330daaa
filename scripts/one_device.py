"""Processes that see one device."""

from __future__ import annotations

import os

import torch


def one_device(device: str) -> dict[str, str]:
    """The environment variables of a process that sees one device.

    Args:
        device: "cpu", or "cuda:0" and so on, counted among those that this process sees.
    """
    kind, _, number = device.partition(":")
    there = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    visible = there.split(",") if there else [str(k) for k in range(torch.cuda.device_count())]
    chosen = visible[int(number or 0)] if kind == "cuda" else ""
    return {**os.environ, "CUDA_VISIBLE_DEVICES": chosen}
