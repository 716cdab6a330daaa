"""Environments whose images are replaced by what an encoder makes of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

import vtenv
from representation.runtime import EncoderSource, FrozenEncoder
from vtenv.arrays import to_host
from vtenv.modalities import IMAGE_MODALITIES
from vtenv.validation import require
from vtenv.vector_env import TaskVectorEnv

EMBEDDING = "embedding"
"""Key of the embedding in an encoded observation."""
DEFAULT_ENCODER = "resnet-dynamics"
"""The bundled encoder of `VTInsertEmbedding-v0`."""
OUTPUTS = ("same", "numpy", "torch")
"""What encoded observations are made of."""


class EncodeOptions(TypedDict, total=False):
    """Keyword arguments of every wrapper."""

    keep: Sequence[str]
    """Keys of the observation that stay beside the embedding; ("proprio",) by default."""
    flat: bool
    """Whether to return one vector, the embedding first and then `keep` in its order, in place of a
    dictionary."""
    device: str | torch.device | None
    """Where to encode; None for where the observations are."""
    runtime: str | None
    """As `FrozenEncoder`."""
    precision: str
    """As `FrozenEncoder`."""
    num_threads: int | None
    """Threads on a CPU, which split the worlds; None for PyTorch's own setting. The simulator's
    threads are idle meanwhile."""


class ObservationEncoder:
    """Observations in, encoded observations out: what all the wrappers are wired to.

    The other arguments are those of `EncodeOptions`.

    Args:
        space: Space of one observation, before.
        encoder: An encoder (`representation.Encoder`), or what
            `VisuotactileEncoder.from_pretrained` takes: a bundled encoder's name, a folder, or an
            id on the Hugging Face Hub.
        output: What encoded observations are made of: "same" for what observations are, or "numpy"
            or "torch".

    Raises:
        ValueError: If such observations cannot be encoded: an image is missing, or has another
            shape or unit; says what to change.
    """

    space: spaces.Space[Any]
    """Space of one observation, after."""

    def __init__(
        self,
        space: spaces.Space[Any],
        encoder: EncoderSource,
        *,
        keep: Sequence[str] = ("proprio",),
        flat: bool = False,
        device: str | torch.device | None = None,
        runtime: str | None = None,
        precision: str = "float32",
        num_threads: int | None = None,
        output: str = "same",
    ) -> None:
        require(output in OUTPUTS, "output", output, f"one of {', '.join(OUTPUTS)}")
        frozen = FrozenEncoder(
            encoder, device=device, runtime=runtime, precision=precision, num_threads=num_threads
        )
        if not isinstance(space, spaces.Dict):
            raise ValueError(
                f"observations are {space}, but the encoder reads a dictionary with "
                f"{' and '.join(map(repr, frozen.keys))}; encode before flattening"
            )
        self.encoder, self.flat, self.output = frozen, flat, output
        self.keep = _checked_keep(keep, space)
        self.frames = _checked_images(space, frozen)
        """Axes of stacked frames: none, or (k,)."""
        self.arguments = {
            "encoder": str(encoder) if isinstance(encoder, str | Path) else frozen.module,
            "keep": list(self.keep),  # as JSON gives it back
            "flat": flat,
            "device": None if device is None else str(device),
            "runtime": runtime,
            "precision": precision,
            "num_threads": num_threads,
            "output": output,
        }
        """What an environment's specification remembers."""
        embedding_shape = (*self.frames, frozen.embedding_size)
        embedding = spaces.Box(-np.inf, np.inf, embedding_shape, np.float32)
        parts = {EMBEDDING: embedding, **{key: space[key] for key in self.keep}}
        self.space = _flat_space(parts) if flat else spaces.Dict(parts)

    def __call__(self, observation: Mapping[str, Any], batch: tuple[int, ...] = ()) -> Any:
        """The encoded observation.

        Args:
            observation: Arrays or tensors by key, each with the axes `batch` in front.
            batch: () for one observation, (N,) for N of them.
        """
        images = {
            key: observation[key].reshape(-1, *self.encoder.image_shapes[key])
            for key in self.encoder.keys
        }
        embedding = self.encoder(images)
        encoded = {
            EMBEDDING: embedding.reshape(*batch, *self.frames, embedding.shape[-1]),
            **{key: observation[key] for key in self.keep},
        }
        encoded = {key: self._converted(value) for key, value in encoded.items()}
        if not self.flat:
            return encoded
        parts = [
            value.reshape(*batch, math.prod(value.shape[len(batch) :]))
            for value in encoded.values()
        ]
        if isinstance(parts[0], Tensor):
            return torch.cat([part.float() for part in parts], dim=-1)
        return np.concatenate([np.asarray(part, np.float32) for part in parts], axis=-1)

    def encode_each(self, observations: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Encode observations that come one by one, each a mapping of arrays or of tensors."""
        count = len(observations)
        if not count:
            return []
        keys = (*self.encoder.keys, *self.keep)
        stack = torch.stack if isinstance(observations[0][keys[0]], Tensor) else np.stack
        batch: dict[str, Any] = {key: stack([one[key] for one in observations]) for key in keys}
        encoded = self(batch, (count,))
        if self.flat:
            return list(encoded)
        return [{key: value[index] for key, value in encoded.items()} for index in range(count)]

    def _converted(self, value: Any) -> Any:
        if self.output == "numpy" and isinstance(value, Tensor):
            # A copy: an engine's tensors are good until its next step.
            return value.detach().to("cpu", copy=True).numpy()
        if self.output == "torch" and not isinstance(value, Tensor):
            return torch.as_tensor(value, device=self.encoder.device)
        return value


class EncodeObservation(
    gymnasium.ObservationWrapper[Any, Any, Any],
    RecordConstructorArgs,
):
    """Replaces an environment's images by an encoder's embedding of them.

    The encoder is frozen: a copy of its own runs, in evaluation mode and without gradients,
    whatever becomes of the encoder that was given.

    A vector version exists, `VectorEncodeObservation`, which encodes all worlds at once; with
    Stable-Baselines3 use `VecEncodeObservation`.

    Frames that `gymnasium.wrappers.FrameStackObservation` has stacked are encoded one by one, to
    an embedding of (k, D). Stacking after encoding gives the same and encodes each frame once.

    `env.spec` remembers the encoder. `env.spec.to_json()` needs one that was given by name, by
    folder or by hub id: JSON holds no weights.

    Args:
        env: An environment with the images that the encoder reads, such as `VTInsert-v0`.
        encoder: As `ObservationEncoder`, errors included.
        output: As `ObservationEncoder`.
        options: See `EncodeOptions`. One thread by default: environments like this one run side by
            side in worker processes.

    Example:
        >>> import gymnasium, vtenv
        >>> from representation import EncodeObservation, EncoderConfig, VisuotactileEncoder
        >>> encoder = VisuotactileEncoder(EncoderConfig(backbone="test_resnet", embedding_dim=16))
        >>> env = EncodeObservation(gymnasium.make("VTInsert-v0"), encoder)
        >>> env.observation_space["embedding"]
        Box(-inf, inf, (32,), float32)
        >>> observation, info = env.reset(seed=0)
        >>> {key: value.shape for key, value in observation.items()}
        {'embedding': (32,), 'proprio': (12,)}
        >>> EncodeObservation(gymnasium.make("VTInsert-v0"), encoder, flat=True).reset()[0].shape
        (44,)
        >>> small = gymnasium.make("VTInsert-v0", image_size=48)
        >>> EncodeObservation(small, encoder)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: depth is 48 x 48 pixels, but the encoder takes 64 x 64: make the ...
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        encoder: EncoderSource,
        *,
        output: str = "same",
        **options: Unpack[EncodeOptions],
    ) -> None:
        options.setdefault("num_threads", 1)
        space = env.observation_space
        self.transform = ObservationEncoder(space, encoder, output=output, **options)
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, **self.transform.arguments)
        gymnasium.ObservationWrapper.__init__(self, env)
        self.observation_space = self.transform.space

    def observation(self, observation: Mapping[str, Any]) -> Any:
        """`{"embedding": (D,) float32, ...}`, or one vector if `flat`."""
        return self.transform(observation)


class VectorEncodeObservation(VectorWrapper, RecordConstructorArgs):
    """Replaces a vector environment's images by an encoder's embeddings: one pass for all worlds.

    Observations that are tensors on a GPU, as of the Warp engine with `observations="torch"`, are
    encoded there and never leave it; the embeddings are tensors too, which may enter a policy that
    learns. With `output="numpy"` the embeddings come to the host, and the images stay.

    Where episodes restart within a step (`AutoresetMode.SAME_STEP`), `info["final_obs"]` is
    encoded too, where `info["_final_obs"]` says there is one: an array of dictionaries, as
    Gymnasium has it, or a dictionary of tensors.

    Args:
        env: A vector environment.
        encoder: As `ObservationEncoder`, errors included.
        output: As `ObservationEncoder`.
        options: See `EncodeOptions`.

    Example:
        >>> import gymnasium, vtenv
        >>> from representation import EncoderConfig, VectorEncodeObservation, VisuotactileEncoder
        >>> encoder = VisuotactileEncoder(EncoderConfig(backbone="test_resnet", embedding_dim=16))
        >>> envs = gymnasium.make_vec(
        ...     "VTInsert-v0", num_envs=3, vectorization_mode="vector_entry_point"
        ... )
        >>> envs = VectorEncodeObservation(envs, encoder)
        >>> observation, info = envs.reset(seed=0)
        >>> {key: value.shape for key, value in observation.items()}
        {'embedding': (3, 32), 'proprio': (3, 12)}
        >>> envs.close()
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        encoder: EncoderSource,
        *,
        output: str = "same",
        **options: Unpack[EncodeOptions],
    ) -> None:
        self.transform = ObservationEncoder(
            env.single_observation_space, encoder, output=output, **options
        )
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, **self.transform.arguments)
        VectorWrapper.__init__(self, env)
        self.single_observation_space = self.transform.space
        self.observation_space = batch_space(self.transform.space, env.num_envs)

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """When the worlds reset themselves, as in `metadata`."""
        return AutoresetMode(self.metadata["autoreset_mode"])

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """As the wrapped environment, encoded."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self.transform(observation, (self.num_envs,)), info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """As the wrapped environment, encoded."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        if "final_obs" in info:
            info = {**info, "final_obs": self._final(info["final_obs"], info["_final_obs"])}
        encoded = self.transform(observation, (self.num_envs,))
        return encoded, reward, terminated, truncated, info

    def _final(self, final: Any, there: Any) -> Any:
        """Last observations of the episodes that ended, in the form they came in."""
        envs = self.env.unwrapped
        # Told by the host where it knows: flags on a device would have to be waited for.
        ended = envs.finished if isinstance(envs, TaskVectorEnv) else to_host(there)
        worlds = np.flatnonzero(ended)
        if not isinstance(final, Mapping):
            encoded = np.full(self.num_envs, None, dtype=object)
            for world, row in zip(worlds, self.transform.encode_each(final[worlds]), strict=True):
                encoded[world] = row
            return encoded

        def scattered(rows: Any) -> Any:
            """Zeros where no episode ended."""
            shape = (self.num_envs, *rows.shape[1:])
            every = (
                rows.new_zeros(shape)
                if isinstance(rows, Tensor)
                else np.zeros_like(rows, shape=shape)
            )
            every[index if isinstance(rows, Tensor) else worlds] = rows
            return every

        keys = (*self.transform.encoder.keys, *self.transform.keep)
        index = _on_device_of(final[keys[0]], worlds)
        rows = self.transform({key: final[key][index] for key in keys}, (len(worlds),))
        if self.transform.flat:
            return scattered(rows)
        return {key: scattered(value) for key, value in rows.items()}


def _on_device_of(like: Any, worlds: NDArray[np.int64]) -> Any:
    """Numbers of worlds to index an array with; nothing waits for a device."""
    if not isinstance(like, Tensor):
        return worlds
    index = torch.from_numpy(worlds)
    return index.pin_memory().to(like.device, non_blocking=True) if like.is_cuda else index


def make_embedding_env(
    encoder: EncoderSource = DEFAULT_ENCODER, **settings: Any
) -> EncodeObservation:
    """`VTInsertEmbedding-v0`.

    Args:
        encoder: As `ObservationEncoder`.
        settings: Keyword arguments of `VTInsert-v0`.
    """
    world = gymnasium.make(vtenv.ENV_ID, **settings).unwrapped
    return EncodeObservation(world, encoder, flat=True)


def make_embedding_vector_env(
    num_envs: int = 1, encoder: EncoderSource = DEFAULT_ENCODER, **settings: Any
) -> VectorEncodeObservation:
    """N worlds of `VTInsertEmbedding-v0` in one process.

    Args:
        num_envs: Worlds.
        encoder: As `ObservationEncoder`.
        settings: Keyword arguments of `VTInsert-v0`'s vector environment.
    """
    worlds = gymnasium.make_vec(
        vtenv.ENV_ID, num_envs, vectorization_mode="vector_entry_point", **settings
    )
    return VectorEncodeObservation(worlds, encoder, flat=True)


def _checked_keep(keep: Sequence[str], space: spaces.Dict) -> tuple[str, ...]:
    names = (keep,) if isinstance(keep, str) else tuple(keep)
    unknown = [name for name in names if name not in space.spaces]
    allowed = ", ".join(map(repr, space.spaces))
    if isinstance(keep, str) or unknown or len(set(names)) < len(names) or EMBEDDING in names:
        raise ValueError(
            f"keep={keep!r} is not allowed; it must be a sequence of keys of the observation "
            f"({allowed}), each once, or () for the embedding alone. An environment of VTInsert "
            "gives what its argument modalities names"
        )
    return names


def _checked_images(space: spaces.Dict, encoder: FrozenEncoder) -> tuple[int, ...]:
    """Axes of stacked frames, in front of each image."""
    found = {}
    for key in encoder.keys:
        if key not in space.spaces:
            wanted = tuple(dict.fromkeys((*space.spaces, key)))
            raise ValueError(
                f"observations have no {key!r}, which the encoder reads; they have "
                f"{', '.join(map(repr, space.spaces)) or 'nothing'}: make the environment with "
                f"it, modalities={wanted}, or take an encoder without it"
            )
        box = space[key]
        if not isinstance(box, spaces.Box) or len(box.shape) < 3:
            raise ValueError(
                f"{key!r} is {box}, but must be a Box of shape (channels, rows, columns)"
            )
        *axes, rows, columns = box.shape
        record = IMAGE_MODALITIES.get(key)
        first = len(axes) - (len(record.shape) if record else 1)  # of the axes of channels
        frames, channels = axes[:first], math.prod(axes[first:])
        expected = tuple(encoder.image_shapes[key])
        if (rows, columns) != expected[1:]:
            size = expected[1] if expected[1] == expected[2] else expected[1:]
            setting = f"with {record.size_setting}={size}" if record else f"with {size} pixels"
            raise ValueError(
                f"{key} is {rows} x {columns} pixels, but the encoder takes {expected[1]} x "
                f"{expected[2]}: make the environment {setting}, or take an encoder for "
                f"{rows} x {columns}"
            )
        if channels != expected[0]:
            raise ValueError(
                f"{key} has {channels} channels, but the encoder takes {expected[0]}: take an "
                f"encoder for {channels}, or choose channels with "
                "gymnasium.wrappers.TransformObservation; stack frames along an axis of their "
                "own, as gymnasium.wrappers.FrameStackObservation does, or after encoding"
            )
        low, high = map(np.float32, encoder.image_ranges.get(key, (-np.inf, np.inf)))
        if not (box.low.min() >= low and box.high.max() <= high):
            raise ValueError(
                f"{key} has values from {box.low.min():g} to {box.high.max():g}, but the encoder "
                f"takes {low:g} to {high:g}: they are in another unit, or unbounded. Convert them "
                "and give their space its bounds with gymnasium.wrappers.TransformObservation"
            )
        found[key] = tuple(frames)
    if len(set(found.values())) > 1:
        raise ValueError(f"images have different numbers of frames: {found}; stack them together")
    return next(iter(found.values()))


def _flat_space(parts: Mapping[str, spaces.Space[Any]]) -> spaces.Box:
    for key, part in parts.items():
        if not isinstance(part, spaces.Box):
            raise ValueError(
                f"{key!r} is {part}; flat=True takes boxes alone: leave it out of keep, or "
                "flatten with gymnasium.wrappers.FlattenObservation"
            )
    low, high = (
        np.concatenate([np.ravel(getattr(part, bound)) for part in parts.values()])
        for bound in ("low", "high")
    )
    return spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)
