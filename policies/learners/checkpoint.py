"""All that training needs to go on, as files that are read without unpickling objects."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file, recursive_setattr

from vtenv.run_folder import RunFolderError

MODEL, BUFFER, STATE = "model.zip", "replay_buffer.npz", "state.pt"

_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num")
_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


@contextlib.contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """Read a file of another run or time, which may hold anything.

    Args:
        path: What is read.
        remedy: What to do if it is damaged.

    Raises:
        RunFolderError: If the block raises.
    """
    try:
        yield
    except Exception as error:  # pickle, zip files, NumPy, PyTorch and Stable-Baselines3: any
        said = " ".join(str(error).split()).partition(". ")[0][:120] or type(error).__name__
        raise RunFolderError(
            f"{path} is damaged, or not of such a run ({said}); {remedy}"
        ) from error


def save_checkpoint(
    folder: Path,
    model: BaseAlgorithm,
    generators: list[np.random.Generator],
    state: Mapping[str, Any],
) -> None:
    """Write a checkpoint.

    Args:
        folder: An empty folder.
        model: What is trained.
        generators: The worlds' generators; their episodes are not kept.
        state: What else there is to go on from: numbers, strings, tensors, and dictionaries and
            lists of them.
    """
    save_model(folder / MODEL, model)
    if isinstance(model, OffPolicyAlgorithm) and model.replay_buffer is not None:
        np.savez(folder / BUFFER, **cast(Any, _buffer_arrays(model.replay_buffer)))
    document = io.BytesIO()  # in a file, PyTorch hides why it cannot be written
    torch.save(
        {
            "counters": {name: getattr(model, name) for name in _COUNTERS if hasattr(model, name)},
            "random": _random_state(model),
            "worlds": [generator.bit_generator.state for generator in generators],
            **state,
        },
        document,
    )
    (folder / STATE).write_bytes(document.getbuffer())


def load_checkpoint(
    folder: Path, model: BaseAlgorithm, generators: list[np.random.Generator]
) -> dict[str, Any]:
    """Go on from a checkpoint.

    Args:
        folder: Where it is.
        model: A model of the same configuration, newly made.
        generators: The worlds' generators.

    Returns:
        The `state` that it was written with.
    """
    load_parameters(folder / MODEL, model)
    if isinstance(model, OffPolicyAlgorithm) and model.replay_buffer is not None:
        with np.load(folder / BUFFER) as arrays:
            _fill_buffer(model.replay_buffer, arrays)
    state: dict[str, Any] = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    for name, value in state["counters"].items():
        setattr(model, name, value)
    for generator, found in zip(generators, state["worlds"], strict=True):
        generator.bit_generator.state = found
    _set_random_state(model, state["random"])
    return state


def save_model(path: Path, model: BaseAlgorithm) -> None:
    """Write a model as a zip of Stable-Baselines3, without the state of its worlds.

    Args:
        path: The zip.
        model: The model.
    """
    document = io.BytesIO()
    model.save(document, exclude=["_last_obs", "_last_original_obs", "_last_lstm_states"])
    path.write_bytes(document.getbuffer())


def load_parameters(path: Path, model: BaseAlgorithm) -> None:
    """Load weights and optimizers from a zip of Stable-Baselines3; unpickles tensors alone.

    Args:
        path: The zip.
        model: A model of the same configuration.
    """
    _, parameters, variables = load_from_zip_file(path, device=model.device, load_data=False)
    model.set_parameters(parameters, exact_match=True, device=model.device)
    for name, value in (variables or {}).items():
        recursive_setattr(model, f"{name}.data", value.data)


def _buffer_arrays(buffer: ReplayBuffer) -> dict[str, NDArray[Any]]:
    """The part of a replay buffer that is filled, by name."""
    rows = buffer.size()
    arrays: dict[str, NDArray[Any]] = {"position": np.array([buffer.pos, buffer.full])}
    for name in _ARRAYS:
        values = getattr(buffer, name)
        entries = values if isinstance(values, dict) else {"": values}
        arrays |= {f"{name}/{key}": value[:rows] for key, value in entries.items()}
    return arrays


def _fill_buffer(buffer: ReplayBuffer, arrays: Mapping[str, NDArray[Any]]) -> None:
    position, full = arrays["position"]
    buffer.pos, buffer.full = int(position), bool(full)
    for name in _ARRAYS:
        values = getattr(buffer, name)
        entries = values if isinstance(values, dict) else {"": values}
        for key, value in entries.items():
            value[: buffer.size()] = arrays[f"{name}/{key}"]


def _random_state(model: BaseAlgorithm) -> dict[str, Any]:
    """The state of every generator that an algorithm draws from."""
    name, keys, position, has_gauss, gauss = cast(Any, np.random.get_state(legacy=True))
    version, internal, gauss_next = random.getstate()
    state = {
        "numpy": [str(name), torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
        "python": [version, list(internal), gauss_next],
        "torch": torch.get_rng_state(),
        "actions": model.action_space.np_random.bit_generator.state,
    }
    if model.device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(model.device)
    return state


def _set_random_state(model: BaseAlgorithm, state: Mapping[str, Any]) -> None:
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
    torch.set_rng_state(state["torch"])
    model.action_space.np_random.bit_generator.state = state["actions"]
    if model.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], model.device)
