"""N worlds of a task on an engine: what both environments are wired to."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import is_torch_array
from gymnasium import spaces
from gymnasium.utils import seeding
from numpy.typing import NDArray

from vtenv.arrays import Array, Key, leaves, namespace, rebuild, renewed
from vtenv.delay import DelayLine
from vtenv.engines import make_engine
from vtenv.next_episodes import NextEpisodes, draw_episodes
from vtenv.sensing.cameras import CameraView, camera_views
from vtenv.tasks import Evaluation, Task
from vtenv.validation import checked_actions
from vtenv.world_model import PhysicsState


def observation_space(task: Task) -> spaces.Dict:
    """The observation space of one world."""
    return spaces.Dict(
        {
            modality.key: modality.space(task.image_size(modality) if modality.is_image else None)
            for modality in task.config.modalities
        }
    )


Options = Mapping[str, object] | Sequence[Mapping[str, object] | None] | None
"""What a reset fixes, in all worlds alike or in each of them."""

Intervention = Callable[[dict[str, Array], NDArray[np.bool_]], dict[str, Array]]
"""Changes observations of all worlds, told which have just started an episode, (N,)."""


@dataclass(frozen=True)
class Ended:
    """How the last step of N worlds ended, and when.

    Attributes:
        elapsed: Control steps since the reset, (N,), int64.
        success: Whether in success, (N,), bool.
        failure: Code into `Task.failures` of what it ended in, (N,), integer.
        terms: Weighted terms of its reward, by name, (N,) each.
    """

    elapsed: Array
    success: Array
    failure: Array
    terms: dict[str, Array]


@dataclass(frozen=True)
class Outcome:
    """What the last step of N worlds came to, and what follows from where it led.

    Attributes:
        ended: How it ended.
        now: What the task makes of the worlds.
        vectors: The observations that are vectors, by modality.
        controls: Inputs of the driven actuators, (N, n).
        joints: Positions of their joints, (N, n).
    """

    ended: Ended
    now: Evaluation
    vectors: dict[str, Array]
    controls: Array
    joints: Array


@dataclass(frozen=True)
class StepResult:
    """What a control step led to, for all worlds; zero for worlds not stepped.

    Attributes:
        reward: (N,), floating.
        terminated: Success or failure, (N,), bool.
        wait: Returns `terminated` on the host, once it is known there.
    """

    reward: Array
    terminated: Array
    wait: Callable[[], NDArray[np.bool_]]


class Simulation:
    """N worlds of a task: an engine, a generator for each world, rewards and observations.

    Everything about the worlds is in arrays of the engine's library, which are replaced and
    never changed; which worlds to act on is said on the host.

    Args:
        task: What is asked, in which world.
        num_worlds: Worlds to simulate.
        engine: One of `vtenv.engines.ENGINE_NAMES`.
        engine_settings: Other arguments of `vtenv.engines.make_engine`.

    Attributes:
        task: As given. May be replaced by one with the same world model, for the episodes that
            start from then on.
        intervention: Changes what is observed, for whoever asks what a policy makes use of; None
            for nobody.
    """

    def __init__(
        self, task: Task, num_worlds: int = 1, engine: str = "cpu", **engine_settings: Any
    ) -> None:
        self.task = task
        self.num_worlds = num_worlds
        self.engine = make_engine(engine, task.world_model, num_worlds, **engine_settings)
        self._arrays = self.engine.arrays
        self._generators: list[np.random.Generator] = [
            seeding.np_random()[0] for _ in range(num_worlds)
        ]
        # In the middle of their ranges before the first reset.
        middle = task.draw(np.full((num_worlds, task.num_uniforms), 0.5), {})
        self._present = {"parameters": middle.parameters, "domain": middle.domain}
        self._parameters: dict[str, Array] = {}
        self._upload_parameters()
        self._next = NextEpisodes(num_worlds) if self.engine.device_is_ahead else None
        self.last_observation: dict[str, Array] = {}
        self.intervention: Intervention | None = None
        config = task.config
        self._late_actions, self._late_touch, self._late_observations = (
            DelayLine(steps, num_worlds, self._arrays)
            for steps in (config.action_delay, config.touch_delay, config.observation_delay)
        )
        self._started = np.ones(num_worlds, bool)
        """Worlds that were not observed since their reset."""
        self._xp = namespace(self.engine.state().variant)
        self._controls = self._arrays.capture(self._next_controls)
        self._after_reset = self._arrays.capture(self._reset_outcome)
        self._after_step = self._arrays.capture(self._step_outcome)
        self._forces = self._arrays.capture(lambda *now: self.task.forces(*now))
        self._outcome = self._rest_outcome()

    @property
    def evaluation(self) -> Evaluation:
        """What the task makes of the worlds as they are."""
        return self._outcome.now

    @property
    def state(self) -> Any:
        """The state of the worlds, as the task names its parts."""
        return self._outcome.now.state

    @property
    def measures(self) -> Any:
        """What the task computes from the state."""
        return self._outcome.now.measures

    @property
    def elapsed(self) -> Array:
        """Control steps since each world's reset, (N,), int64."""
        return self._outcome.ended.elapsed

    @property
    def domain(self) -> dict[str, NDArray[Any]]:
        """What domain randomisation has drawn for the worlds' present episodes, copied."""
        return {name: values.copy() for name, values in self._present["domain"].items()}

    @property
    def parameters(self) -> dict[str, NDArray[Any]]:
        """What the task reads of the present episodes besides the state, copied to the host."""
        return {name: values.copy() for name, values in self._present["parameters"].items()}

    @property
    def generators(self) -> list[np.random.Generator]:
        """The worlds' sources of randomness, which may be replaced or set to other states.

        What was drawn ahead is put back before they are handed out, so that nothing drawn from
        a generator as it was is used after it was changed. Ask for them anew to change them
        later.
        """
        if self._next is not None:
            self._next.put_back()
        return self._generators

    def reset(
        self,
        worlds: NDArray[np.int64],
        generators: Sequence[np.random.Generator] | None = None,
        options: Options = None,
    ) -> None:
        """Start episodes.

        Args:
            worlds: Worlds to reset, sorted.
            generators: New sources of randomness for them; None keeps those they have.
            options: Values to fix, as `Task.check_options` allows; for all of `worlds`, or a
                sequence of such mappings, one for each of all worlds.

        Raises:
            ValueError: If an option is not allowed; lists those that are.
        """
        fixed = self._checked_options(worlds, options)
        if self._next is not None and (generators is not None or any(fixed)):
            self._next.put_back(worlds.tolist())
        for world, generator in zip(worlds, generators or (), strict=False):
            self._generators[world] = generator
        self._start(worlds, fixed)
        mask = self._mask(worlds)
        self._outcome = self._after_reset(self._outcome.ended, self._parameters, mask)
        self._started[worlds] = True
        if self._late_actions.steps:
            self._late_actions.fill({"action": self._no_action}, worlds)

    def draw_ahead(self) -> None:
        """Draw how the worlds' next episodes start, where the device works meanwhile.

        For while the host waits for the device. Every world must have been observed since its
        reset: the noise of an episode is drawn before the next episode.
        """
        if self._next is not None:
            self._next.draw(self.task, self._generators)

    def step(self, worlds: NDArray[np.int64], actions: Array) -> StepResult:
        """Advance worlds by one control step.

        Args:
            worlds: Worlds to step, sorted.
            actions: Actions of all worlds, (N, A), clipped to the action space; of any library.

        Raises:
            ValueError: If an action has another shape, or is not finite. About a tensor this is
                known later: its world stands still, and `StepResult.wait` raises.
        """
        actions = checked_actions(actions, (self.num_worlds, *self.task.action_space.shape))
        actions = self._finite(worlds, actions)
        before, mask = self._outcome, self._mask(worlds)
        applied = actions
        if self._late_actions.steps:
            sent = self._arrays.copy({"action": actions})  # whoever sent them may use them again
            self._late_actions.put(sent, worlds, mask)
            applied = self._late_actions.told["action"]
        controls, finite = self._controls(before.controls, before.joints, applied, actions)
        if worlds.size:
            forces = None
            if self.task.world_model.pushed is not None:
                forces = self._forces(before.now, before.ended.elapsed, self._parameters)
            self.engine.step(worlds, controls, forces)
        self._outcome, reward, terminated = self._after_step(
            before.now.potentials, before.ended, self._parameters, mask
        )
        arriving = self._arrays.to_host({"terminated": terminated, "finite": finite})

        def wait() -> NDArray[np.bool_]:
            there = arriving()
            _refuse(worlds, actions, there["finite"])
            ended: NDArray[np.bool_] = there["terminated"]
            return ended

        return StepResult(reward, terminated, wait)

    def observe(self, worlds: NDArray[np.int64]) -> dict[str, Array]:
        """Observations of all worlds, new arrays; images of other worlds are the last ones."""
        observation = self._observed(self.engine.sense(worlds, self._generators))
        observation |= self._late(self._late_touch, self._of_touch(observation), worlds)
        observation = self._late(self._late_observations, observation, worlds)
        if self.intervention is not None:
            observation = self.intervention(observation, self._started.copy())
        self._started[worlds] = False
        self.last_observation = observation
        return observation

    def _observed(self, images: dict[str, Array]) -> dict[str, Array]:
        """What is observed without a delay."""
        images = self.task.disturbed(images, self.elapsed, self._parameters)
        known = {**self._outcome.vectors, **images}
        return {m.key: known[m.key] for m in self.task.config.modalities}

    def _of_touch(self, observation: dict[str, Array]) -> dict[str, Array]:
        touch = [m.key for m in self.task.config.modalities if m.is_touch]
        return {key: observation[key] for key in touch}

    def _late(
        self, line: DelayLine, values: dict[str, Array], worlds: NDArray[np.int64]
    ) -> dict[str, Array]:
        """What comes out of a delay line as values of worlds go in: new arrays, of all worlds."""
        if not line.steps or not values:
            return values
        starting = self._started[worlds]
        if not starting.all():
            line.put(values, worlds, self._mask(worlds))
        if starting.any():
            line.fill(values, worlds[starting])
        return line.told

    def info(self) -> dict[str, Array]:
        """What an environment's `info` tells, as new arrays over all worlds.

        Keys of `Task.code_names` are codes, int64.
        """
        ended = self._outcome.ended
        info = {"is_success": ended.success, **self._outcome.now.info, "failure": ended.failure}
        info |= {f"reward_{name}": term for name, term in ended.terms.items()}
        return self._arrays.copy(info)

    def decode(self, info: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """An info on the host as Gymnasium's clients get it: names for codes, float64."""
        names = self.task.code_names
        decoded: dict[str, NDArray[Any]] = {}
        for key, value in info.items():
            if key in names:
                decoded[key] = np.array(names[key], dtype=object)[value]
            else:
                is_flag = value.dtype == bool
                decoded[key] = value if is_flag else value.astype(np.float64, copy=False)
        return decoded

    def expert_action(self) -> Array:
        """What the task's scripted expert does, (N, A), in [-1, 1]."""
        return self.task.expert_action(self._outcome.now, self._parameters)

    def fetch(self, *groups: Mapping[Key, Array]) -> tuple[dict[Key, NDArray[Any]], ...]:
        """Groups of arrays on the host, in as few copies as the array backend can."""
        keyed = {(k, name): a for k, group in enumerate(groups) for name, a in group.items()}
        there = self._arrays.to_host(keyed)()
        return tuple({name: there[k, name] for name in group} for k, group in enumerate(groups))

    def last_of(self, world: int) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """The last observation and info of one world, on the host, for drawing them."""
        observation, info = self.fetch(
            {name: value[world] for name, value in self.last_observation.items()},
            {name: value[world : world + 1] for name, value in self.info().items()},
        )
        return observation, {name: value[0] for name, value in self.decode(info).items()}

    def camera(self, name: str, world: int = 0) -> list[CameraView]:
        """How a camera of the task sees a world now: its intrinsics and its pose.

        Args:
            name: One of `WorldModel.cameras`, such as "overhead".
            world: Index of the world.

        Returns:
            A view for each channel of its images.

        Raises:
            ValueError: If there is no such camera; lists those there are.
        """
        return camera_views(self.task.world_model, name, self.engine.snapshot(world))

    def get_state(self) -> dict[str, Any]:
        """Everything that decides what the worlds do next, noise included.

        Returns:
            Nested dicts and lists of NumPy arrays and plain numbers, which share no memory with
            the simulation; can be pickled.
        """
        generators = self.generators  # puts back what was drawn ahead
        (ended,) = self.fetch(dict(enumerate(leaves(self._outcome.ended))))
        late = [line.get_state() for line in self._delay_lines]
        return copy.deepcopy(
            {
                "engine": self.engine.get_state(),
                "generators": [generator.bit_generator.state for generator in generators],
                "present": self._present,
                "ended": ended,
                "observed": bool(self.last_observation),
                "started": self._started,
                "late": [list(self.fetch(*line)) for line in late],
            }
        )

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `get_state` returned, of as many worlds of an equal task.

        On the CPU engine, and on Warp's CPU device, the same actions then lead to the same
        observations, to the bit.

        Raises:
            ValueError: If it is of another number of worlds.
        """
        state = copy.deepcopy(dict(state))
        if len(state["generators"]) != self.num_worlds:
            raise ValueError(
                f"the state is of {len(state['generators'])} worlds and this is a simulation of "
                f"{self.num_worlds}; make one of as many"
            )
        generators = self.generators
        for world, drawn in enumerate(state["generators"]):
            if generators[world].bit_generator.state["bit_generator"] != drawn["bit_generator"]:
                kind = getattr(np.random, drawn["bit_generator"])
                generators[world] = np.random.Generator(kind())
            generators[world].bit_generator.state = drawn
        images = self.engine.set_state(state["engine"])
        self._present = state["present"]
        self._upload_parameters()
        put = self._arrays.asarray
        ended = rebuild(self._outcome.ended, map(put, state["ended"].values()))
        nobody = put(np.zeros(self.num_worlds, bool))
        self._outcome = self._after_reset(ended, self._parameters, nobody)
        self._started = state["started"]
        for line, kept in zip(self._delay_lines, state["late"], strict=True):
            line.set_state([{name: put(value) for name, value in one.items()} for one in kept])
        self.last_observation = {}
        if state["observed"]:
            late, touch = self._late_observations, self._late_touch
            observation = self._observed(images)
            if touch.steps and self._of_touch(observation):
                observation |= touch.told
            self.last_observation = late.told if late.steps else observation

    @property
    def _delay_lines(self) -> tuple[DelayLine, ...]:
        return self._late_actions, self._late_touch, self._late_observations

    def close(self) -> None:
        """Release the engine; may be called twice."""
        self.engine.close()

    def _checked_options(
        self, worlds: NDArray[np.int64], options: Options
    ) -> list[dict[str, object]]:
        """What is fixed in each of `worlds`; one dict if it is the same in all.

        Raises:
            ValueError: If something is not allowed.
        """
        if options is None or isinstance(options, Mapping):
            return [self.task.check_options(options)]
        listed = list(options) if isinstance(options, Sequence) else []
        valid = all(each is None or isinstance(each, Mapping) for each in listed)
        if isinstance(options, str) or not valid or len(listed) != self.num_worlds:
            raise ValueError(
                f"options={options!r} is not allowed; options must be a mapping of names to "
                f"values, or a sequence of {self.num_worlds} of them, one for each world"
            )
        return [self.task.check_options(listed[world]) for world in worlds]

    def _finite(self, worlds: NDArray[np.int64], actions: Array) -> Array:
        """Actions as an array of the engine's.

        Raises:
            ValueError: If the host sees that one is not finite.
        """
        if self._xp is np and is_torch_array(actions):
            actions = actions.cpu().double().numpy()
        if isinstance(actions, np.ndarray):
            actions = actions.astype(np.float64, copy=False)
            _refuse(worlds, actions, np.all(np.isfinite(actions), axis=-1))
        return self._arrays.asarray(actions)

    def _start(self, worlds: NDArray[np.int64], options: Sequence[Mapping[str, object]]) -> None:
        """Put worlds into initial states: those drawn ahead, or else drawn now."""
        generators = self._generators
        episodes = None
        if self._next is not None:
            episodes = self._next.take(self.task, worlds, generators)
        if episodes is None:
            chosen = [generators[world] for world in worlds]
            episodes = draw_episodes(self.task, chosen, options)
        self.engine.reset(worlds, episodes.physics)
        parameters = self._present["parameters"]
        changed = any(
            (parameters[name][worlds] != values).any()
            for name, values in episodes.parameters.items()
        )
        for name, values in episodes.parameters.items():
            parameters[name][worlds] = values
        for name, values in episodes.domain.items():
            self._present["domain"][name][worlds] = values
        if changed:
            self._upload_parameters()

    def _upload_parameters(self) -> None:
        # Copies: what was uploaded may still be on its way when the next reset writes.
        self._parameters = {
            name: self._arrays.asarray(values.copy())
            for name, values in self._present["parameters"].items()
        }

    # The functions that follow are captured: what changes comes as an argument.

    def _next_controls(
        self, controls: Array, joints: Array, applied: Array, actions: Array
    ) -> tuple[Array, Array]:
        """Controls that actions lead to which arrive now, and which of those sent now are finite.

        Those that are not finite do nothing when they arrive.
        """
        xp = self._xp
        arrived, finite = (xp.all(xp.isfinite(sent), axis=-1) for sent in (applied, actions))
        still = xp.where(arrived[:, None], applied, xp.zeros_like(applied))
        return self.task.next_controls(controls, joints, still), finite

    def _reset_outcome(
        self, before: Ended, parameters: dict[str, Array], reset: Array | None
    ) -> Outcome:
        """The worlds after those of a mask, None for all, were reset."""
        nothing = rebuild(before, map(self._xp.zeros_like, leaves(before)))
        physics = self.engine.state()
        now = self.task.evaluate(physics, parameters)
        return self._outcome_of(renewed(reset, nothing, before), now, physics, parameters)

    def _step_outcome(
        self,
        potentials: dict[str, Array],
        before: Ended,
        parameters: dict[str, Array],
        moved: Array | None,
    ) -> tuple[Outcome, Array, Array]:
        """The worlds after those of a mask, None for all, moved; rewards, and who is done."""
        xp = self._xp
        physics = self.engine.state()
        now = self.task.evaluate(physics, parameters)
        terms, reward = self._reward(potentials, now)
        terminated = now.success | (now.failure > 0)
        if moved is not None:
            reward = xp.where(moved, reward, xp.zeros_like(reward))
            terminated = terminated & moved
        terms = {name: terms[name] for name in before.terms}  # in one order, as they are merged
        after = Ended(before.elapsed + 1, now.success, now.failure, terms)
        ended = renewed(moved, after, before)
        return self._outcome_of(ended, now, physics, parameters), reward, terminated

    def _outcome_of(
        self,
        ended: Ended,
        now: Evaluation,
        physics: PhysicsState,
        parameters: dict[str, Array],
    ) -> Outcome:
        driven = self.task.world_model.driven
        vectors = self.task.vectors(now, parameters)
        return Outcome(ended, now, vectors, physics.controls[driven], physics.joints[driven])

    def _reward(
        self, potentials: dict[str, Array], now: Evaluation
    ) -> tuple[dict[str, Array], Array]:
        """Terms, and the reward that the settings make of them."""
        kind = self.task.config.reward
        if kind == "sparse":
            reward = self._xp.astype(now.success, self._float)
            return {"success": reward}, reward
        terms = self.task.reward(potentials, now)
        if callable(kind):
            return terms, kind(terms)
        # Added term by term: NumPy's own sum may round differently for other numbers of worlds.
        return terms, functools.reduce(self._xp.add, terms.values())

    def _rest_outcome(self) -> Outcome:
        """The worlds before their first reset."""
        state = self.engine.state()
        xp, numbers = self._xp, state.controls[self.task.world_model.driven][:, 0]
        self._float = numbers.dtype
        names = ("success",) if self.task.config.reward == "sparse" else self.task.reward_terms
        actions = np.zeros((self.num_worlds, *self.task.action_space.shape))
        self._no_action = self._arrays.asarray(actions)
        ended = Ended(
            self._arrays.asarray(np.zeros(self.num_worlds, np.int64)),
            xp.zeros_like(state.stable),
            xp.zeros_like(state.variant),
            dict.fromkeys(names, xp.zeros_like(numbers)),
        )
        return self._reset_outcome(ended, self._parameters, None)

    def _mask(self, worlds: NDArray[np.int64]) -> Array | None:
        """Flags of the worlds, (N,); None for all."""
        if len(worlds) == self.num_worlds:
            return None
        mask = np.zeros(self.num_worlds, bool)
        mask[worlds] = True
        return self._arrays.asarray(mask)


def _refuse(worlds: NDArray[np.int64], actions: Array, finite: NDArray[np.bool_]) -> None:
    """Raise if the action of one of `worlds` is not finite."""
    bad = worlds[~finite[worlds]]
    if bad.size:
        raise ValueError(
            f"the action {actions[int(bad[0])].tolist()} is not finite; send numbers in [-1, 1]"
        )
