"""A policy to act with: safetensors and JSON, loaded without unpickling."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from policies.actor import Actor, ActorConfig, LSTMState, actor_of, build_actor
from policies.policy_files import (
    CONFIG_FILE,
    ENCODER_FOLDER,
    WEIGHTS_FILE,
    PolicyDocument,
    not_a_policy,
    policy_folder,
    read_policy,
)
from policies.representation_names import IMAGENET
from policies.representations import Representation, encoder_representation, make_representation
from policies.worlds import settings_to_json
from representation.bundled import bundled
from representation.tensor_file import load_weights, write_tensors
from representation.timm_encoder import VisuotactileEncoder
from vtenv.atomic_write import atomic_write, write_text
from vtenv.import_string import is_import_string
from vtenv.json_document import from_document
from vtenv.registry import make_task


class DeployablePolicy:
    """A policy to act with: the mean action, the same for the same observation.

    Attributes:
        actor: The network.
        representation: What the policy sees; its `make` makes environments seen so.
        settings: Keyword arguments of the environment it was trained in.
        provenance: What else was said about it when it was saved.

    Example:
        >>> policy = load_policy("outputs/train/policy")  # doctest: +SKIP
        >>> envs = policy.representation.make(8, **policy.settings)  # doctest: +SKIP
        >>> observation, info = envs.reset(seed=0)  # doctest: +SKIP
        >>> envs.step(policy(observation))  # doctest: +SKIP
    """

    def __init__(
        self,
        actor: Actor,
        representation: Representation,
        settings: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.actor = actor
        self.representation = representation
        self.settings = dict(settings or {})
        self.provenance = dict(provenance or {})
        self._state: LSTMState | None = None

    @property
    def recurrent(self) -> bool:
        """Whether it remembers: `reset` it when episodes start."""
        return self.actor.lstm is not None

    def to(self, device: str | torch.device) -> DeployablePolicy:
        """Move the network to a device; returns the policy itself."""
        self.actor.to(device)
        self._state = None
        return self

    def reset(self, worlds: Any = None) -> None:
        """Forget what was before in worlds whose episode starts.

        Args:
            worlds: Flags, (N,), bool, an array or a tensor; None for all.
        """
        if worlds is None or self._state is None:
            self._state = None
            return
        start = torch.as_tensor(worlds, device=self._state[0].device)
        hidden, cell = self._state
        keep = (~start)[None, :, None]
        self._state = (hidden * keep, cell * keep)

    def __call__(self, observation: Any) -> Any:
        """Act in N worlds.

        Args:
            observation: As the environments of `representation.make` observe it: (N, D), or for
                images a dictionary of (N, ...); arrays, or tensors of any device.

        Returns:
            Actions in [-1, 1], (N, A), float32: an array, or for tensors a tensor where they
            are.

        Raises:
            ValueError: If the observation is not what the policy was trained on.
        """
        entries = observation if isinstance(observation, Mapping) else {"": observation}
        self._check(entries)
        first = next(iter(entries.values()))
        device = self.actor.mean.weight.device
        tensors = {
            key: torch.as_tensor(entries[key], device=device).float()
            for key in self.actor.config.observation
        }
        if self._state is not None and self._state[0].shape[1] != len(first):
            self._state = None
        with torch.inference_mode():
            action, self._state = self.actor(tensors.get("", tensors), self._state)
        if isinstance(first, Tensor):
            # A tensor made in inference mode cannot enter what learns; its clone can.
            return action.to(first.device).clone()
        return action.cpu().numpy()

    def _check(self, entries: Mapping[str, Any]) -> None:
        for key, shape in self.actor.config.observation.items():
            if key in entries and tuple(entries[key].shape[1:]) == shape:
                continue
            have = ", ".join(
                f"{name or 'observation'} {tuple(value.shape)}" for name, value in entries.items()
            )
            raise ValueError(
                f"this policy on the representation {self.representation.name!r} takes "
                f"{key or 'observations'} of shape (N, {', '.join(map(str, shape))}), but got "
                f"{have}; make the environments with policy.representation.make(...), or "
                "pass raw observations through policy.representation.perceive(...)"
            )


def save_policy(
    folder: str | Path,
    policy: BasePolicy,
    representation: Representation,
    environment_settings: Mapping[str, Any],
    **provenance: Any,
) -> None:
    """Write the actor of a policy of Stable-Baselines3, to act with.

    An encoder that comes with the package, or has timm's weights, is stored by name and digest;
    any other is copied beside the actor.

    Args:
        folder: Where to; made if it is not there, and its files are replaced.
        policy: The policy of PPO, RecurrentPPO, SAC or TQC.
        representation: What it sees.
        environment_settings: Keyword arguments of the environment it was trained in.
        provenance: What else to say of it, such as `algorithm="ppo"`, in JSON's types.

    Raises:
        ValueError: If the policy cannot be exported.
    """
    folder = Path(folder)
    actor = actor_of(policy)
    document = PolicyDocument(
        representation=representation.name,
        encoder_digest=representation.digest,
        actor=asdict(actor.config),
        task=representation.task,
        settings=settings_to_json(environment_settings),
        provenance=provenance,
    )
    text = json.dumps(asdict(document), indent=2) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    if representation.encoder is not None and not _is_known(representation.name):
        _save_encoder(representation, folder)
    with atomic_write(folder / WEIGHTS_FILE) as temporary:
        write_tensors(temporary, actor.state_dict())
    write_text(folder / CONFIG_FILE, text)


def load_policy(
    source: str | Path, *, representation: Representation | None = None
) -> DeployablePolicy:
    """Load a policy to act with, on the CPU; nothing is unpickled.

    Args:
        source: A bundled policy's name, or a folder that `save_policy` wrote.
        representation: What it is to see with, if that is at hand; None for what it was saved
            with.

    Raises:
        ValueError: If a file is missing, damaged, or does not fit; or if the encoder is not the
            one that the policy was trained on.
    """
    folder = policy_folder(source)
    document = read_policy(folder)
    try:
        actor = build_actor(from_document(ActorConfig, document.actor))
    except (ValueError, RuntimeError, OverflowError) as error:
        raise not_a_policy(folder / CONFIG_FILE, error) from error
    load_weights(actor, folder / WEIGHTS_FILE, ValueError, CONFIG_FILE)
    if representation is None:
        representation = _representation(document, folder)
    if representation.digest != document.encoder_digest:
        raise ValueError(
            f"the policy in {folder} was trained on the representation "
            f"{document.representation!r} with the encoder "
            f"{document.encoder_digest[:12] or 'none'}, but {representation.name!r} has the "
            f"encoder {representation.digest[:12] or 'none'}; another encoder's embedding means "
            "nothing to it. Take the encoder it was trained on, or train it again"
        )
    try:
        make_task(document.task, **representation.environment_settings(document.settings))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{folder / CONFIG_FILE} is of no world that there is: {error}") from error
    return DeployablePolicy(actor, representation, document.settings, document.provenance)


def _representation(document: PolicyDocument, folder: Path) -> Representation:
    name, encoder = document.representation, folder / ENCODER_FOLDER
    try:
        if encoder.is_dir() and not _is_known(name):
            loaded = VisuotactileEncoder.from_pretrained(encoder)
            return encoder_representation(name, loaded, document.task)
        return make_representation(name, document.task)
    except ValueError as error:
        raise ValueError(
            f"what the policy in {folder} sees with cannot be loaded: {error}"
        ) from error


def _save_encoder(representation: Representation, folder: Path) -> None:
    """Write the encoder, unless it is there from the last save."""
    assert representation.encoder is not None
    path = folder / CONFIG_FILE
    there = (folder / ENCODER_FOLDER).is_dir() and path.is_file()
    if there and read_policy(folder).encoder_digest == representation.digest:
        return
    path.unlink(missing_ok=True)  # with half an encoder there is no policy
    representation.encoder.save_pretrained(folder / ENCODER_FOLDER)


def _is_known(name: str) -> bool:
    """Whether a representation's encoder can be had by its name on any machine.

    One of one's own, MODULE:NAME, is where its module is.
    Not an untrained one: another release of PyTorch may draw other weights from the same seed.
    """
    known = (IMAGENET, *bundled("encoders"))
    return is_import_string(name) or name.partition(":")[0] in known
