"""Distillation of the scripted expert: the student acts, the expert says what it would have done.

Source: Ross, Gordon and Bagnell 2011 ("A Reduction of Imitation Learning and Structured Prediction
to No-Regret Online Learning"): data set aggregation, with a chance for the expert to act that
falls to zero.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from policies.learners.aggregate import Aggregate
from policies.learners.dagger_config import DaggerConfig, DaggerRound
from policies.learners.returns import gae_returns
from policies.learners.student import Student
from vtenv.tasks.insertion.expert import expert_action
from vtenv.vector_env import VTInsertVectorEnv

__all__ = [
    "STD_RANGE",
    "Dagger",
    "DaggerConfig",
    "DaggerRound",
    "DistillationError",
    "OnRound",
    "State",
    "distil",
]

STD_RANGE = (0.05, 0.3)
"""Least and greatest standard deviation that the policy is left with, for PPO to explore by."""
_LAST_RATE = 0.01
"""Part of the learning rate that is left at the end of the budget."""
_RESIDUAL_MEMORY = 0.9
"""Weight of the rounds before in the running mean of the squared residual."""

State = dict[str, Any]
"""Where a distillation stands: tensors, numbers and containers of them alone, so that
`torch.save` writes it and `torch.load(weights_only=True)` reads it."""


class DistillationError(RuntimeError):
    """Distillation cannot go on; the message says where and what to change."""


class Dagger:
    """A distillation and where it stands: rounds of acting and learning.

    The critic learns beside, from the returns of the rollouts, so that PPO can go on from the
    policy. It does not change a features extractor that it shares with the actor.

    With observations that are tensors on the policy's device everything stays there, and a round
    waits for the device twice, apart from what the environments do.

    Args:
        policy: The student, a policy of Stable-Baselines3's PPO. Its weights are changed in
            place; the deviation of its actions, `log_std`, becomes what they err by.
        envs: `VTInsertVectorEnv` or wrappers around it, with `AutoresetMode.SAME_STEP`.
        config: The budget, and how to learn.
        seed: Seed of the worlds and of all draws.

    Raises:
        ValueError: If the policy or the environments are not such; says what to change.
    """

    def __init__(
        self,
        policy: ActorCriticPolicy,
        envs: VectorEnv[Any, Any, Any],
        config: DaggerConfig,
        *,
        seed: int,
    ) -> None:
        self.policy, self.envs, self.config = policy, envs, config
        self._student = Student(policy)
        self._simulation = _inner(policy, envs).simulation
        self.device = policy.device
        self.steps = self.rounds = 0
        self.seconds = 0.0
        self._seed = seed
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._optimizer = torch.optim.Adam(
            self._student.parameters(), config.learning_rate, fused=self.device.type == "cuda"
        )
        capacity = max(math.ceil(config.buffer_size / envs.num_envs), config.rollout_steps)
        self._aggregate = Aggregate(capacity, self.device)
        self._residual = torch.full_like(policy.log_std.detach(), STD_RANGE[1] ** 2)
        self._observation: Any = None

    @property
    def used(self) -> float:
        """Part of the budget that is used up."""
        steps, seconds = self.config.steps, self.config.seconds
        return max(
            self.steps / steps if steps is not None else 0.0,
            self.seconds / seconds if seconds is not None else 0.0,
        )

    def state_dict(self) -> State:
        """What `load_state_dict` needs to go on, beside the policy's own weights."""
        return {
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "residual": self._residual.clone(),
            "steps": self.steps,
            "seconds": self.seconds,
            "rounds": self.rounds,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where another distillation stood, whose weights the policy has.

        The worlds start new episodes, and what had been aggregated is gathered anew: learning
        waits for `learning_starts` rows.

        Args:
            state: What `state_dict` returned.
        """
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"].cpu())
        self._residual.copy_(state["residual"])
        self.steps, self.rounds = state["steps"], state["rounds"]
        self.seconds = state["seconds"]
        self._observation = None

    def round(self) -> DaggerRound:
        """Let the student act, and learn from what the expert says about it.

        Raises:
            DistillationError: If a loss is not a number.
        """
        begun = time.monotonic()
        config, used = self.config, self.used
        chance = max(0.0, 1.0 - used / config.expert_part) if config.expert_part > 0 else 0.0
        rate = config.learning_rate * (1.0 - (1.0 - _LAST_RATE) * min(used, 1.0))
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        if self._observation is None:
            self._start()
        self.policy.set_training_mode(False)
        steps = [self._step(chance) for _ in range(config.rollout_steps)]
        rollout = {name: torch.stack([row[name] for row, _ in steps]) for name in steps[0][0]}
        returns = gae_returns(
            rollout["reward"],
            rollout["value"],
            self._following(rollout, [final for _, final in steps]),
            rollout["terminated"],
            rollout["truncated"],
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
        )
        self._settle_deviation(rollout["residual"])
        learning = len(self._aggregate) >= config.learning_starts
        losses = self._learn(returns) if learning else returns.new_full((2,), math.nan)
        counts = torch.stack([rollout[name].sum() for name in ("finished", "success", "length")])
        unforeseen = (returns - rollout["value"]).var() / returns.var()
        measured = [rollout["residual"].mean(), *losses, 1.0 - unforeseen, rollout["reward"].mean()]
        episodes, successes, episode_steps, *numbers = torch.cat(
            [counts.double(), torch.stack(measured).double()]
        ).tolist()
        self.steps += returns.numel()
        self.rounds += 1
        self.seconds += time.monotonic() - begun
        if learning and not all(math.isfinite(number) for number in numbers[:3]):
            raise DistillationError(
                f"after {self.steps} steps the loss is {numbers[1]}, and the critic's "
                f"{numbers[2]}: lower the learning rate, {config.learning_rate:g}"
            )
        return DaggerRound(
            steps=self.steps,
            seconds=self.seconds,
            used=self.used,
            episodes=int(episodes),
            successes=int(successes),
            episode_steps=int(episode_steps),
            imitation_error=numbers[0],
            loss=numbers[1],
            value_loss=numbers[2],
            explained_variance=numbers[3],
            reward=numbers[4],
            expert_chance=chance,
            learning_rate=rate,
        )

    def _start(self) -> None:
        """Start episodes in all worlds; others after a resumption than at first."""
        words = np.random.SeedSequence((self._seed, self.rounds))
        seeds: Any = words.generate_state(self.envs.num_envs, np.uint64).tolist()
        self._observation, _ = self.envs.reset(seed=seeds)
        count = self.envs.num_envs
        self._alone = torch.ones(count, dtype=torch.bool, device=self.device)
        self._elapsed = torch.zeros(count, dtype=torch.int64, device=self.device)

    def _step(self, chance: float) -> tuple[dict[str, Tensor], Any]:
        """One step of all worlds: what came of it by name, (N, ...) each, and `final_obs`."""
        student, simulation = self._student, self._simulation
        observation = student.observed(self._observation)
        chosen, value = student.act(observation)
        expert = student.tensor(expert_action(simulation.state, simulation.geometry)).float()
        self._aggregate.add(observation, expert)
        drawn = torch.rand(len(expert), generator=self._generator, device=self.device)
        taught = drawn < chance
        action: Any = torch.where(taught[:, None], expert, chosen)
        if not _is_tensors(self._observation):
            action = action.cpu().numpy()
        self._observation, reward, terminated, truncated, info = self.envs.step(action)
        terminated, truncated = student.tensor(terminated), student.tensor(truncated)
        self._alone &= ~taught
        self._elapsed += 1
        done = terminated | truncated
        finished = done & self._alone
        success = torch.zeros_like(done)
        if "final_info" in info:
            success = student.tensor(info["final_info"]["is_success"]) & finished
        row = {
            "value": value,
            "reward": student.tensor(reward).float(),
            "terminated": terminated,
            "truncated": truncated & ~terminated,
            "residual": (chosen - expert).square(),
            "finished": finished,
            "success": success,
            "length": self._elapsed * finished,
        }
        self._alone |= done
        self._elapsed *= ~done
        return row, info.get("final_obs")

    def _following(self, rollout: Mapping[str, Tensor], finals: Sequence[Any]) -> Tensor:
        """What the critic expects after each step, (T, N): where time was up, of the last state."""
        student = self._student
        _, last = student.act(student.observed(self._observation))
        following = torch.cat([rollout["value"][1:], last[None]])
        step, worlds = rollout["truncated"].nonzero().cpu().T
        for cut in step.unique():
            seen = student.observed(_rows(finals[cut], worlds[step == cut]))
            following[cut, worlds[step == cut]] = student.act(seen)[1]
        return following

    def _learn(self, returns: Tensor) -> Tensor:
        """Learn from minibatches: the actor of all that is kept, the critic of the last round.

        Returns:
            The mean losses of the two, (2,).
        """
        losses = []
        self.policy.set_training_mode(True)
        latest, returns = self._aggregate.latest(len(returns)).flatten(), returns.flatten()
        for _ in range(self.config.updates_per_round):
            observation, expert = self._aggregate.rows(self._draw(len(self._aggregate)))
            actor = (self._student.action(observation) - expert).square().mean()
            fresh = self._draw(len(latest))
            observation, _ = self._aggregate.rows(latest[fresh])
            critic = (self._student.value(observation) - returns[fresh]).square().mean()
            self._optimizer.zero_grad()
            (actor + critic).backward()
            self._optimizer.step()
            losses.append(torch.stack([actor.detach(), critic.detach()]))
        return torch.stack(losses).mean(0)

    def _settle_deviation(self, residual: Tensor) -> None:
        """Let PPO explore, later, about as far as the student errs."""
        self._residual.lerp_(residual.mean((0, 1)), 1.0 - _RESIDUAL_MEMORY)
        low, high = STD_RANGE
        with torch.no_grad():
            self.policy.log_std.copy_(self._residual.sqrt().clamp(low, high).log())

    def _draw(self, below: int) -> Tensor:
        """Random numbers of rows, a minibatch of them."""
        count = (self.config.batch_size,)
        return torch.randint(below, count, generator=self._generator, device=self.device)


OnRound = Callable[[Dagger, DaggerRound], None]
"""Is told of every round; may look at the student, or keep `Dagger.state_dict()`."""


def distil(
    policy: ActorCriticPolicy,
    envs: VectorEnv[Any, Any, Any],
    config: DaggerConfig,
    *,
    seed: int,
    on_round: OnRound | None = None,
    should_stop: Callable[[], bool] | None = None,
    state: Mapping[str, Any] | None = None,
) -> State:
    """Distil the scripted expert into a policy, until the budget is used up.

    Args:
        policy: The student, changed in place; see `Dagger`.
        envs: Where it acts; see `Dagger`.
        config: The budget, and how to learn. What `on_round` takes does not count as time.
        seed: Seed of the worlds and of all draws. The same seed gives the same policy on the CPU
            engine, if the budget is in steps.
        on_round: Is told of every round.
        should_stop: Asked after every round whether to end before the budget does.
        state: What another call has returned, to go on from, with the policy it has left.

    Returns:
        Where the distillation stands.

    Raises:
        DistillationError: If a loss is not a number.
        ValueError: If the policy or the environments do not fit; says what to change.
    """
    dagger = Dagger(policy, envs, config, seed=seed)
    if state is not None:
        dagger.load_state_dict(state)
    while dagger.used < 1.0:
        result = dagger.round()
        if on_round is not None:
            on_round(dagger, result)
        if should_stop is not None and should_stop():
            break
    policy.set_training_mode(False)
    return dagger.state_dict()


def _is_tensors(observation: Any) -> bool:
    part = next(iter(observation.values())) if isinstance(observation, Mapping) else observation
    return isinstance(part, Tensor)


def _rows(observation: Any, worlds: Tensor) -> Any:
    """What was last seen in some worlds, from a `final_obs` of either kind."""
    if isinstance(observation, Tensor):
        return observation[worlds]
    if isinstance(observation, Mapping):
        return {key: value[worlds] for key, value in observation.items()}
    rows = [observation[world] for world in worlds.tolist()]
    if isinstance(rows[0], Mapping):
        return {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    return np.stack(rows)


def _inner(policy: ActorCriticPolicy, envs: VectorEnv[Any, Any, Any]) -> VTInsertVectorEnv:
    """The environment within the wrappers.

    Raises:
        ValueError: If it is not one to distil the expert in; says what to change.
    """
    inner = envs.unwrapped
    if not isinstance(inner, VTInsertVectorEnv):
        raise ValueError(
            f"the environment is a {type(inner).__name__}, but the expert knows only "
            'VTInsertVectorEnv: make it with gymnasium.make_vec("VTInsert-v0", '
            'vectorization_mode="vector_entry_point", ...)'
        )
    if inner.autoreset_mode is not AutoresetMode.SAME_STEP:
        raise ValueError(
            f"autoreset_mode={inner.autoreset_mode.value!r} is not allowed; it must be "
            f"{AutoresetMode.SAME_STEP.value!r}"
        )
    if policy.observation_space != envs.single_observation_space:
        raise ValueError(
            f"the policy is for observations {policy.observation_space}, but the environments "
            f"give {envs.single_observation_space}"
        )
    return inner
