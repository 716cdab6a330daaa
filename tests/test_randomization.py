"""What is drawn for each episode, and that it reaches the physics and the sensors."""

from __future__ import annotations

import dataclasses
import math
import pickle

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import UNDISTURBED, domain_of, make_simulation, settings_of, simulate

from vtenv.rendering.renderers import DepthRenderer
from vtenv.tasks.insertion import measures, scene
from vtenv.tasks.insertion.config import InitialStateRanges
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES, CONNECTORS, PLUG_MASS
from vtenv.tasks.insertion.disturbances import NUM_DISTURBANCE_UNIFORMS
from vtenv.tasks.insertion.domain import (
    CLEARANCE_LEVELS,
    NUM_DOMAIN_UNIFORMS,
    clearances,
    draw_domain,
)
from vtenv.tasks.insertion.domain_fields import DOMAIN_FIELDS
from vtenv.tasks.insertion.env import VTInsertVectorEnv
from vtenv.tasks.insertion.initial import NUM_UNIFORMS
from vtenv.tasks.insertion.primitives import HOUSING_HALF_SIZE, bounds
from vtenv.tasks.insertion.randomization import DomainRandomizationConfig

NAMES = DomainRandomizationConfig.names()
TINY = {"image_size": 16, "contact_size": 16}
STILL = np.zeros(5)
STRAIGHT = InitialStateRanges(
    hand_y_mm=(0, 0),
    hand_z_mm=(0, 0),
    hand_yaw_deg=(0, 0),
    socket_x_mm=(36, 36),
    socket_y_mm=(0, 0),
    socket_z_mm=(0, 0),
    socket_yaw_deg=(0, 0),
)


def fixed(**values: float) -> DomainRandomizationConfig:
    """Nothing is random, and what is named has a value."""
    return DomainRandomizationConfig.only(**{name: (v, v) for name, v in values.items()})


def every_connector(**settings):
    """One world of each connector, in their order."""
    return [simulate(1, connectors=name, **settings) for name in CONNECTOR_NAMES]


def model_of(simulation, world=0):
    return simulation.engine._batch.get_model(world)


# The ranges ----------------------------------------------------------------------------------


def outside(low, high):
    return st.floats(max_value=low, exclude_max=True) | st.floats(min_value=high, exclude_min=True)


@given(data=st.data(), name=st.sampled_from(NAMES))
def test_a_wrong_range_is_named_with_its_limits(data, name):
    low, high = DomainRandomizationConfig.limits(name)
    inside = st.floats(low, high)
    wrong = st.one_of(
        st.tuples(outside(low, high), inside),
        st.tuples(inside, outside(low, high)),
        st.just((high, low)),
        st.tuples(inside),
        st.tuples(inside, inside, inside),
        inside,
        st.text(max_size=2),
        st.booleans(),
        st.just((math.nan, high)),
    )
    with pytest.raises(ValueError) as error:
        DomainRandomizationConfig(**{name: data.draw(wrong)})
    assert str(error.value).startswith(f"{name}=")
    assert f"{low:g} <= low <= high <= {high:g}" in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_good_range_is_kept(name):
    limits = DomainRandomizationConfig.limits(name)
    for given_as in (limits, list(limits), np.array(limits)):
        config = DomainRandomizationConfig(**{name: given_as})
        assert getattr(config, name) == limits
        assert all(type(bound) is float for bound in getattr(config, name))
        assert {config: 1}[pickle.loads(pickle.dumps(config))] == 1
    low, high = getattr(DomainRandomizationConfig(), name)
    assert limits[0] <= low < high <= limits[1]
    assert getattr(DomainRandomizationConfig(**{name: None}), name) is None


def test_only_leaves_the_rest_alone():
    config = DomainRandomizationConfig.only(pad_friction=(1, 2))
    assert config.pad_friction == (1.0, 2.0)
    assert all(getattr(config, name) is None for name in NAMES if name != "pad_friction")
    with pytest.raises(TypeError, match="friction"):
        DomainRandomizationConfig.only(friction=(1, 2))


@pytest.mark.parametrize("value", [{"friction": 1}, (0, 1), True, "default", InitialStateRanges()])
def test_domain_randomization_must_be_its_configuration(value):
    with pytest.raises(ValueError, match=r"domain_randomization=.*DomainRandomizationConfig"):
        settings_of(domain_randomization=value)


# The draws -----------------------------------------------------------------------------------


def draw(ranges, num=4000, **settings):
    config = settings_of(domain_randomization=ranges, **settings)
    uniforms = np.random.default_rng(0).random((num, NUM_DOMAIN_UNIFORMS))
    return config, draw_domain(uniforms, config)


UNITS = {
    "connector_friction": ("connector_friction", 1.0),
    "pad_friction": ("pad_friction", 1.0),
    "clearance": ("clearance_mm", 1e-3),
    "plug_mass": ("plug_mass_g", 1e-3),
    "gel_stiffness": ("gel_stiffness", 1.0),
    "camera_shift": ("camera_shift_mm", 1e-3),
    "camera_tilt": ("camera_tilt_deg", math.pi / 180),
    "depth_noise_mm": ("depth_noise_mm", 1.0),
}


def test_domains_fill_their_ranges_independently():
    ranges = DomainRandomizationConfig()
    _, domain = draw(ranges)
    columns = []
    for name, (field, unit) in UNITS.items():
        low, high = (bound * unit for bound in getattr(ranges, field))
        values = getattr(domain, name)
        assert (values >= low - 1e-12).all() and (values <= high + 1e-12).all()
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))
        assert values.std() == pytest.approx((high - low) / math.sqrt(12), rel=0.2)
        columns += list(values.reshape(len(values), -1).T)
    correlation = np.corrcoef(columns) - np.eye(len(columns))
    assert len(columns) == NUM_DOMAIN_UNIFORMS
    assert np.abs(correlation).max() < 0.06


def test_what_is_not_randomised_is_as_the_settings_say():
    _, domain = draw(DomainRandomizationConfig.only(), num=3, clearance_mm=0.7, depth_noise_mm=2.0)
    nominal = {
        "connector_friction": scene.CONNECTOR_FRICTION,
        "pad_friction": scene.PAD_FRICTION,
        "clearance_level": 0,
        "clearance": 0.7e-3,
        "plug_mass": PLUG_MASS,
        "gel_stiffness": 1.0,
        "camera_shift": 0.0,
        "camera_tilt": 0.0,
        "depth_noise_mm": 2.0,
    }
    for name, values in vars(domain).items():
        np.testing.assert_allclose(values, nominal[name], rtol=1e-12)


def test_a_clearance_is_one_of_the_sockets_that_were_made():
    config, domain = draw(DomainRandomizationConfig(clearance_mm=(0.3, 1.0)))
    sockets = np.array(clearances(config))
    np.testing.assert_allclose(sockets, np.linspace(0.3, 1.0, CLEARANCE_LEVELS))
    np.testing.assert_allclose(domain.clearance, sockets[domain.clearance_level] * 1e-3)
    assert np.bincount(domain.clearance_level).min() > 0.1 * len(domain.clearance)
    assert clearances(draw(fixed(clearance_mm=0.5))[0]) == (0.5,)


@pytest.mark.parametrize("ranges", [None, DomainRandomizationConfig(), fixed()])
def test_domains_are_drawn_after_initial_states_and_only_if_asked_for(ranges):
    simulation = simulate(2, seed=5, domain_randomization=ranges)
    plain = simulate(2, seed=5)
    for name in ("hand", "connector", "socket_pos_w", "socket_mat_w"):
        np.testing.assert_array_equal(
            getattr(simulation.state, name), getattr(plain.state, name), name
        )
    after = np.random.default_rng(5)
    after.random(
        NUM_UNIFORMS + NUM_DISTURBANCE_UNIFORMS + (0 if ranges is None else NUM_DOMAIN_UNIFORMS)
    )
    assert simulation.generators[0].bit_generator.state == after.bit_generator.state
    assert bool(simulation.domain) == (ranges is not None)


def test_each_world_draws_at_its_own_resets():
    simulation = simulate(3, domain_randomization=DomainRandomizationConfig())
    first = domain_of(simulation)
    simulation.reset(np.array([1]))
    for name, values in vars(domain_of(simulation)).items():
        np.testing.assert_array_equal(values[[0, 2]], getattr(first, name)[[0, 2]])
    assert (domain_of(simulation).camera_shift[1] != first.camera_shift[1]).all()
    assert len(np.unique(first.plug_mass)) == 3


def test_a_world_of_a_vector_is_a_world_of_its_own():
    """With domains as without: the same seed, the same episode, bit for bit."""
    options = {"modalities": ("depth", "gel", "state"), **TINY}
    options["domain_randomization"] = DomainRandomizationConfig()
    together = VTInsertVectorEnv(3, **options)
    alone = [VTInsertVectorEnv(1, **options) for _ in range(3)]
    actions = np.random.default_rng(0).uniform(-1, 1, (6, 3, 5)).astype(np.float32)
    seen = [together.reset(seed=11)[0]]
    seen += [together.step(action)[0] for action in actions]
    for world, env in enumerate(alone):
        own = [env.reset(seed=11 + world)[0]]
        own += [env.step(action[world : world + 1])[0] for action in actions]
        for a, b in zip(seen, own, strict=True):
            for name in a:
                np.testing.assert_array_equal(a[name][world], b[name][0], name)
        env.close()
    together.close()


def test_a_domain_of_nominal_values_is_the_environment_without_domains():
    nominal = DomainRandomizationConfig.only(
        connector_friction=(scene.CONNECTOR_FRICTION,) * 2,
        pad_friction=(scene.PAD_FRICTION,) * 2,
        clearance_mm=(0.4, 0.4),
        plug_mass_g=(PLUG_MASS * 1e3,) * 2,
        gel_stiffness=(1.0, 1.0),
        camera_shift_mm=(0.0, 0.0),
    )
    options = {"modalities": ("depth", "gel", "state"), "depth_noise_mm": 0.0, **TINY}
    options |= {"clearance_mm": 0.4, **UNDISTURBED}
    pair = [simulate(4, domain_randomization=ranges, **options) for ranges in (None, nominal)]
    worlds = np.arange(4)
    for _ in range(20):
        action = pair[0].expert_action()
        rewards = [simulation.step(worlds, action).reward for simulation in pair]
        np.testing.assert_allclose(*rewards, atol=1e-6)
        for name, image in pair[0].observe(worlds).items():
            np.testing.assert_allclose(image, pair[1].observe(worlds)[name], atol=1e-5)


# The physics ---------------------------------------------------------------------------------


@pytest.mark.parametrize("connector", CONNECTOR_NAMES)
def test_a_world_runs_on_the_model_of_its_clearance(connector):
    simulation = simulate(
        6,
        connectors=connector,
        insertion_resistance=0.0,
        domain_randomization=DomainRandomizationConfig.only(clearance_mm=(0.2, 2.0)),
    )
    assert len(set(domain_of(simulation).clearance_level)) > 2
    for world, clearance in enumerate(domain_of(simulation).clearance):
        model = model_of(simulation, world)
        built = scene.build_spec(
            scene.SceneConfig(clearance_mm=clearance * 1e3), CONNECTORS[connector]
        ).compile()
        for name in ("geom_size", "geom_pos", "geom_quat", "geom_rbound", "body_mass"):
            np.testing.assert_allclose(getattr(model, name), getattr(built, name), atol=1e-12)
        for name in DOMAIN_FIELDS:
            np.testing.assert_allclose(getattr(model, name), getattr(built, name), atol=1e-12)


def contacts_of(model, connector, sideways):
    """Contacts of a plug with its socket, nearly all the way in and `sideways` off its axis."""
    data = mujoco.MjData(model)
    mouth = np.array([0.3, 0.0, scene.HAND_HEIGHT])  # away from the hand
    data.mocap_pos[0] = mouth
    depth = CONNECTORS[connector].travel * 0.9
    shoulder = depth - CONNECTORS[connector].travel
    data.qpos[scene.PLUG_POS] = mouth + np.array([shoulder, sideways, 0.0])
    mujoco.mj_forward(model, data)
    socket = model.body("socket").id
    return [c for c in data.contact if socket in model.geom_bodyid[c.geom]]


@pytest.mark.parametrize("scale", [0.9, 1.0, 1.1])
@pytest.mark.parametrize("connector", CONNECTOR_NAMES)
def test_clearance_and_friction_reach_the_contacts(connector, scale):
    ranges = DomainRandomizationConfig.only(clearance_mm=(0.2, 0.7), connector_friction=(0.3, 0.9))
    simulation = simulate(
        3,
        connectors=connector,
        insertion_resistance=0.0,
        domain_randomization=ranges,
        connector_scale=scale,
    )
    domain = domain_of(simulation)
    for world, (clearance, friction) in enumerate(
        zip(domain.clearance, domain.connector_friction, strict=True)
    ):
        model = model_of(simulation, world)
        assert not contacts_of(model, connector, clearance - 2e-5)
        touching = contacts_of(model, connector, clearance + 2e-5)
        assert touching
        np.testing.assert_allclose([c.friction[0] for c in touching], friction)


def test_pads_hold_with_their_friction():
    for simulation in every_connector(domain_randomization=DomainRandomizationConfig()):
        model, data = model_of(simulation), simulation.engine._batch.get_data(0)
        mujoco.mj_forward(model, data)
        pads = [model.geom(f"gel_{side}").id for side in ("left", "right")]
        held = [c.friction[0] for c in data.contact if set(c.geom) & set(pads)]
        assert len(held) >= 4
        np.testing.assert_allclose(held, domain_of(simulation).pad_friction[0])


@pytest.mark.parametrize("grams", [5.0, 14.0, 50.0])
def test_a_plug_weighs_what_was_drawn(grams):
    """The hand's spring of 2000 N/m carries the plug, and the plug alone: it sags with it."""
    for simulation in every_connector(domain_randomization=fixed(plug_mass_g=grams)):
        model = model_of(simulation)
        plug = model.body("plug").id
        assert model.body_mass[plug] == pytest.approx(grams * 1e-3)
        assert model.body_subtreemass[plug] == pytest.approx(grams * 1e-3)
        assert model.body_subtreemass[0] == pytest.approx(model.body_mass.sum())
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        whole = np.zeros((model.nv, model.nv))
        mujoco.mj_fullM(model, data, whole)
        block = whole[7:13, 7:13]
        np.testing.assert_allclose(np.diag(block)[:3], grams * 1e-3)
        ratio = grams * 1e-3 / PLUG_MASS
        nominal = scene.build_spec(
            scene.SceneConfig(), simulation.task.config.connectors[0]
        ).compile()
        np.testing.assert_allclose(model.body_inertia[plug], nominal.body_inertia[plug] * ratio)
        for _ in range(25):
            simulation.step(np.array([0]), STILL[None])
        sag = simulation.state.target[0, 2] - simulation.state.hand[0, 2]
        assert sag == pytest.approx(grams * 1e-3 * 9.81 / 2000, rel=0.02)


@pytest.mark.parametrize(
    ("stiffness", "grams", "scale"),
    [(0.7, 5.0, 1.0), (0.9, 14.0, 1.0), (1.8, 50.0, 1.0), (1.0, 14.0, 0.9), (0.9, 14.0, 1.1)],
)
def test_grasps_start_at_rest(stiffness, grams, scale):
    """In gel of any stiffness, whatever the plug weighs and however thick its tip is."""
    ranges = fixed(gel_stiffness=stiffness, plug_mass_g=grams)
    config = {"domain_randomization": ranges, "connector_scale": scale}
    for simulation in every_connector(**config):
        fingers = simulation.state.fingers.copy()
        for _ in range(5):
            simulation.step(np.array([0]), STILL[None])
            np.testing.assert_allclose(simulation.state.fingers, fingers, atol=2e-5)
            assert simulation.state.touching.all()


def test_a_grasp_asked_for_starts_at_rest_too():
    simulation = make_simulation(2, domain_randomization=fixed(gel_stiffness=0.8))
    worlds = np.arange(2)
    options = {"connector": "stud", "in_hand_x_mm": 2.0, "in_hand_z_mm": 0.0}
    simulation.reset(worlds, [np.random.default_rng(i) for i in worlds], options)
    fingers = simulation.state.fingers.copy()
    simulation.step(worlds, np.zeros((2, 5)))
    np.testing.assert_allclose(simulation.state.fingers, fingers, atol=5e-6)


def test_soft_gel_is_pressed_in_deeper():
    depths = []
    for stiffness in (0.7, 0.8, 1.0, 1.25, 2.0):
        worlds = every_connector(
            modalities=("gel",), domain_randomization=fixed(gel_stiffness=stiffness)
        )
        depths.append([w.observe(np.array([0]))["gel"].max() for w in worlds])
    assert (np.diff(depths, axis=0) < -0.03).all()
    # Past its first millimetre the gel is a spring: half as stiff, pressed in twice as deep.
    soft, nominal = np.array(depths)[[0, 2], CONNECTOR_NAMES.index("aux")]
    assert soft == pytest.approx(nominal / 0.7, rel=0.01)


# The sensors ---------------------------------------------------------------------------------


def depth_image(ranges, size=64):
    """What the overhead camera sees without noise, and the world it is in."""
    simulation = simulate(
        1,
        seed=3,
        modalities=("depth",),
        connectors="usb",
        image_size=size,
        depth_noise_mm=0.0,
        initial_state=STRAIGHT,
        disturbances={"socket_pitch_deg": (0.0, 0.0)},
        domain_randomization=ranges,
    )
    return simulation.observe(np.array([0]))["depth"][0, 0], simulation


def test_a_camera_farther_up_sees_everything_as_much_deeper():
    near, _ = depth_image(None)
    far, _ = depth_image(fixed(camera_shift_mm=10.0))
    # The middle of the palm stays in the picture, wherever the camera has moved by 10 mm.
    palm, table = near.min(), near.max()
    assert far.min() == pytest.approx(palm + 0.010, abs=1e-6)
    assert far.max() == pytest.approx(table + 0.010, abs=1e-6)


def test_a_shifted_camera_sees_the_socket_shifted():
    size, shift, depth = 256, 0.003, scene.CAMERA_HEIGHT - HOUSING_HALF_SIZE[2]
    edges = []
    for d in (0.0, shift):
        image, simulation = depth_image(fixed(camera_shift_mm=d * 1e3), size)
        np.testing.assert_allclose(domain_of(simulation).camera_shift, d)
        rows, columns = np.nonzero(np.isclose(image, depth + d, atol=1e-5))
        # The nearest row and the sides of the housing's top, in [m] ahead and to the left.
        pixels = np.array([rows.max() + 1, columns.min(), columns.max() + 1])
        edges.append((1 - pixels / (size / 2)) * scene.VIEW_HALF_EXTENT * (depth + d) / depth)
    half_width = HOUSING_HALF_SIZE[1]
    pixel = 2 * scene.VIEW_HALF_EXTENT / size
    np.testing.assert_allclose(edges[0], [0.036, half_width, -half_width], atol=pixel)
    # A camera farther ahead and to the left sees it nearer and farther to the right.
    np.testing.assert_allclose(edges[1], edges[0] - shift, atol=pixel)


@pytest.mark.parametrize("degrees", [-4.0, 0.0, 2.5])
def test_a_tilted_camera_sees_the_table_at_a_slant(degrees):
    image, simulation = depth_image(fixed(camera_tilt_deg=degrees))
    tilt = domain_of(simulation).camera_tilt[0]
    np.testing.assert_allclose(tilt, math.radians(degrees))
    angle = np.linalg.norm(tilt)
    cross = np.cross(np.eye(3), tilt / angle) if angle else np.zeros((3, 3))
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    axes = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]) @ turn  # columns: right, up, backwards
    extent = scene.VIEW_HALF_EXTENT / (scene.CAMERA_HEIGHT - HOUSING_HALF_SIZE[2])
    u = (np.arange(64) + 0.5) / 32 - 1
    ways = (
        -axes[:, 2]
        + u[None, :, None] * extent * axes[:, 0]
        - u[:, None, None] * extent * axes[:, 1]
    )
    height = scene.HAND_HEIGHT + scene.CAMERA_HEIGHT
    table = height / -ways[:, :, 2]
    assert (image <= table + 1e-6).all()
    assert np.isclose(image, table, atol=1e-6).mean() > 0.4


def test_each_world_has_its_own_depth_noise():
    options = {"modalities": ("depth",), "image_size": 64}
    ranges = DomainRandomizationConfig.only(depth_noise_mm=(0.0, 4.0))
    simulation = simulate(6, domain_randomization=ranges, **options)
    worlds = np.arange(6)
    seen = simulation.observe(worlds)["depth"][:, 0]
    for world, noise_mm in enumerate(domain_of(simulation).depth_noise_mm):
        true = DepthRenderer(simulation.task).render(simulation, world)
        error = (seen[world] - true) / (true / scene.CAMERA_HEIGHT) ** 2
        assert error.std() * 1e3 == pytest.approx(noise_mm, rel=0.05)


# The task ------------------------------------------------------------------------------------


def test_success_is_judged_by_the_worlds_own_clearance():
    ranges = DomainRandomizationConfig.only(clearance_mm=(0.1, 2.0))
    simulation = simulate(8, domain_randomization=ranges)
    state, clearance = simulation.state, domain_of(simulation).clearance
    travel = simulation.measures.travel
    inside = dataclasses.replace(
        simulation.measures,
        depth=travel,
        lateral=np.full(8, 1.5e-3),
        angle=np.zeros(8),
    )
    together = measures.is_success(state, inside, clearance)
    alone = [measures.is_success(state, inside, float(c))[w] for w, c in enumerate(clearance)]
    np.testing.assert_array_equal(together, alone)
    assert together.any() and not together.all()
    np.testing.assert_array_equal(simulation.parameters["clearance"], clearance)


def expert_success(num_worlds, **settings):
    simulation = simulate(num_worlds, seed=1000, **settings)
    live, success = np.arange(num_worlds), np.zeros(num_worlds, bool)
    for _ in range(100):
        result = simulation.step(live, simulation.expert_action())
        success |= simulation.info()["is_success"]
        live = live[~result.terminated[live]]
        if not live.size:
            break
    simulation.close()
    return success.mean()


def test_the_expert_inserts_in_any_domain():
    assert expert_success(40, domain_randomization=DomainRandomizationConfig()) >= 0.95


@pytest.mark.parametrize("scale", [0.9, 1.1])
def test_the_expert_inserts_connectors_of_another_size(scale):
    assert expert_success(40, connector_scale=scale) >= 0.95


# Connectors of another size ------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.8, 0.9, 1.1, 1.2])
@pytest.mark.parametrize("connector", CONNECTORS.values(), ids=CONNECTORS)
def test_what_is_inserted_is_scaled_across_its_axis_and_the_rest_stays(connector, scale):
    nominal, scaled = connector.shape(0.0004, 0.001), connector.shape(0.0004, 0.001, scale)
    assert (scaled.grip, scaled.body) == (nominal.grip, nominal.body)
    np.testing.assert_allclose(
        bounds(scaled.insert)[:, 1:], bounds(nominal.insert)[:, 1:] * scale, rtol=1e-9
    )
    assert bounds(scaled.insert)[1, 0] == pytest.approx(connector.travel)


# Both engines --------------------------------------------------------------------------------


@pytest.mark.slow  # the Warp engine compiles for two minutes on a new machine
def test_the_warp_engine_has_the_same_domains(warp_device):
    ranges = DomainRandomizationConfig(
        connector_friction=(0.0, 0.6),
        clearance_mm=(0.2, 1.5),
        plug_mass_g=(5.0, 50.0),
        gel_stiffness=(0.7, 2.0),
        camera_shift_mm=(-5.0, 5.0),
        camera_tilt_deg=(-3.0, 3.0),
        depth_noise_mm=None,
    )
    options = {
        "num_worlds": 8,
        "track": "loose",
        "modalities": ("depth", "gel", "state"),
        "depth_noise_mm": 0.0,
        "domain_randomization": ranges,
    }
    cpu = simulate(**options)
    warp = simulate(engine="warp", engine_settings={"device": warp_device}, **options)
    for name, values in cpu.domain.items():
        np.testing.assert_array_equal(values, warp.domain[name], name)
    worlds = np.arange(8)
    ended = np.zeros(8, bool)
    for _ in range(60):
        seen, other = cpu.observe(worlds), warp.fetch(warp.observe(worlds))[0]
        for name, tolerance in (("depth", 1e-4), ("gel", 2e-3)):
            same = np.isclose(seen[name][~ended], other[name][~ended], atol=tolerance)
            assert same.mean() > 0.9999  # a pixel on an outline may see past it
        action = cpu.expert_action()
        rewards = [simulation.step(worlds, action).reward for simulation in (cpu, warp)]
        np.testing.assert_allclose(
            rewards[0][~ended], warp.fetch({"reward": rewards[1]})[0]["reward"][~ended], atol=0.01
        )
        success = [cpu.info(), warp.fetch(warp.info())[0]]
        np.testing.assert_array_equal(*(info["is_success"][~ended] for info in success))
        ended |= success[0]["is_success"]
        if ended.all():
            return
    pytest.fail(f"worlds {np.flatnonzero(~ended)} did not succeed")


@pytest.mark.slow
def test_each_world_has_its_own_depth_noise_on_the_warp_engine(warp_device):
    ranges = DomainRandomizationConfig.only(depth_noise_mm=(0.5, 4.0))
    simulation = simulate(
        6,
        engine="warp",
        engine_settings={"device": warp_device},
        modalities=("depth",),
        domain_randomization=ranges,
    )
    seen = simulation.fetch(simulation.observe(np.arange(6)))[0]["depth"][:, 0]
    for world, noise_mm in enumerate(domain_of(simulation).depth_noise_mm):
        true = DepthRenderer(simulation.task).render(simulation, world)
        error = (seen[world] - true) / (true / scene.CAMERA_HEIGHT) ** 2
        assert error.std() * 1e3 == pytest.approx(noise_mm, rel=0.05)
