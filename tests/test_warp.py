"""The Warp engine against the CPU engine, on Warp's CPU device and on CUDA where there is one."""

import copy
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.utils import seeding
from worlds import make_simulation

from vtenv.modalities import IMAGE_MODALITIES
from vtenv.rendering.renderers import DepthRenderer
from vtenv.tasks.insertion.config import MODALITIES
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES
from vtenv.tasks.insertion.disturbances import NUM_DISTURBANCE_UNIFORMS
from vtenv.tasks.insertion.domain import NUM_DOMAIN_UNIFORMS, draw_domain
from vtenv.tasks.insertion.env import VTInsertVectorEnv
from vtenv.tasks.insertion.grasp_bank import BANK_SIZE
from vtenv.tasks.insertion.initial import NUM_UNIFORMS, initial_state
from vtenv.tasks.insertion.randomization import DomainRandomizationConfig

torch = pytest.importorskip("torch")
mjw = pytest.importorskip("mujoco_warp")
needs_cuda = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
pytestmark = pytest.mark.slow  # two minutes to compile for a new device, then cached

WORLDS = 12


@pytest.fixture(scope="module", params=[CONNECTOR_NAMES, ("usb",)], ids=["all", "usb"])
def pair(warp_device, request):
    """The same worlds on both engines, noise off, in the same initial states.

    Of one connector, where all worlds share what differs between connectors, too. In a firm grip
    and without springs, where physics stay together for longest.
    """
    settings = {"modalities": (*IMAGE_MODALITIES, "state"), "depth_noise_mm": 0.0}
    settings |= {"connectors": request.param, "track": "loose"}
    simulations = (
        make_simulation(WORLDS, **settings),
        make_simulation(WORLDS, "warp", engine_settings={"device": warp_device}, **settings),
    )
    yield simulations
    for simulation in simulations:
        simulation.close()


def restart(pair, seed=0):
    worlds = np.arange(WORLDS)
    for simulation in pair:
        generators = [np.random.default_rng(seed + i) for i in worlds]
        simulation.reset(worlds, generators)
    return worlds


def host(simulation, arrays):
    """Arrays of a simulation's engine as NumPy's."""
    return simulation.fetch(arrays)[0]


def observed(pair, worlds):
    return [host(simulation, simulation.observe(worlds)) for simulation in pair]


def overlap(left, right):
    """Intersection over union of masks, over each world's images."""
    both = np.logical_and(left, right).sum(axis=(1, 2, 3))
    return both / np.logical_or(left, right).sum(axis=(1, 2, 3))


def test_same_seeds_same_initial_states_and_images(pair):
    worlds = restart(pair)
    cpu, warp = observed(pair, worlds)
    connectors = [host(s, {"connector": s.state.connector})["connector"] for s in pair]
    np.testing.assert_array_equal(*connectors)
    np.testing.assert_allclose(cpu["state"], warp["state"], atol=1e-4)
    np.testing.assert_allclose(cpu["depth"], warp["depth"], atol=1e-4)
    np.testing.assert_allclose(cpu["gel"], warp["gel"], atol=1e-3)
    np.testing.assert_allclose(cpu["shear"], warp["shear"], atol=0.02)
    np.testing.assert_allclose(cpu["markers"], warp["markers"], atol=0.02)
    assert overlap(cpu["contact"], warp["contact"]).min() >= 0.98


def test_an_expert_episode_is_the_same(pair):
    worlds = restart(pair)
    ended = [np.zeros(WORLDS, bool), np.zeros(WORLDS, bool)]
    for _ in range(40):
        # The CPU engine's actions drive both, so that only the physics differ.
        action = pair[0].expert_action()
        results = [simulation.step(worlds, action) for simulation in pair]
        apart = ~(ended[0] | ended[1])
        rewards = [
            host(simulation, {"reward": result.reward})["reward"]
            for simulation, result in zip(pair, results, strict=True)
        ]
        np.testing.assert_allclose(rewards[0][apart], rewards[1][apart], atol=0.15)
        for flags, simulation in zip(ended, pair, strict=True):
            flags |= host(simulation, simulation.info())["is_success"]
        cpu, warp = observed(pair, worlds)
        contact = overlap(cpu["contact"], warp["contact"])
        # Past its success a plug goes on against the socket's bottom, where physics diverge.
        assert contact[apart].min(initial=1.0) >= 0.95
        assert np.median(contact) >= 0.98
        for key, unit in (("markers", 0.02), ("shear", 0.05)):
            apart_by = np.abs(cpu[key] - warp[key]).max(axis=(1, 2, 3, 4))
            assert np.median(apart_by) <= unit, key  # from the same states all are: test_pads
    assert ended[0].all() and ended[1].all()


def test_worlds_that_rest_stay_as_they_are(pair):
    worlds = restart(pair, seed=50)
    warp = pair[1]
    moving = ("hand", "plug_pos_w", "target")

    def state():
        return host(warp, {name: getattr(warp.state, name) for name in moving}).values()

    before = state()
    warp.step(worlds[::2], np.ones((WORLDS, 5)))
    for old, new in zip(before, state(), strict=True):
        np.testing.assert_allclose(old[1::2], new[1::2], atol=1e-6)
        assert (np.abs(old[::2] - new[::2]) > 1e-4).any()


def test_noise_follows_from_the_seed_and_changes_with_every_image():
    settings = {"modalities": ("depth",), "depth_dropout": 0.5, "observation_delay": 0}
    simulation = make_simulation(WORLDS, "warp", engine_settings={"device": "cpu"}, **settings)
    worlds = np.arange(WORLDS)

    def images():
        simulation.reset(worlds, [np.random.default_rng(i) for i in worlds])
        return [host(simulation, simulation.observe(worlds))["depth"] for _ in range(2)]

    first, again = images(), images()
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], first[1])
    exact = DepthRenderer(simulation.task)
    true = np.stack([exact.render(simulation, world) for world in worlds])[:, None]
    error = (first[0] - true)[first[0] > 0] / (true[first[0] > 0] / 0.35) ** 2
    assert abs(error.mean()) < 2e-5
    assert error.std() == pytest.approx(1e-3, rel=0.02)
    assert 0.002 < (first[0] == 0).mean() < 0.2
    simulation.close()


@pytest.mark.parametrize("track", ["nominal", "loose"])
def test_every_module_of_a_step_is_compiled_ahead_once(warp_device, track):
    import warp as wp

    from vtenv.engines.compilation import PARTS

    simulation = make_simulation(2, "warp", engine_settings={"device": warp_device}, track=track)
    engine = simulation.engine

    def modules(work):
        with wp.ScopedDevice(warp_device), wp.Tape() as tape:
            work(engine._m, engine._d)
        return {kernel.module.name for kernel, size, *_ in tape.launches if np.all(size)}

    ahead = [name for part in PARTS for name in modules(part)]
    assert len(ahead) == len(set(ahead))
    step = modules(mjw.step)
    assert set(ahead) <= step
    assert all("next_time" in name for name in step - set(ahead))
    simulation.close()


def test_overflow_is_reported(monkeypatch):
    from vtenv.engines import warp as module

    monkeypatch.setattr(module, "CONSTRAINTS_PER_WORLD", 6)
    simulation = make_simulation(
        4, "warp", engine_settings={"device": "cpu"}, modalities=("state",)
    )
    worlds = np.arange(4)
    simulation.reset(worlds, [np.random.default_rng(i) for i in worlds])
    match = "4 of 4 worlds had more contacts than there is room for; raise CONSTRAINTS_PER_WORLD in"
    with pytest.raises(module.BufferOverflowError, match=match):
        simulation.step(worlds, np.zeros((4, 5))).wait()
    simulation.close()


def test_bad_arguments_say_what_is_allowed():
    with pytest.raises(ValueError, match="there is no device 'cuda:99'; choose one of cpu"):
        make_simulation(1, "warp", engine_settings={"device": "cuda:99"})
    with pytest.raises(ValueError, match="num_threads=2 is for engine='cpu'"):
        make_simulation(1, "warp", engine_settings={"num_threads": 2})
    with pytest.raises(ValueError, match="is for engine='warp'; leave it out"):
        make_simulation(1, "cpu", engine_settings={"device": "cuda:0"})
    with pytest.raises(ValueError, match=r"observations='jax' is not allowed; .* one of numpy"):
        VTInsertVectorEnv(1, engine="warp", observations="jax")


def vectors(mode, **settings):
    """The same environments with NumPy and with torch observations."""
    settings = {"max_episode_steps": 4, "autoreset_mode": mode, "modalities": MODALITIES} | settings
    return [
        VTInsertVectorEnv(6, engine="warp", device="cpu", observations=kind, **settings)
        for kind in ("numpy", "torch")
    ]


def assert_told_the_same(told, tensors, where=()):
    """A NumPy client's results against those of a torch client."""
    assert told.keys() == tensors.keys()
    codes = ("connector", "failure")
    for name, value in told.items():
        here, tensor = (*where, name), tensors[name]
        if isinstance(value, dict):
            assert_told_the_same(value, tensor, here)
            continue
        if name == "final_obs":
            for world in np.flatnonzero(told["_final_obs"]):
                for modality, image in value[world].items():
                    np.testing.assert_array_equal(image, tensor[modality][world].numpy(), str(here))
            continue
        assert isinstance(tensor, torch.Tensor), here
        mask = told.get(f"_{name}", np.ones(len(value), bool))
        if name in codes:
            assert tensor.dtype == torch.int64 and value.dtype == np.int64
        np.testing.assert_array_equal(value[mask], np.asarray(tensor)[mask], str(here))


MINI = {"touch_sensor": "gelsight-mini", "sensor_faults": "gelsight-mini"}


def on_gpu(test):
    for mark in needs_cuda:
        test = mark(test)
    return test


@on_gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("touch", [{}, {**MINI, "contact_size": (24, 32), "touch_delay": 1}])
def test_a_step_waits_for_nothing_but_the_flags(mode, touch):
    env = VTInsertVectorEnv(
        64,
        engine="warp",
        observations="torch",
        modalities=MODALITIES,
        **touch,
        max_episode_steps=4,
        autoreset_mode=mode,
    )
    env.reset(seed=0)
    env._elapsed[:] = np.arange(64) % 4
    actions = torch.zeros(64, 5, device="cuda:0")
    for _ in range(6):  # records the graphs
        env.step(actions)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(6):
            observation, *flags, info = env.step(actions)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for tensor in (*observation.values(), *flags, info["connector"], info["_connector"]):
        assert tensor.device == torch.device("cuda:0")
        assert torch.isfinite(tensor.float()).all()
    env.close()


@on_gpu
def test_more_worlds_than_the_memory_holds_are_refused():
    with pytest.raises(ValueError, match="GiB free; make at most"):
        VTInsertVectorEnv(10_000_000, engine="warp")


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_tensors_are_the_arrays(mode):
    envs = vectors(mode)
    results = [env.reset(seed=3) for env in envs]
    for arrays, tensors in zip(*results, strict=True):
        assert_told_the_same(arrays, tensors)
    assert envs[0].observation_space.contains(results[0][0])
    generator, kept = np.random.default_rng(0), []
    for step in range(9):
        actions = generator.uniform(-1, 1, (6, 5)).astype(np.float32)
        results = [envs[0].step(actions), envs[1].step(torch.from_numpy(actions))]
        (obs, reward, terminated, truncated, info), tensors = results
        assert reward.dtype == np.float64 and terminated.dtype == truncated.dtype == bool
        for arrays, same in zip((obs, info), (tensors[0], tensors[4]), strict=True):
            assert_told_the_same(arrays, same, (step,))
        np.testing.assert_array_equal(reward, tensors[1].numpy())
        np.testing.assert_array_equal(terminated, tensors[2].numpy())
        np.testing.assert_array_equal(truncated, tensors[3].numpy())
        kept.append(results)
        if mode == "Disabled" and (terminated | truncated).any():
            mask = terminated | truncated
            results = [env.reset(options={"reset_mask": mask.copy()}) for env in envs]
            for arrays, tensors in zip(*results, strict=True):
                assert_told_the_same(arrays, tensors, (step, "reset"))
    for (obs, reward, *_), tensors in kept:  # what a learner keeps stays as it was
        assert_told_the_same(obs, tensors[0])
        np.testing.assert_array_equal(reward, tensors[1].numpy())
    for env in envs:
        env.close()


def twins(**settings):
    """The same worlds, out of step: one draws episodes ahead, the other when told to reset."""
    envs = [
        VTInsertVectorEnv(
            5,
            engine="warp",
            device="cpu",
            observations="torch",
            autoreset_mode=mode,
            max_episode_steps=3,
            **settings,
        )
        for mode in ("SameStep", "Disabled")
    ]
    observations = [env.reset(seed=7)[0] for env in envs]
    for env in envs:
        env._elapsed[:] = np.arange(5) % 3
    return envs, observations


def step_twins(envs, actions):
    """One step of both, and what they then observe; which worlds began an episode."""
    ahead, now = envs
    seen = ahead.step(actions)[0]
    again, _, terminated, truncated, _ = now.step(actions)
    done = (terminated | truncated).numpy()
    if done.any():
        again = now.reset(options={"reset_mask": done})[0]
    return [seen, again], done


def assert_same_tensors(observations):
    assert observations[0].keys() == observations[1].keys()
    for name, value in observations[0].items():
        assert torch.equal(value, observations[1][name]), name


@pytest.mark.parametrize("modalities", [("depth", "state"), ("contact", "state")])
@pytest.mark.parametrize("randomization", [None, DomainRandomizationConfig()])
def test_episodes_drawn_ahead_are_those_drawn_at_the_reset(modalities, randomization):
    envs, observations = twins(modalities=modalities, domain_randomization=randomization)
    simulation = envs[0].simulation
    generators = [seeding.np_random(7 + world)[0] for world in range(5)]

    def assert_begun(worlds):
        for world in worlds:
            generator = generators[world]
            uniforms = generator.random((1, NUM_UNIFORMS))
            generator.random(NUM_DISTURBANCE_UNIFORMS)
            initial = initial_state(uniforms, simulation.task.config, BANK_SIZE, {})
            assert simulation.state.connector[world] == initial.connector[0]
            for name in ("hand", "socket_pos_w"):
                np.testing.assert_allclose(
                    getattr(simulation.state, name)[world], getattr(initial, name)[0], atol=1e-6
                )
            if randomization is not None:
                config = simulation.task.config
                domain = draw_domain(generator.random((1, NUM_DOMAIN_UNIFORMS)), config)
                for name, value in vars(domain).items():
                    np.testing.assert_array_equal(simulation.domain[name][world], value[0])
            if "depth" in modalities:
                seed = np.array(generator.bit_generator.random_raw(), np.uint64).view(np.int64)
                assert simulation.engine._seeds[world] == int(seed)

    assert_begun(range(5))
    begun = np.ones(5, int)
    for step in range(10):
        assert_same_tensors(observations)
        actions = torch.full((5, 5), 0.1 * step)
        observations, done = step_twins(envs, actions)
        assert_begun(np.flatnonzero(done))
        begun += done
    assert_same_tensors(observations)
    assert begun.min() >= 4
    for handed_out, generator in zip(simulation.generators, generators, strict=True):
        assert handed_out.bit_generator.state == generator.bit_generator.state
    for env in envs:
        env.close()


def test_nothing_drawn_ahead_outlives_what_it_was_drawn_from():
    envs, _ = twins(modalities=("depth", "state"))
    kept = [generator.bit_generator.state for generator in envs[0].simulation.generators]

    def states(env):
        for generator, state in zip(env.simulation.generators, kept, strict=True):
            generator.bit_generator.state = state
        return {}

    def generator(env):
        env.simulation.generators[2] = np.random.default_rng(99)
        return {}

    def ranges(env):
        env.simulation.task = env.simulation.task.narrowed(0.2)
        return {}

    changes = [
        states,
        generator,
        ranges,
        lambda env: {"seed": [None, 5, None, 6, None]},
        lambda env: {"options": {"connector": "usb"}},
        lambda env: {"options": {"reset_mask": np.arange(5) == 1, "hand_y_mm": 0.5}},
    ]
    for change in changes:
        for _ in range(2):  # draws ahead
            assert_same_tensors(step_twins(envs, torch.zeros(5, 5))[0])
        assert_same_tensors([env.reset(**change(env))[0] for env in envs])
    for change in changes[:3]:  # without a reset of all worlds
        for env in envs:
            change(env)
        for _ in range(4):
            assert_same_tensors(step_twins(envs, torch.zeros(5, 5))[0])
    for env in envs:
        env.close()


def test_infos_share_no_memory():
    _, env = vectors("SameStep")
    env.reset(seed=0)
    before, again = env.simulation.info(), env.simulation.info()
    names = list(before)
    for row, name in enumerate(names):
        before[name].fill_(1)
        for later in names[row + 1 :]:
            assert torch.equal(before[later], again[later]), (name, later)
    for name, value in env.simulation.info().items():
        assert torch.equal(value, again[name]), name
    env.close()


def test_worlds_that_do_not_reset_keep_their_images():
    _, env = vectors("SameStep", max_episode_steps=-1)
    env.reset(seed=0)
    env._elapsed[:] = [0, 0, 9, 0, 0, 9]
    env.max_episode_steps = 10
    observation, *_, info = env.step(torch.zeros(6, 5))
    done = info["_final_obs"].numpy()
    assert done.tolist() == [False, False, True, False, False, True]
    for name, final in info["final_obs"].items():
        same = (final == observation[name]).flatten(1).all(dim=1).numpy()
        np.testing.assert_array_equal(same, ~done, name)
    env.close()


def test_a_tensor_of_actions_that_is_not_finite_is_refused():
    _, env = vectors("NextStep")
    env.reset(seed=0)
    actions = torch.zeros(6, 5)
    actions[4, 1] = torch.nan
    with pytest.raises(ValueError, match=r"the action \[0.0, nan.* is not finite"):
        env.step(actions)
    assert torch.isfinite(env.simulation.state.hand).all()
    with pytest.raises(ValueError, match=r"shape \(6, 4\); expected \(6, 5\)"):
        env.step(torch.zeros(6, 4))
    env.close()


def test_actions_that_require_grad_leave_no_graph_behind():
    for env in vectors("SameStep"):
        env.reset(seed=0)
        for _ in range(6):  # over the end of an episode
            observation, reward, *_ = env.step(torch.zeros(6, 5, requires_grad=True))
        for told in (*observation.values(), reward, env.simulation.state.hand):
            assert isinstance(told, np.ndarray) or not told.requires_grad
        with pytest.raises(ValueError, match=r"an array of real numbers; got torch.complex64"):
            env.step(torch.zeros(6, 5, dtype=torch.complex64))
        env.close()


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("randomization", [None, DomainRandomizationConfig()])
def test_an_environment_goes_on_from_its_state(mode, randomization):
    _, env = vectors(mode, domain_randomization=randomization)
    env.reset(seed=1)
    generator = torch.Generator().manual_seed(0)
    moves = [torch.rand(6, 5, generator=generator) * 2 - 1 for _ in range(10)]
    for move in moves[:3]:
        env.step(move)
    state = pickle.loads(pickle.dumps(env.get_state()))

    def rest(worlds):
        told = [worlds.step(move) for move in moves[3:]]
        told.append((worlds.reset(options={"reset_mask": np.arange(6) == 2})[0],))
        return told

    expected = rest(env)
    other = copy.deepcopy(env)
    for worlds in (env, other):
        worlds.set_state(state)
        for left, right in zip(expected, rest(worlds), strict=True):
            assert_same_tensors([left[0], right[0]])
            assert all(torch.equal(a, b) for a, b in zip(left[1:4], right[1:4], strict=True))
        worlds.close()


def test_the_single_environment():
    env = gymnasium.make("VTInsert-v0", engine="warp", device="cpu")
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert info["connector"] in CONNECTOR_NAMES
    observation, reward, terminated, _, info = env.step(
        host(env.unwrapped.simulation, {"a": env.unwrapped.simulation.expert_action()})["a"][0]
    )
    assert env.observation_space.contains(observation)
    assert type(reward) is float and terminated is False and info["failure"] == ""
    env.close()
