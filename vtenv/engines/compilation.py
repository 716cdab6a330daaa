"""Compiling the kernels of the Warp engine in parallel, before its first step."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import call
from pathlib import Path
from typing import Any

import mujoco_warp as mjw
import warp as wp

from vtenv.provenance import cores
from vtenv.sensing import warp_kernels

_log = logging.getLogger(__name__)


def _smooth_derivative(model: mjw.Model, data: mjw.Data) -> None:
    mjw.deriv_smooth_vel(model, data, wp.empty((data.nworld, model.nC), dtype=float))


PARTS: tuple[Callable[[mjw.Model, mjw.Data], Any], ...] = (
    mjw.collision,
    mjw.fwd_actuation,
    mjw.solve,
    partial(mjw.fwd_acceleration, factorize=True),
    partial(mjw.sensor_acc, skip_rne_postconstraint=True),
    mjw.kinematics,
    mjw.passive,
    _smooth_derivative,
    mjw.make_constraint,
    mjw.transmission,
)
"""Parts of `mjw.step`, those that compile for longest first. No two launch kernels of the same
module, which both would compile."""


def compile_kernels(model: mjw.Model, make_data: Callable[[], mjw.Data], device: wp.Device) -> None:
    """Compile and load the kernels of a physics step and of our sensors.

    Warp compiles a module when one of its kernels is first launched, and MuJoCo Warp makes most
    kernels within its functions: a step would compile module after module. Here its parts run
    once, each in a thread, and on data of its own that nothing else reads.

    Args:
        model: The model as it will be stepped, which decides what kernels there are.
        make_data: Makes data of one world.
        device: Where to run; the current device.
    """
    kind = f"sm{device.arch}" if device.is_cuda else "cpu"
    cache = Path(str(wp.config.kernel_cache_dir))
    if not any(cache.glob(f"wp_mujoco_warp*/*.{kind}*")):
        _log.warning("compiling kernels for %s: half a minute on 16 cores, once", device.alias)
    work = [partial(part, model, make_data()) for part in PARTS]
    work.append(partial(wp.load_module, warp_kernels, device))
    # The current CUDA context is one of each thread.
    with ThreadPoolExecutor(cores(), initializer=wp.set_device, initargs=(device,)) as pool:
        list(pool.map(call, work))
