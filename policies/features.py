"""The network of a policy, the same for reinforcement learning and distillation."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from policies.representations import Representation
from policies.worlds import simulation_of
from representation.preprocessing import flat_channels, normalise
from vtenv.arrays import to_host
from vtenv.modalities import IMAGE_MODALITIES
from vtenv.rollout import rollout

NET_ARCH = (512, 256)
"""Widths of the hidden layers of the actor, and of the critic."""
CNN_WIDTH = 128
"""Width of what the convolutions make of each sense's images."""

_LIMIT = 8.0
"""Standard deviations from the mean beyond which an input is clipped."""
_CONSTANT = 1e-4
"""Standard deviation below which an input counts as constant, and is centred but not scaled."""
_MIN_STEPS, _MIN_OBSERVATIONS = 100, 1000
"""Least that calibration looks at: steps, of which an episode has at most 100, and observations."""
_CHANNELS = (32, 64, 64, 64)
"""Channels after each convolution; each halves the image."""


class Standardize(BaseFeaturesExtractor):
    """Centres and scales a vector with statistics that `calibrate` sets once.

    They are buffers: saved with a policy, and changed by no training, so that a policy means the
    same by its inputs from the first step to the last.

    Args:
        observation_space: The vector's space, (D,).
        key: Entry of the observation that the vector is; None if it is all there is.
    """

    mean: Tensor
    """(D,)."""
    std: Tensor
    """(D,), positive."""

    def __init__(self, observation_space: spaces.Box, key: str | None = None) -> None:
        (size,) = observation_space.shape
        super().__init__(observation_space, size)
        self.key = key
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    def forward(self, observations: Tensor) -> Tensor:
        """Standardised vectors, (B, D), within 8 standard deviations.

        Args:
            observations: (B, D), floating.
        """
        return ((observations - self.mean) / self.std).clamp(-_LIMIT, _LIMIT)


class VisuotactileCNN(BaseFeaturesExtractor):
    """Convolutions over images, which learn with the policy, beside standardised vectors.

    For every "MultiInputPolicy" on images as they are observed. Stable-Baselines3's own extractor
    takes none of these for images, as their values are not 0 to 255, and flattens them: a policy
    on 12,288 numbers without a convolution. Frames are stacked along channels:

        policy_kwargs = {"features_extractor_class": VisuotactileCNN}
        venv = VecFrameStack(venv, 4, channels_order="first")
        PPO("MultiInputPolicy", venv, policy_kwargs=policy_kwargs)

    Args:
        observation_space: Boxes: images (C, H, W) with modalities' keys, and vectors (P,).

    Warns:
        UserWarning: If frames seem to be stacked along columns.
    """

    def __init__(self, observation_space: spaces.Dict) -> None:
        boxes = {k: box for k, box in observation_space.items() if isinstance(box, spaces.Box)}
        images = [key for key in IMAGE_MODALITIES if key in boxes]
        vectors = [key for key in boxes if key not in images]
        width = sum(boxes[key].shape[0] for key in vectors)
        super().__init__(observation_space, len(images) * CNN_WIDTH + width)
        self._images, self._vectors = images, vectors
        for key in images:
            *axes, rows, columns = boxes[key].shape
            shape = math.prod(axes), rows, columns
            _warn_of_columns(key, shape)
            self.add_module(key, _tower(shape))
        for key in vectors:
            self.add_module(key, Standardize(boxes[key], key))

    def forward(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Features, (B, 128 for each image + P).

        Args:
            observations: Images (B, C, H, W), in their units, and vectors (B, P), by key.
        """
        parts = []
        for key in self._images:
            image = normalise(observations[key], IMAGE_MODALITIES[key])
            parts.append(self.get_submodule(key)(flat_channels(image)))
        for key in self._vectors:
            parts.append(self.get_submodule(key)(observations[key]))
        return torch.cat(parts, dim=1)


def policy_kwargs(representation: Representation) -> dict[str, Any]:
    """Keyword arguments for a policy of Stable-Baselines3, whatever the algorithm.

    On a representation with pixels the policy is "MultiInputPolicy", otherwise "MlpPolicy".
    """
    return {
        "net_arch": list(NET_ARCH),
        "activation_fn": nn.ELU,
        "features_extractor_class": VisuotactileCNN if representation.pixels else Standardize,
    }


def calibrate(policy: BasePolicy, envs: VectorEnv[Any, Any, Any], seed: int) -> None:
    """Fix what a policy standardises its inputs with, before it is trained.

    The statistics are of observations along the behaviours of `vtenv.collection.experience`: the
    expert, and what goes wrong around it. The same seed gives the same on the CPU engine.

    Args:
        policy: A policy with `policy_kwargs`; all its `Standardize` are set.
        envs: Environments that it is to act in, which are stepped and left as they then are:
            reset them afterwards. They restart episodes within a step.
        seed: Seed of the worlds and the behaviours.

    Raises:
        ValueError: If the policy standardises nothing.
    """
    layers = [module for module in policy.modules() if isinstance(module, Standardize)]
    if not layers:
        raise ValueError(
            "the policy has no inputs to standardise; make it with policy_kwargs(representation)"
        )
    count = 0
    sums: dict[str | None, Any] = {layer.key: 0.0 for layer in layers}
    for observation in _observations(envs, seed):
        count += envs.num_envs
        for key in sums:
            values = torch.as_tensor(observation if key is None else observation[key]).double()
            sums[key] = sums[key] + torch.stack([values.sum(0), values.square().sum(0)])
    for layer in layers:
        mean, square = sums[layer.key] / count
        std = (square - mean.square()).clamp(min=0.0).sqrt()
        layer.mean.copy_(mean)
        layer.std.copy_(torch.where(std > _CONSTANT, std, 1.0))


def _observations(envs: VectorEnv[Any, Any, Any], seed: int) -> Iterator[Any]:
    """Observations along the mixture of behaviours, a batch a step."""
    worlds_seed, behaviour_seed = np.random.SeedSequence(seed).spawn(2)
    seeds = [int(s) for s in worlds_seed.generate_state(envs.num_envs, np.uint64)]
    rng = np.random.default_rng(behaviour_seed)
    simulation = simulation_of(envs)
    task = simulation.task
    behaviours = task.behaviours(envs.num_envs, task.mixture_type(), rng)
    starting = np.ones(envs.num_envs, bool)

    def act(_: Any, __: Mapping[str, Any]) -> Any:
        behaviours.start(starting)
        return behaviours.act(simulation.evaluation)

    steps = max(_MIN_STEPS, math.ceil(_MIN_OBSERVATIONS / envs.num_envs))
    for step in itertools.islice(rollout(envs, act, seed=seeds), steps):
        yield step.observation
        starting = to_host(step.terminated) | to_host(step.truncated)


def _warn_of_columns(key: str, shape: tuple[int, ...]) -> None:
    _, rows, columns = shape
    if columns > rows and columns % rows == 0:
        warnings.warn(
            f"{key} has {rows} rows and {columns} columns: if these are frames side by side, stack "
            'them along channels, with VecFrameStack(venv, n, channels_order="first")',
            stacklevel=3,
        )


def _tower(shape: tuple[int, ...]) -> nn.Sequential:
    """Convolutions over an image of a shape (C, H, W), and what they come to."""
    channels, rows, columns = shape
    layers: list[nn.Module] = []
    for index, width in enumerate(_CHANNELS):
        kernel = 5 if index == 0 else 3
        layers += [nn.Conv2d(channels, width, kernel, 2, kernel // 2), nn.ReLU()]
        channels, rows, columns = width, (rows + 1) // 2, (columns + 1) // 2
    flat = channels * rows * columns
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(flat, CNN_WIDTH), nn.LayerNorm(CNN_WIDTH), nn.Tanh()
    )
