"""Training a policy: by reinforcement learning, or from the scripted expert."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from policies.deployable import DeployablePolicy, load_policy, save_policy
from policies.evaluation.conditions import condition
from policies.evaluation.episodes import EpisodeRecord
from policies.evaluation.evaluate import evaluate
from policies.evaluation.players import player_of
from policies.evaluation.statistics import wilson
from policies.features import calibrate
from policies.films.side_by_side import film_pairs
from policies.hyperparameters import merge, preset
from policies.learners.algorithms import ALGORITHMS, make_model
from policies.learners.checkpoint import MODEL, load_checkpoint, save_checkpoint, save_model
from policies.learners.curriculum import Curriculum
from policies.learners.dagger import Dagger
from policies.learners.dagger_config import DaggerConfig
from policies.learners.ranks import Ranks
from policies.learners.rating import Rating
from policies.learners.record_episodes import RecordEpisodes, episode_means
from policies.learners.reinforcement import Learner, Reinforcement
from policies.learners.run_log import Row, RunLog
from policies.learners.train_config import CRITIC_WARMUP, DISTILLATION, RSL_RL, TrainConfig
from policies.learners.training_folder import TrainingFolder
from policies.learners.warm_start import check_start, start_from
from policies.representations import Representation, make_representation
from policies.seeds import SeedRange
from policies.vec_env import VTInsertVecEnv
from policies.worlds import simulation_of
from representation.runtime import torch_threads
from vtenv.atomic_write import atomic_folder
from vtenv.interruption import Interruption
from vtenv.run_folder import reading
from vtenv.validation import require

_RESULT_SEEDS: SeedRange = "development"
"""Of the episodes that tell how good the best policy is, and had no say in which that is."""

_ROWS = 500
"""Rows of the table on training, about."""
_WHOLE_EPISODE = 100
"""Least control steps of a world between two of them: a row on less would count the episodes that
succeed soon, and miss those that take all their time."""


@dataclass(frozen=True)
class TrainResult:
    """What training came to; the folder holds it too."""

    folder: Path
    """Where it was written."""
    success: float
    """Success rate of the best policy, on episodes that had no say in which it is."""
    curve: tuple[tuple[int, float], ...]
    """Steps and success rate of each evaluation."""
    seconds: float
    """Time it took, with evaluations."""
    steps: int
    """Control steps, all worlds together."""


def train(
    config: TrainConfig,
    folder: str | Path,
    *,
    progress: bool = True,
    command: str = "not said",
    resume: str = "train(...), with the same arguments",
) -> TrainResult:
    """Train a policy and write it down; go on if the folder holds a part of this very run.

    A run that has ended goes on where the configuration has another budget, with its optimizers
    and its replay buffer.

    On the CPU engine, with a budget of steps and one number of threads, a run that was killed and
    goes on from its last checkpoint ends where it would have ended, bit for bit; except for
    "dagger", which gathers its demonstrations anew. At a checkpoint all episodes start anew.

    Where torchrun started several processes, this is for rank 0; the others call `follow`.

    Args:
        config: What to train.
        folder: Where it goes; see `policies.learners.training_folder`.
        progress: Whether to show a bar on stderr.
        command: The command that makes the run again, to be written down.
        resume: The command that goes on after an interruption.

    Returns:
        What came out; of a run that had ended before, what came out then.

    Raises:
        RunFolderError: If the folder holds another run, is another process's, or is damaged; or if
            the run to start from does not fit.
        ValueError, TypeError: If an argument is not allowed; says what is. Or if the policy's
            numbers are no longer finite.
        KeyboardInterrupt: After Ctrl-C, SIGTERM or SIGHUP, once there is a checkpoint.
        OSError: If a file cannot be written; checkpoints before it are kept.
    """
    ranks = Ranks.started()
    config = _of_rank(config, ranks).resolved()
    files = TrainingFolder(folder)
    representation = make_representation(config.representation, config.task)
    with (
        files.lock(),
        torch_threads(config.num_threads),
        ranks.joined(config.torch_device),
        contextlib.ExitStack() as asked,
    ):
        interruption = asked.enter_context(Interruption())
        begun = files.begun
        if begun:
            files.require_same(config, representation.digest)
            files.extend(config, command)
            if (result := files.result()) is not None:
                if ranks.size > 1:
                    ranks.share({})  # there is nothing to follow
                return _result(files, result)
        start = check_start(config, representation) if config.start else None
        training = _Training(config, representation, files, start, progress, interruption, ranks)
        try:
            if not begun:
                files.begin(config, representation.digest, command, resume)
            training.train()
            training.save()
            try:
                if interruption.requested:
                    raise KeyboardInterrupt
                asked.close()  # the checkpoint has it all: from here on a signal ends at once
                return _result(files, training.finish())
            except KeyboardInterrupt:
                print(f"Stopped at step {training.steps:,}. Go on with: {resume}", file=sys.stderr)
                raise
        except Exception:
            if interruption.insisted:
                # Whatever was being written then says that it was not finished.
                raise KeyboardInterrupt from None
            raise
        finally:
            training.close()


def follow(config: TrainConfig) -> None:
    """Train with rank 0, which calls `train`: act in worlds of its own, and share gradients.

    Args:
        config: What rank 0 was given.
    """
    ranks = Ranks.started()
    config = _of_rank(config, ranks).resolved()
    assert config.num_envs and config.curriculum
    representation = make_representation(config.representation, config.task)
    with (
        torch_threads(config.num_threads),
        ranks.joined(config.torch_device),
        Interruption(),  # it is rank 0 that ends
    ):
        envs = RecordEpisodes(representation.make(config.num_envs, **config.worlds))
        venv = VTInsertVecEnv(envs)
        model = _model(config, representation, venv)
        learner = _learner(config, model, envs, ranks)
        curriculum = Curriculum(simulation_of(envs), config.curriculum)
        agreed = ranks.share()
        if agreed:
            model.num_timesteps = agreed["steps"]
            learner.load_state_dict(agreed["learner"])
            words = np.random.SeedSequence((config.seed, ranks.rank, agreed["steps"]))
            (seed,) = words.generate_state(1).tolist()
            model.set_random_seed(seed)  # also of its worlds

            def pause(_: int) -> bool:
                agreed.update(ranks.share())
                curriculum.load_state_dict(agreed["curriculum"])
                return bool(agreed["restart"])

            learner.learn(pause, lambda _: bool(agreed["going"]))
        envs.close()


def _of_rank(config: TrainConfig, ranks: Ranks) -> TrainConfig:
    """What a process of several trains; each has a GPU of its own.

    Raises:
        ValueError: If the algorithm does not train in several.
    """
    if ranks.size == 1:
        return config
    allowed = f"{RSL_RL} in each of {ranks.size} processes"
    require(config.algorithm == RSL_RL, "algorithm", config.algorithm, allowed)
    on_gpu = config.torch_device.startswith("cuda")
    return replace(config, device=f"cuda:{ranks.local}") if on_gpu else config


def _result(files: TrainingFolder, result: dict[str, Any]) -> TrainResult:
    curve = tuple((int(steps), float(success)) for steps, success in result["curve"])
    return TrainResult(files.path, result["success"], curve, result["seconds"], result["steps"])


class _Training:
    """A run and where it stands."""

    def __init__(
        self,
        config: TrainConfig,
        representation: Representation,
        files: TrainingFolder,
        start: Path | None,
        progress: bool,
        interruption: Interruption,
        ranks: Ranks,
    ) -> None:
        self.config, self.representation, self.files = config, representation, files
        self.interruption, self.ranks = interruption, ranks
        self.going = True  # what the ranks agreed on
        assert config.num_envs and config.steps and config.curriculum
        self.envs = RecordEpisodes(representation.make(config.num_envs, **config.worlds))
        self.rating = Rating(config, representation)
        venv = VTInsertVecEnv(self.envs)
        self.model = _model(config, representation, venv)
        self.simulation = simulation_of(self.envs)
        checkpoint = files.checkpoint()
        if checkpoint is None and start is not None:
            start_from(start, self.model)
        elif checkpoint is None:
            calibrate(self.model.policy, self.envs, config.seed)
            self.envs.take()  # episodes that nobody learned from
        self.learner = _learner(config, self.model, self.envs, ranks)
        self.curriculum = Curriculum(self.simulation, config.curriculum)
        self.log = RunLog(files, config.steps, progress)
        self.seconds = 0.0
        if checkpoint is not None:
            remedy = f"remove {files.checkpoints}, and --resume begins the run anew"
            with reading(checkpoint, remedy):
                state = load_checkpoint(checkpoint, self.model, self.simulation.generators)
                self.seconds = float(state["seconds"])
                self.curriculum.load_state_dict(state["curriculum"])
                self.learner.load_state_dict(state["learner"])
                self.log.load_state_dict(state["log"])
            venv._reset_seeds()  # the worlds' generators go on
        self.saved = self.steps
        self.begun = time.monotonic()
        self.ended: Counter[str] = Counter()

    @property
    def steps(self) -> int:
        """Control steps so far."""
        return self.model.num_timesteps

    def train(self) -> None:
        """Learn until the budget is used up, or somebody wants it to stop."""
        if self.ranks.size > 1:
            self.ranks.share({"steps": self.steps, "learner": self.learner.state_dict()})
        with self.log.opened():
            try:
                self.learner.learn(self._pause, self._go_on)
            except ValueError as error:
                # PyTorch's, of a distribution's mean; or, where torch.compile has switched off what
                # PyTorch checks, the worlds', of an action.
                if str(error).startswith(("Expected parameter", "the action [")):
                    raise self._diverged() from error
                raise
            if not all(torch.isfinite(p).all() for p in self.model.policy.parameters()):
                raise self._diverged()
            if not self.interruption.requested:
                self._log()
                self._evaluate()

    def _go_on(self, steps: int) -> bool:
        """Whether to go on."""
        minutes = self.config.max_minutes
        left = None if minutes is None else 60 * minutes - self._elapsed()
        self.log.show(steps, left)
        return self.going if self.ranks.size > 1 else not self._over()

    def _over(self) -> bool:
        """Whether time is used up, or somebody wants it to stop."""
        # Distillation counts the time of its rounds alone.
        minutes = self.config.max_minutes if self.config.reinforcement else None
        used_up = minutes is not None and self._elapsed() >= 60 * minutes
        return used_up or self.interruption.requested

    def _pause(self, steps: int) -> bool:
        """Log, evaluate and save what is due; whether the worlds are to start anew."""
        config = self.config
        assert config.steps and config.evaluate_every and config.checkpoint_every
        save = steps - self.saved >= config.checkpoint_every
        often = max(config.steps / _ROWS, _WHOLE_EPISODE * self.envs.num_envs)
        logged = self.log.metrics[-1]["steps"] if self.log.metrics else 0
        if save or steps - logged >= often:
            self._log()
        else:
            self._attend()
        evaluations = self.log.evaluations
        if not evaluations or steps - evaluations[-1]["steps"] >= config.evaluate_every:
            self._evaluate()
        if save:
            self.save()
        if self.ranks.size > 1:  # in the middle of a rollout the others would wait
            self.going = not self._over()
            curriculum = self.curriculum.state_dict()
            self.ranks.share({"restart": save, "going": self.going, "curriculum": curriculum})
        return save

    def _log(self) -> None:
        """Add a row on what happened since the last one."""
        seconds = self._elapsed()
        last = self.log.metrics[-1] if self.log.metrics else {"steps": 0, "seconds": 0.0}
        steps = self.steps - last["steps"]
        if not steps:
            return
        self._attend()
        row: Row = {"steps": self.steps, "seconds": seconds, **episode_means(self.ended)}
        self.ended.clear()
        row |= self.learner.measures()
        row["steps_per_s"] = steps / (seconds - last["seconds"])
        row["curriculum"] = self.curriculum.scale
        self.log.train(row)

    def _attend(self) -> None:
        """Take note of the episodes that ended meanwhile."""
        sums = self.envs.take()
        self.curriculum.learn_of(sums["episodes"], sums["success"])
        self.ended.update(sums)

    def _evaluate(self) -> None:
        """Rate the policy on the seeds that select the best one, unless that was done."""
        evaluations = self.log.evaluations
        if evaluations and evaluations[-1]["steps"] == self.steps:
            return
        best = max(((row["success"], row["progress"]) for row in evaluations), default=(-1.0, 0.0))
        begun = self._elapsed()
        rated = self.rating.rate(self.model.policy)
        ended = self._elapsed()
        took = {"seconds": ended, "evaluation_s": ended - begun}
        self.log.evaluate({"steps": self.steps, **took, **rated})
        if (rated["success"], rated["progress"]) > best:
            with atomic_folder(self.files.best) as folder:
                self._save_policy(folder, rated["success"])
                save_model(folder / MODEL, self.model)

    def _save_policy(self, folder: Path, success: float) -> None:
        save_policy(
            folder,
            self.model.policy,
            self.representation,
            self.config.settings,
            algorithm=self.config.algorithm,
            start=self.config.start,
            seed=self.config.seed,
            precision=self.config.precision,
            steps=self.steps,
            success=success,
        )

    def save(self) -> None:
        """Write a checkpoint."""
        self._log()
        state: dict[str, Any] = {
            "seconds": self._elapsed(),
            "curriculum": self.curriculum.state_dict(),
            "learner": self.learner.state_dict(),
            "log": self.log.state_dict(),
        }
        with self.files.new_checkpoint(self.steps) as folder:
            save_checkpoint(folder, self.model, self.simulation.generators, state)
        self.saved = self.steps

    def finish(self) -> dict[str, Any]:
        """Write the last policy, judge the best one and write the result."""
        config, files, log = self.config, self.files, self.log
        last = log.evaluations[-1]
        with atomic_folder(files.policy) as folder:
            self._save_policy(folder, last["success"])
        save_model(files.model, self.model)
        policy = load_policy(files.best, representation=self.representation)
        assert config.evaluation_episodes is not None
        records = evaluate(
            policy,
            "training",
            config.evaluation_episodes,
            _RESULT_SEEDS,
            engine=config.engine,
            device=config.device,
            num_threads=config.num_threads,
        )
        seconds = self._elapsed()
        successes = sum(record.success for record in records)
        title = f"{ALGORITHMS[config.algorithm].title} on {config.representation}"
        log.draw(files.curve, title)
        reached = next((row for row in log.evaluations if row["success"] >= 0.9), None)
        result = {
            "success": successes / len(records),
            "success_interval": wilson(successes, len(records)),
            "episodes": len(records),
            "seeds": _RESULT_SEEDS,
            "best_steps": policy.provenance["steps"],
            "last_success": last["success"],
            "steps": self.steps,
            "seconds": seconds,
            "steps_to_90": None if reached is None else reached["steps"],
            "seconds_to_90": None if reached is None else reached["seconds"],
            "embedding_dim": self.representation.embedding_dim,
            "curve": [(int(row["steps"]), row["success"]) for row in log.evaluations],
        }
        files.write_result(result)
        if config.filmed:
            self._film(policy, records)
        return result

    def _film(self, policy: DeployablePolicy, records: list[EpisodeRecord]) -> None:
        """Film episodes of the best policy. It is no reason to fail if that cannot be done here."""
        videos = self.files.videos
        try:
            videos.mkdir(exist_ok=True)
            film_pairs(
                player_of(policy),
                condition("training"),
                records,
                videos / "best.mp4",
                number=self.config.filmed,
                same_engine=self.config.engine == "cpu",
            )
        except Exception as error:  # of the renderer, the encoder of videos, or the disk
            print(
                f"No video in {videos}: {error}. The policy and its result are there; film it with "
                f"vtinsert evaluate {self.files.best}",
                file=sys.stderr,
            )

    def close(self) -> None:
        """Release the worlds."""
        self.envs.close()
        self.rating.close()

    def _elapsed(self) -> float:
        """Time so far, that of earlier parts of the run included."""
        return self.seconds + time.monotonic() - self.begun

    def _diverged(self) -> ValueError:
        rate = self.config.hyperparameters.get("learning_rate")
        return ValueError(
            f"the policy's numbers are no longer finite at step {self.steps:,}; take a lower "
            f"learning rate than {rate}. What was saved before is in {self.files.path}"
        )


def _model(
    config: TrainConfig, representation: Representation, venv: VTInsertVecEnv
) -> BaseAlgorithm:
    """What is to be trained; for a loop of our own, a model of PPO that can go on from there."""
    algorithm, chosen = config.algorithm, dict(config.hyperparameters)
    if algorithm in (DISTILLATION, RSL_RL):
        variants = {"warp": config.engine == "warp", "pixels": representation.pixels}
        algorithm = "ppo"
        chosen = merge(
            preset(algorithm, variants | {"start": True}),
            {"policy_kwargs": chosen.get("policy_kwargs", {})},
        )
    seed, device = config.seed, config.torch_device
    return make_model(algorithm, representation, venv, chosen, seed=seed, device=device)


def _learner(
    config: TrainConfig, model: BaseAlgorithm, envs: RecordEpisodes, ranks: Ranks
) -> Learner:
    """What trains a model, by the configuration's algorithm."""
    chosen = dict(config.hyperparameters)
    assert config.steps is not None
    if config.algorithm not in (DISTILLATION, RSL_RL):
        return Reinforcement(model, config.steps, chosen.get(CRITIC_WARMUP, 0))
    chosen.pop("policy_kwargs", None)
    if config.algorithm == RSL_RL:
        from policies.learners.rsl_rl_ppo import RslRlPPO  # needs the extra

        return RslRlPPO(model, envs, config.steps, chosen, ranks)
    seconds = None if config.max_minutes is None else 60 * config.max_minutes
    budget = DaggerConfig(steps=config.steps, seconds=seconds, **chosen)
    return Dagger(model, envs, budget, seed=config.seed)
