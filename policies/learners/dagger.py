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
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from policies.learners.dagger_config import DaggerConfig
from policies.learners.demonstrations import DemonstrationBuffer
from policies.learners.reinforcement import GoOn, Pause
from policies.learners.student import Student
from policies.worlds import simulation_of
from vtenv.expert_policy import expert_actions
from vtenv.rollout import Transition, final_observation, rollout

STD_RANGE = (0.05, 0.3)
"""Least and greatest standard deviation that the policy is left with, for PPO to explore by."""
_LAST_RATE = 0.01
"""Part of the learning rate that is left at the end of the budget."""
_RESIDUAL_MEMORY = 0.9
"""Weight of the rounds before in the running mean of the squared residual."""


class Dagger:
    """A distillation and where it stands: rounds of acting and learning.

    The critic learns beside, from the returns of the rollouts, so that PPO can go on from the
    policy. It does not change a features extractor that it shares with the actor.

    With observations that are tensors on the policy's device, all but rewards and values stays
    there.

    Args:
        model: A model of Stable-Baselines3's PPO. The weights of its policy, the student, are
            changed in place, and its `num_timesteps` is what is counted; the deviation of
            actions, `log_std`, becomes what they err by.
        envs: Worlds or wrappers around them, with `AutoresetMode.SAME_STEP`.
        config: The budget, and how to learn.
        seed: Seed of the worlds and of all draws.

    Raises:
        ValueError: If the policy or the environments are not such; says what to change.
    """

    def __init__(
        self,
        model: BaseAlgorithm,
        envs: VectorEnv[Any, Any, Any],
        config: DaggerConfig,
        *,
        seed: int,
    ) -> None:
        policy: Any = model.policy
        self._student = Student(policy)
        _check_worlds(envs, policy)
        self.policy: ActorCriticPolicy = policy
        self.model, self.envs, self.config = model, envs, config
        self.device = policy.device
        self._simulation = simulation_of(envs)
        self.rounds, self.seconds = 0, 0.0
        self._seed = seed
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._optimizer = torch.optim.Adam(
            self._student.parameters(), config.learning_rate, fused=self.device.type == "cuda"
        )
        capacity = max(math.ceil(config.buffer_size / envs.num_envs), config.rollout_steps)
        self._demonstrations = DemonstrationBuffer(capacity, self.device)
        self._residual = torch.full_like(policy.log_std.detach(), STD_RANGE[1] ** 2)
        self._chance = 0.0
        self._transitions: Iterator[Transition] | None = None
        self._measured: list[dict[str, float]] = []

    @property
    def used(self) -> float:
        """Part of the budget that is used up."""
        steps, seconds = self.config.steps, self.config.seconds
        return max(
            self.model.num_timesteps / steps if steps is not None else 0.0,
            self.seconds / seconds if seconds is not None else 0.0,
        )

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on, beside the model: tensors and numbers alone."""
        return {
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "residual": self._residual.clone(),
            "seconds": self.seconds,
            "rounds": self.rounds,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where another distillation stood, whose weights and steps the model has.

        The worlds start new episodes, and what had been aggregated is gathered anew: learning
        waits for `learning_starts` rows.
        """
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"].cpu())
        self._residual.copy_(state["residual"])
        self.rounds, self.seconds = state["rounds"], state["seconds"]
        self._transitions = None

    def learn(self, pause: Pause, go_on: GoOn) -> None:
        """Rounds until the budget is used up, or `go_on` says no."""
        while self.used < 1 and go_on(self.model.num_timesteps):
            pause(self.model.num_timesteps)
            self._measured.append(self.round())
        go_on(self.model.num_timesteps)  # which shows how far it is

    def measures(self) -> dict[str, float]:
        """Means over the rounds since the last call, for a table.

        Success is of the episodes in which the student alone had acted.
        """
        rounds, self._measured = self._measured, []
        episodes, successes = (
            sum(measured.pop(name) for measured in rounds) for name in ("episodes", "successes")
        )
        means = {f"train/{k}": sum(r[k] for r in rounds) / len(rounds) for k in rounds[0]}
        return means | {"success": successes / episodes if episodes else 0.0}

    def round(self) -> dict[str, float]:
        """Let the student act, and learn from what the expert says about it.

        Returns:
            - `episodes`: how many ended in which the student alone had acted, and `successes`,
              how many of them succeeded;
            - `imitation_error`: mean squared difference between what the student would have done,
              before it learned from this round, and what the expert would;
            - `loss`: the same on the minibatches; NaN in a round without learning;
            - `value_loss`: mean squared error of the critic on the returns; NaN likewise;
            - `explained_variance`: part of the returns' variance that the critic had foreseen;
            - `expert_chance`, the expert's chance to act, and `learning_rate`.

        Raises:
            ValueError: If a loss is not a number.
        """
        begun = time.monotonic()
        config, used = self.config, self.used
        self._chance = max(0.0, 1.0 - used / config.expert_part) if config.expert_part > 0 else 0.0
        rate = config.learning_rate * (1.0 - (1.0 - _LAST_RATE) * min(used, 1.0))
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self.policy.set_training_mode(False)
        transitions = self._transitions = self._transitions or self._start()
        steps, rows = [], []
        for _ in range(config.rollout_steps):
            steps.append(next(transitions))
            rows.append(self._step(steps[-1]))
        taken = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        returns = self._returns(taken, steps)
        self._settle_deviation(taken["residual"])
        learning = len(self._demonstrations) >= config.learning_starts
        loss, value_loss = self._learn(returns) if learning else returns.new_full((2,), math.nan)
        unforeseen = (returns - taken["value"]).var() / returns.var()
        tensors = {
            "episodes": taken["finished"].sum(),
            "successes": taken["success"].sum(),
            "imitation_error": taken["residual"].mean(),
            "loss": loss,
            "value_loss": value_loss,
            "explained_variance": 1.0 - unforeseen,
        }
        # One transfer from the device for all.
        numbers = torch.stack([value.double() for value in tensors.values()]).tolist()
        measured = dict(zip(tensors, numbers, strict=True))
        self.model.num_timesteps += returns.numel()
        self.rounds += 1
        self.seconds += time.monotonic() - begun
        losses = [measured[name] for name in ("imitation_error", "loss", "value_loss")]
        if learning and not all(map(math.isfinite, losses)):
            raise ValueError(
                f"after {self.model.num_timesteps} steps the loss is {losses[1]}, and the "
                f"critic's {losses[2]}: lower the learning rate, {config.learning_rate:g}"
            )
        return measured | {"expert_chance": self._chance, "learning_rate": rate}

    def _start(self) -> Iterator[Transition]:
        """Start episodes in all worlds; others after a resumption than at first."""
        words = np.random.SeedSequence((self._seed, self.rounds))
        seeds: Any = words.generate_state(self.envs.num_envs, np.uint64).tolist()
        self._alone = torch.ones(self.envs.num_envs, dtype=torch.bool, device=self.device)
        return rollout(self.envs, self._act, seed=seeds)

    def _act(self, observed: Any, _: Mapping[str, Any]) -> Any:
        """The student's actions, or the expert's by chance; what both would do is kept."""
        student = self._student
        observation = student.observed(observed)
        self._chosen, self._value = student.act(observation)
        self._expert = student.tensor(expert_actions(self._simulation))
        self._demonstrations.add(observation, self._expert)
        count = len(self._expert)
        drawn = torch.rand(count, generator=self._generator, device=self.device)
        self._taught = drawn < self._chance
        action: Any = torch.where(self._taught[:, None], self._expert, self._chosen)
        part = next(iter(observed.values())) if isinstance(observed, Mapping) else observed
        return action if isinstance(part, Tensor) else action.cpu().numpy()

    def _step(self, step: Transition) -> dict[str, Tensor]:
        """What came of one step of all worlds, by name, (N, ...) each."""
        student, info = self._student, step.next_info
        terminated, truncated = student.tensor(step.terminated), student.tensor(step.truncated)
        self._alone &= ~self._taught
        done = terminated | truncated
        finished = done & self._alone
        success = torch.zeros_like(done)
        if "final_info" in info:
            success = student.tensor(info["final_info"]["is_success"]) & finished
        self._alone |= done
        return {
            "value": self._value,
            "reward": student.tensor(step.reward).float(),
            "done": done,
            "truncated": truncated & ~terminated,
            "residual": (self._chosen - self._expert).square(),
            "finished": finished,
            "success": success,
        }

    def _returns(self, taken: Mapping[str, Tensor], steps: Sequence[Transition]) -> Tensor:
        """Returns to fit the critic to, (T, N), as Stable-Baselines3 computes them."""
        student = self._student
        value, done = taken["value"].cpu().numpy(), taken["done"].cpu().numpy()
        reward = taken["reward"].cpu().numpy().copy()
        cut, worlds = taken["truncated"].nonzero().cpu().T
        for step in cut.unique().tolist():
            # Time was up: what would have followed is the critic's to say.
            these = worlds[cut == step].numpy()
            last = student.observed(final_observation(steps[step].next_info, these))
            reward[step, these] += self.config.gamma * student.act(last)[1].cpu().numpy()
        config, nothing = self.config, spaces.Box(0.0, 0.0, (0,))
        buffer = RolloutBuffer(
            *(len(reward), nothing, nothing, "cpu", config.gae_lambda, config.gamma),
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
        with torch.no_grad():
            self.policy.log_std.copy_(self._residual.sqrt().clamp(*STD_RANGE).log())

    def _draw(self, below: int) -> Tensor:
        """Random numbers of rows, a minibatch of them."""
        count = (self.config.batch_size,)
        return torch.randint(below, count, generator=self._generator, device=self.device)


def _check_worlds(envs: VectorEnv[Any, Any, Any], policy: ActorCriticPolicy) -> None:
    """Refuse environments that the expert cannot be distilled in; says what to change."""
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
