"""What a policy sees: the oracle, proprioception, an encoder's embedding, or the images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import nn

from policies.representation_names import (
    DEFAULT_ENCODER,
    END_TO_END,
    IMAGENET,
    PRIVILEGED,
    PROPRIO,
    UNTRAINED,
    check_representation,
    split_part,
)
from policies.worlds import DEFAULT_TASK
from representation.backbone import PretrainedWeightsError
from representation.bundled import bundled_folder
from representation.encoder import import_encoder
from representation.encoder_config import EncoderConfig
from representation.encoder_files import CONFIG_FILE, read_config
from representation.timm_encoder import VisuotactileEncoder
from representation.wrappers.encode import ObservationEncoder, VectorEncodeObservation
from vtenv.arrays import namespace
from vtenv.import_string import is_import_string
from vtenv.registry import make_task, make_worlds
from vtenv.simulation import observation_space
from vtenv.transform_observation import VectorTransformObservation

_IMAGENET_NETWORK = EncoderConfig(backbone="resnet18")
_SEED = 0
"""Seed of an untrained encoder's weights: all policies on one see the same."""


@dataclass(frozen=True)
class Representation:
    """What a policy sees of the environment.

    Attributes:
        name: As `make_representation` takes it.
        modalities: What the environment has to give.
        encoder: What turns images into an embedding; None if nothing does.
        task: The environment's id in Gymnasium's registry.
    """

    name: str
    modalities: tuple[str, ...]
    encoder: VisuotactileEncoder | None = None
    task: str = DEFAULT_TASK

    def __post_init__(self) -> None:
        if self.encoder is not None:
            _ = self._transform  # says at once if such an encoder does not fit the environment

    @property
    def pixels(self) -> bool:
        """Whether a policy gets images, and needs convolutions of its own."""
        return self.name == END_TO_END

    @property
    def vectors(self) -> tuple[str, ...]:
        """The modalities that are no images."""
        images = () if self.encoder is None else self.encoder.keys
        return tuple(key for key in self.modalities if key not in images)

    @property
    def embedding_dim(self) -> int:
        """Width D of the embedding; 0 without an encoder."""
        return 0 if self.encoder is None else self.encoder.embedding_size

    @cached_property
    def digest(self) -> str:
        """What tells the encoder from any other: the `encoder_digest`; empty without one."""
        return "" if self.encoder is None else encoder_digest(self.encoder)

    def environment_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments of the environment, with what the representation asks for.

        Raises:
            ValueError: If they say something else than the representation; says what to change.
        """
        if "modalities" in settings:
            raise ValueError(
                f"modalities={settings['modalities']!r} is not for settings: the representation "
                f"{self.name!r} asks for {self.modalities}; leave it out"
            )
        wanted: dict[str, Any] = {"modalities": self.modalities}
        shapes = {} if self.encoder is None else self.encoder.image_shapes
        available = make_task(self.task).modalities
        for key, (_, rows, columns) in shapes.items():
            if available[key].is_sized_by_sensor:
                continue
            argument = available[key].size_setting
            assert argument is not None
            size = rows if rows == columns else (rows, columns)
            if settings.get(argument) not in (None, size):
                raise ValueError(
                    f"{argument}={settings[argument]} does not fit the representation "
                    f"{self.name!r}, whose encoder takes {rows} x {columns} pixels; leave "
                    f"{argument} out, or take an encoder for that size"
                )
            wanted[argument] = size
        return {**settings, **wanted}

    def observation_space(self, **settings: Any) -> spaces.Space[Any]:
        """The space of what a policy sees of one world of an environment with such settings."""
        if self.encoder is not None:
            return self._transform.space
        raw = observation_space(make_task(self.task, **self.environment_settings(settings)))
        return raw if self.pixels else _joined_space(raw, self.modalities)

    def make(
        self,
        num_envs: int,
        *,
        engine: str = "cpu",
        device: str | None = None,
        num_threads: int | None = None,
        precision: str = "float32",
        observations: str = "numpy",
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
        **settings: Any,
    ) -> VectorEnv[Any, Any, Any]:
        """Make worlds seen in this way.

        Args:
            num_envs: Worlds.
            engine: One of `vtenv.engines.ENGINE_NAMES`.
            device: Device of the Warp engine, None for "cuda:0"; and of the encoder, None for
                where the images are.
            num_threads: Threads of the CPU engine, None for one a core; and of an encoder on a
                CPU, None for PyTorch's own setting.
            precision: What the encoder computes in, as `FrozenEncoder`.
            observations: "numpy", or "torch" for tensors on the Warp engine's device: then the
                images never leave it.
            autoreset_mode: As the vector environment; `VTInsertVecEnv` needs this default.
            settings: Other arguments of the vector environment, but for `modalities`.

        Returns:
            The environments. Observations are flat, (N, D): the embedding, then what else there
            is, such as proprioception; or for images a dictionary.

        Raises:
            ValueError, TypeError: If a setting is not allowed; says what is.
        """
        envs = make_worlds(
            self.task,
            num_envs,
            engine=engine,
            device=device if engine != "cpu" else None,
            num_threads=num_threads if engine == "cpu" else None,
            observations=observations,
            autoreset_mode=autoreset_mode,
            **self.environment_settings(settings),
        )
        if self.encoder is not None:
            return VectorEncodeObservation(
                envs,
                self.encoder,
                keep=self.vectors,
                flat=True,
                device=device,
                precision=precision,
                num_threads=num_threads,
            )
        if self.pixels:
            return envs
        select = partial(_joined, keys=self.modalities)
        space = _joined_space(envs.single_observation_space, self.modalities)
        return VectorTransformObservation(envs, select, space)

    def perceive(self, observation: Mapping[str, Any]) -> Any:
        """What a policy sees of raw observations, such as a robot's; as `make`'s environments do.

        Args:
            observation: Arrays, or tensors on one device, (N, ...), by the
                environment's keys; at least those of `modalities`.
        """
        if self.encoder is not None:
            return self._transform(observation, (len(observation[self.modalities[0]]),))
        if self.pixels:
            return {key: observation[key] for key in self.modalities}
        return _joined(observation, self.modalities)

    @cached_property
    def _transform(self) -> ObservationEncoder:
        assert self.encoder is not None
        raw = observation_space(make_task(self.task, **self.environment_settings({})))
        return ObservationEncoder(raw, self.encoder, keep=self.vectors, flat=True)


def make_representation(name: str, task: str = DEFAULT_TASK) -> Representation:
    """Make a representation from its name.

    Args:
        name: "state", the privileged oracle; "proprio", proprioception; "end-to-end", the images
            for a policy with convolutions of its own; "random", an untrained encoder; "imagenet",
            an encoder with timm's weights; or an encoder: a bundled name, a folder, or an id on
            the Hugging Face Hub. An encoder followed by ":vision" or ":touch" is that part of it
            alone. All but "state" come with every vector that the task observes by default.
        task: An id of Gymnasium's registry.

    Raises:
        ValueError: If there is no such representation, its encoder cannot be loaded, or does not
            fit the environment; says what does.
    """
    if name == PRIVILEGED:
        return Representation(name, (name,), task=task)
    if name == PROPRIO:
        return Representation(name, _observed(task, images=False), task=task)
    if name == END_TO_END:
        return Representation(name, _observed(task, images=True), task=task)
    check_representation(name)
    source, part = split_part(name)
    encoder = _load(source)
    return encoder_representation(name, encoder.tower(part) if part else encoder, task)


def encoder_representation(
    name: str, encoder: VisuotactileEncoder, task: str = DEFAULT_TASK
) -> Representation:
    """The representation of an encoder that is at hand, under a name.

    Args:
        name: What to call it.
        encoder: The encoder; it is not copied, and must not be trained any more.
        task: An id of Gymnasium's registry.

    Raises:
        ValueError: If it does not fit the environment; says why.
    """
    keys = (*encoder.keys, *_observed(task, images=False))
    try:
        return Representation(name, keys, encoder, task)
    except ValueError as error:
        raise ValueError(f"the encoder {name!r} does not fit the environment: {error}") from error


def encoder_digest(encoder: VisuotactileEncoder) -> str:
    """What tells an encoder from any other: a SHA-256 of its configuration and weights, in hex."""
    defaults = asdict(EncoderConfig())
    # Only what differs from the defaults, so that a field that is new changes no digest.
    given = asdict(encoder.config) if isinstance(encoder, VisuotactileEncoder) else {}
    config = {n: value for n, value in given.items() if value != defaults[n]}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    weights = encoder.state_dict() if isinstance(encoder, nn.Module) else {}
    for name, value in sorted(weights.items()):
        array = value.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _joined(observation: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """Vectors of an observation as one, arrays or tensors, (..., D)."""
    parts = [observation[key] for key in keys]
    return parts[0] if len(parts) == 1 else namespace(parts[0]).concat(parts, axis=-1)


def _joined_space(space: spaces.Space[Any], keys: Sequence[str]) -> spaces.Box:
    """The space of what `joined` returns."""
    assert isinstance(space, spaces.Dict)
    boxes = [space[key] for key in keys]
    low, high = (np.concatenate([getattr(box, end) for box in boxes]) for end in ("low", "high"))
    return spaces.Box(low, high, dtype=np.float32)


def _observed(task: str, *, images: bool) -> tuple[str, ...]:
    """Keys of what a task observes by default, with or without images."""
    chosen = make_task(task).config.modalities
    return tuple(modality.key for modality in chosen if images or not modality.is_image)


def _load(source: str) -> Any:
    """The frozen encoder of a name, without a part."""
    if is_import_string(source):
        return import_encoder(source)
    # Building a network draws weights: that must not change what comes after it.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        if source == UNTRAINED:
            config = read_config(bundled_folder("encoders") / DEFAULT_ENCODER / CONFIG_FILE)
            return VisuotactileEncoder(config).eval().requires_grad_(False)
        if source == IMAGENET:
            try:
                encoder = VisuotactileEncoder(_IMAGENET_NETWORK, pretrained=True)
            except PretrainedWeightsError as error:
                raise ValueError(
                    f"the representation {IMAGENET!r} needs weights that are not here: {error}"
                ) from error
            return encoder.eval().requires_grad_(False)
        return VisuotactileEncoder.from_pretrained(source).requires_grad_(False)
