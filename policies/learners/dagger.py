"""Distillation of the scripted expert: the student acts, the expert says what it would have done.

Source: Ross, Gordon and Bagnell 2011 ("A Reduction of Imitation Learning and Structured Prediction
to No-Regret Online Learning"): data set aggregation, with a chance for the expert to act that
falls to zero.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from policies.learners.dagger_config import DaggerConfig, DaggerRound
from policies.learners.demonstrations import DemonstrationBuffer
from policies.learners.student import Student
from policies.worlds import expert, simulation_of
from vtenv.rollout import Transition, rollout
from vtenv.simulation import Simulation

STD_RANGE = (0.05, 0.3)
"""Least and greatest standard deviation that the policy is left with, for PPO to explore by."""
_LAST_RATE = 0.01
"""Part of the learning rate that is left at the end of the budget."""
_RESIDUAL_MEMORY = 0.9
"""Weight of the rounds before in the running mean of the squared residual."""

State = dict[str, Any]
"""Where a distillation stands: tensors, numbers and containers of them alone, so that
`torch.save` writes it and `torch.load(weights_only=True)` reads it."""


class DivergenceError(ValueError):
    """Numbers are no longer finite; the message says where and what to change."""


class Dagger:
    """A distillation and where it stands: rounds of acting and learning.

    The critic learns beside, from the returns of the rollouts, so that PPO can go on from the
    policy. It does not change a features extractor that it shares with the actor.

    With observations that are tensors on the policy's device, all but rewards and values stays
    there.

    Args:
        policy: The student, a policy of Stable-Baselines3's PPO. Its weights are changed in
            place; the deviation of its actions, `log_std`, becomes what they err by.
        envs: Worlds or wrappers around them, with `AutoresetMode.SAME_STEP`.
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
        self._simulation = _checked(policy, envs)
        self.device = policy.device
        self.steps = self.rounds = 0
        self.seconds = 0.0
        self._seed = seed
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._optimizer = torch.optim.Adam(
            self._student.parameters(), config.learning_rate, fused=self.device.type == "cuda"
        )
        capacity = max(math.ceil(config.buffer_size / envs.num_envs), config.rollout_steps)
        self._demonstrations = DemonstrationBuffer(capacity, self.device)
        self._residual = torch.full_like(policy.log_std.detach(), STD_RANGE[1] ** 2)
        self._transitions: Iterator[Transition] | None = None

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
        self._transitions = None

    def round(self) -> DaggerRound:
        """Let the student act, and learn from what the expert says about it.

        Raises:
            DivergenceError: If a loss is not a number.
        """
        begun = time.monotonic()
        config, used = self.config, self.used
        chance = max(0.0, 1.0 - used / config.expert_part) if config.expert_part > 0 else 0.0
        rate = config.learning_rate * (1.0 - (1.0 - _LAST_RATE) * min(used, 1.0))
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self.policy.set_training_mode(False)
        self._chance = chance
        transitions = self._transitions = self._transitions or self._start()
        steps, rows = [], []
        for _ in range(config.rollout_steps):
            steps.append(next(transitions))
            rows.append(self._step(steps[-1]))
        taken = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        returns = self._returns(taken, steps)
        self._settle_deviation(taken["residual"])
        learning = len(self._demonstrations) >= config.learning_starts
        losses = self._learn(returns) if learning else returns.new_full((2,), math.nan)
        counts = torch.stack([taken[name].sum() for name in ("finished", "success", "length")])
        unforeseen = (returns - taken["value"]).var() / returns.var()
        measured = [taken["residual"].mean(), *losses, 1.0 - unforeseen, taken["reward"].mean()]
        episodes, successes, episode_steps, *numbers = torch.cat(
            [counts.double(), torch.stack(measured).double()]
        ).tolist()
        self.steps += returns.numel()
        self.rounds += 1
        self.seconds += time.monotonic() - begun
        if learning and not all(math.isfinite(number) for number in numbers[:3]):
            raise DivergenceError(
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

    def _start(self) -> Iterator[Transition]:
        """Start episodes in all worlds; others after a resumption than at first."""
        words = np.random.SeedSequence((self._seed, self.rounds))
        seeds: Any = words.generate_state(self.envs.num_envs, np.uint64).tolist()
        count = self.envs.num_envs
        self._alone = torch.ones(count, dtype=torch.bool, device=self.device)
        self._elapsed = torch.zeros(count, dtype=torch.int64, device=self.device)
        return rollout(self.envs, self._act, seed=seeds)

    def _act(self, observed: Any, _: Mapping[str, Any]) -> Any:
        """The student's actions, or the expert's by chance; what both would do is kept."""
        student = self._student
        observation = student.observed(observed)
        self._chosen, self._value = student.act(observation)
        self._expert = student.tensor(expert(self._simulation))
        self._demonstrations.add(observation, self._expert)
        count = len(self._expert)
        drawn = torch.rand(count, generator=self._generator, device=self.device)
        self._taught = drawn < self._chance
        action: Any = torch.where(self._taught[:, None], self._expert, self._chosen)
        return action if _is_tensors(observed) else action.cpu().numpy()

    def _step(self, step: Transition) -> dict[str, Tensor]:
        """What came of one step of all worlds, by name, (N, ...) each."""
        student, info = self._student, step.next_info
        terminated, truncated = student.tensor(step.terminated), student.tensor(step.truncated)
        self._alone &= ~self._taught
        self._elapsed += 1
        done = terminated | truncated
        finished = done & self._alone
        success = torch.zeros_like(done)
        if "final_info" in info:
            success = student.tensor(info["final_info"]["is_success"]) & finished
        row = {
            "value": self._value,
            "reward": student.tensor(step.reward).float(),
            "done": done,
            "truncated": truncated & ~terminated,
            "residual": (self._chosen - self._expert).square(),
            "finished": finished,
            "success": success,
            "length": self._elapsed * finished,
        }
        self._alone |= done
        self._elapsed *= ~done
        return row

    def _returns(self, taken: Mapping[str, Tensor], steps: Sequence[Transition]) -> Tensor:
        """Returns to fit the critic to, (T, N), as Stable-Baselines3 computes them."""
        student = self._student
        value, done = taken["value"].cpu().numpy(), taken["done"].cpu().numpy()
        reward = taken["reward"].cpu().numpy().copy()
        cut, worlds = taken["truncated"].nonzero().cpu().T
        for step in cut.unique().tolist():
            # Time was up: what would have followed is the critic's to say.
            these = worlds[cut == step]
            last = student.observed(_select(steps[step].next_info["final_obs"], these))
            reward[step, these.numpy()] += self.config.gamma * student.act(last)[1].cpu().numpy()
        nothing = spaces.Box(0.0, 0.0, (0,))
        buffer = RolloutBuffer(
            len(reward),
            nothing,
            nothing,
            "cpu",
            self.config.gae_lambda,
            self.config.gamma,
            n_envs=self.envs.num_envs,
        )
        buffer.rewards, buffer.values = reward, value
        buffer.episode_starts[1:] = done[:-1]
        _, following = student.act(student.observed(steps[-1].next_observation))
        buffer.compute_returns_and_advantage(following.cpu(), done[-1])
        return torch.as_tensor(buffer.returns, device=self.device)

    def _learn(self, returns: Tensor) -> Tensor:
        """Learn from minibatches: the actor of all that is kept, the critic of the last round.

        Returns:
            The mean losses of the two, (2,).
        """
        losses = []
        self.policy.set_training_mode(True)
        latest, returns = self._demonstrations.latest(len(returns)).flatten(), returns.flatten()
        for _ in range(self.config.updates_per_round):
            observation, expert = self._demonstrations.rows(self._draw(len(self._demonstrations)))
            actor = (self._student.action(observation) - expert).square().mean()
            fresh = self._draw(len(latest))
            observation, _ = self._demonstrations.rows(latest[fresh])
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


def _is_tensors(observation: Any) -> bool:
    part = next(iter(observation.values())) if isinstance(observation, Mapping) else observation
    return isinstance(part, Tensor)


def _select(observation: Any, worlds: Tensor) -> Any:
    """What was last seen in some worlds, from a `final_obs` of either kind."""
    if isinstance(observation, Tensor):
        return observation[worlds]
    if isinstance(observation, Mapping):
        return {key: value[worlds] for key, value in observation.items()}
    rows = [observation[world] for world in worlds.tolist()]
    if isinstance(rows[0], Mapping):
        return {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    return np.stack(rows)


def _checked(policy: ActorCriticPolicy, envs: VectorEnv[Any, Any, Any]) -> Simulation:
    """The simulation within the environments.

    Raises:
        ValueError: If they are none to distil the expert in; says what to change.
    """
    mode = envs.metadata["autoreset_mode"]
    if mode is not AutoresetMode.SAME_STEP:
        raise ValueError(
            f"autoreset_mode={mode.value!r} is not allowed; it must be "
            f"{AutoresetMode.SAME_STEP.value!r}"
        )
    if policy.observation_space != envs.single_observation_space:
        raise ValueError(
            f"the policy is for observations {policy.observation_space}, but the environments "
            f"give {envs.single_observation_space}"
        )
    return simulation_of(envs)
