"""The actor of a policy alone: what turns an observation into the mean action."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from torch import Tensor, nn

from policies.features import Standardize, VisuotactileCNN

ACTIVATIONS: dict[str, type[nn.Module]] = {"elu": nn.ELU, "relu": nn.ReLU, "tanh": nn.Tanh}
"""Activations that an actor may have, by name."""

LSTMState = tuple[Tensor, Tensor]
"""Hidden and cell state of an LSTM, each (layers, N, width)."""


@dataclass(frozen=True)
class ActorConfig:
    """What an actor is built from. Saved with its weights."""

    observation: Mapping[str, tuple[int, ...]]
    """Shape of each entry of an observation; one entry "" for an observation that is flat."""
    hidden: tuple[int, ...]
    """Widths of the hidden layers."""
    activation: str
    """One of `ACTIVATIONS`."""
    actions: int
    """Numbers in an action."""
    squashed: bool = False
    """Whether actions are kept in [-1, 1] by a tanh, or cut off there."""
    lstm_width: int = 0
    """Width of the LSTM before the hidden layers; 0 for none."""
    lstm_layers: int = 1
    """Layers of the LSTM."""

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"activation={self.activation!r} is not allowed; it must be one of "
                f"{', '.join(ACTIVATIONS)}"
            )
        shapes = {key: tuple(shape) for key, shape in self.observation.items()}
        object.__setattr__(self, "observation", shapes)
        object.__setattr__(self, "hidden", tuple(self.hidden))


class Actor(nn.Module):
    """Features, an LSTM if there is one, hidden layers, and the mean action."""

    def __init__(self, config: ActorConfig) -> None:
        super().__init__()
        self.config = config
        self.features = _features(config)
        width = self.features.features_dim
        self.lstm: nn.LSTM | None = None
        if config.lstm_width:
            self.lstm = nn.LSTM(width, config.lstm_width, config.lstm_layers)
            width = config.lstm_width
        layers: list[nn.Module] = []
        for hidden in config.hidden:
            layers += [nn.Linear(width, hidden), ACTIVATIONS[config.activation]()]
            width = hidden
        self.hidden = nn.Sequential(*layers)
        self.mean = nn.Linear(width, config.actions)

    def forward(
        self, observation: Any, state: LSTMState | None = None
    ) -> tuple[Tensor, LSTMState | None]:
        """Deterministic actions.

        Args:
            observation: (N, D), or (N, ...) by key, floating.
            state: State of the LSTM; None for that of an episode's start.

        Returns:
            Actions in [-1, 1], (N, A), and the next state; None without an LSTM.
        """
        features = self.features(observation)
        if self.lstm is not None:
            sequence, state = self.lstm(features[None], state)
            features = sequence[0]
        mean: Tensor = self.mean(self.hidden(features))
        if self.config.squashed:
            # As Stable-Baselines3 scales it to the bounds, to the last bit.
            return torch.tanh(mean) + 1.0 - 1.0, state
        return mean.clamp(-1.0, 1.0), state


def build_actor(config: ActorConfig) -> Actor:
    """An actor whose weights are to be loaded: none are drawn from PyTorch's generator."""
    with torch.random.fork_rng(devices=[]):
        return Actor(config).eval().requires_grad_(False)


def actor_of(policy: BasePolicy) -> Actor:
    """The actor of a policy of Stable-Baselines3, a copy on the CPU.

    Args:
        policy: The `policy` of PPO, RecurrentPPO, SAC or TQC, made with `policy_kwargs`.

    Returns:
        What acts as `policy.predict(..., deterministic=True)` does, to the last bit.

    Raises:
        ValueError: If the policy is of another kind.
    """
    lstm: nn.LSTM | None = None
    if isinstance(policy, ActorCriticPolicy):
        features, hidden = policy.pi_features_extractor, policy.mlp_extractor.policy_net
        mean, squashed = policy.action_net, policy.squash_output
        lstm = getattr(policy, "lstm_actor", None)  # RecurrentPPO's, of another package
    else:
        actor: Any = getattr(policy, "actor", None)
        if actor is None or not hasattr(actor, "latent_pi"):
            raise ValueError(
                f"a {type(policy).__name__} cannot be exported; give the policy of PPO, "
                "RecurrentPPO, SAC or TQC"
            )
        features, hidden, mean, squashed = actor.features_extractor, actor.latent_pi, actor.mu, True
    if not isinstance(features, Standardize | VisuotactileCNN):
        raise ValueError(
            f"a policy with the features extractor {type(features).__name__} cannot be exported; "
            "make it with policy_kwargs(representation)"
        )
    if not isinstance(mean, nn.Linear):
        raise ValueError("a policy with use_sde=True cannot be exported; train it without")
    space = policy.observation_space
    parts = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    linear = [layer for layer in hidden if isinstance(layer, nn.Linear)]
    alone = build_actor(
        ActorConfig(
            observation={key: part.shape or () for key, part in parts.items()},
            hidden=tuple(layer.out_features for layer in linear),
            activation=_activation(hidden),
            actions=mean.out_features,
            squashed=squashed,
            lstm_width=lstm.hidden_size if lstm else 0,
            lstm_layers=lstm.num_layers if lstm else 1,
        )
    )
    for name, original in (
        *(("features", features), ("lstm", lstm)),
        *(("hidden", hidden), ("mean", mean)),
    ):
        if original is not None:
            alone.get_submodule(name).load_state_dict(original.state_dict())
    return alone


def _activation(hidden: nn.Sequential) -> str:
    """Name of the one activation of hidden layers; ELU's if there are none."""
    names = {kind: name for name, kind in ACTIVATIONS.items()}
    kinds = {type(layer) for layer in hidden if not isinstance(layer, nn.Linear)} or {nn.ELU}
    if len(kinds) > 1 or not kinds <= names.keys():
        raise ValueError(
            f"a policy with the activation {', '.join(kind.__name__ for kind in kinds)} cannot be "
            f"exported; choose one of {', '.join(kind.__name__ for kind in names)}"
        )
    return names[kinds.pop()]


def _features(config: ActorConfig) -> Standardize | VisuotactileCNN:
    boxes: dict[str, Any] = {
        key: spaces.Box(-float("inf"), float("inf"), shape)
        for key, shape in config.observation.items()
    }
    return Standardize(boxes[""]) if set(boxes) == {""} else VisuotactileCNN(spaces.Dict(boxes))
