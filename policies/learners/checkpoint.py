"""All that training needs to go on, as files that are read without unpickling objects."""

from __future__ import annotations

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

from representation.tensor_file import pytorch_document, read_state, write_state

MODEL, BUFFER, STATE = "model.zip", "replay_buffer.npz", "state.pt"

_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num")
_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


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
        buffer = model.replay_buffer
        arrays = {name: values[: buffer.size()] for name, values in _buffer_arrays(buffer)}
        position = np.array([buffer.pos, buffer.full])
        np.savez(folder / BUFFER, **cast(Any, {"position": position, **arrays}))
    write_state(
        folder / STATE,
        {
            "counters": {name: getattr(model, name) for name in _COUNTERS if hasattr(model, name)},
            "random": _random_state(model),
            "worlds": [generator.bit_generator.state for generator in generators],
            **state,
        },
    )


def load_checkpoint(
    folder: Path, model: BaseAlgorithm, generators: list[np.random.Generator]
) -> dict[str, Any]:
    """Go on from a checkpoint with a model of the same configuration, newly made.

    Returns:
        The `state` that it was written with.
    """
    load_parameters(folder / MODEL, model)
    if isinstance(model, OffPolicyAlgorithm) and model.replay_buffer is not None:
        buffer = model.replay_buffer
        with np.load(folder / BUFFER) as arrays:
            buffer.pos, buffer.full = int(arrays["position"][0]), bool(arrays["position"][1])
            for name, values in _buffer_arrays(buffer):
                values[: buffer.size()] = arrays[name]
    state = read_state(folder / STATE, "cpu")
    for name, value in state["counters"].items():
        setattr(model, name, value)
    for generator, found in zip(generators, state["worlds"], strict=True):
        generator.bit_generator.state = found
    _set_random_state(model, state["random"])
    return state


def save_model(path: Path, model: BaseAlgorithm) -> None:
    """Write a model as a zip of Stable-Baselines3, without the state of its worlds."""
    with pytorch_document(path) as document:
        model.save(document, exclude=["_last_obs", "_last_original_obs", "_last_lstm_states"])


def load_parameters(path: Path, model: BaseAlgorithm, *, optimizers: bool = True) -> None:
    """Load weights from a zip of Stable-Baselines3; unpickles tensors alone.

    Args:
        path: The zip.
        model: A model of the same networks.
        optimizers: Whether to load the state of its optimizers, too.
    """
    _, parameters, variables = load_from_zip_file(path, device=model.device, load_data=False)
    if optimizers:
        model.set_parameters(parameters, exact_match=True, device=model.device)
    else:
        model.policy.load_state_dict(cast(Any, parameters)["policy"])
    for name, value in (variables or {}).items():
        recursive_setattr(model, f"{name}.data", value.data)


def _buffer_arrays(buffer: ReplayBuffer) -> Iterator[tuple[str, NDArray[Any]]]:
    """The arrays of a replay buffer, by name; a row of each is a step of all worlds."""
    for name in _ARRAYS:
        values = getattr(buffer, name)
        entries = values if isinstance(values, dict) else {"": values}
        for key, value in entries.items():
            yield f"{name}/{key}", value


def _random_state(model: BaseAlgorithm) -> dict[str, Any]:
    """The state of every generator that an algorithm draws from."""
    legacy: Any = np.random.get_state(legacy=False)
    legacy["state"]["key"] = legacy["state"]["key"].tolist()
    state = {
        "numpy": legacy,
        "python": random.getstate(),
        "torch": torch.get_rng_state(),
        "actions": model.action_space.np_random.bit_generator.state,
    }
    if model.device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(model.device)
    return state


def _set_random_state(model: BaseAlgorithm, state: Mapping[str, Any]) -> None:
    np.random.set_state(state["numpy"])
    random.setstate(state["python"])
    torch.set_rng_state(state["torch"])
    model.action_space.np_random.bit_generator.state = state["actions"]
    if model.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], model.device)
