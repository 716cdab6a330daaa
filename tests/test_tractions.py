"""Forces of taxels and motion of markers: against contact forces, Coulomb's law and an oracle."""

import mujoco
import numpy as np
import pytest
from scipy.optimize import brentq
from worlds import hold_plug

from vtenv.sensing import tractions
from vtenv.sensing.pads import Pad, PadSensors, add_pads
from vtenv.sensing.profiles import SQUARE_24MM, SensorProfile
from vtenv.tasks.insertion import scene
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES, CONNECTORS
from vtenv.tasks.insertion.grasp_bank import settle_grasps

THICKNESS, HALF = 0.006, 0.012
PADS = tuple(
    Pad(f"gel_{side}", face, ("plug",), "square-24mm")
    for side, face in (("left", "-y"), ("right", "+y"))
)
NORMAL = 10.0
UP = np.diag([1.0, 1.0, 1.0]).ravel()  # a camera that looks down: image x is x, image y is -y


class OnePad:
    """One pad under a given indentation, driven by wrenches in its own frame."""

    def __init__(self, pressed_mm, friction=0.5):
        self.pressed = np.asarray(pressed_mm, np.float32)[None, None]
        size = self.pressed.shape[2:]
        self.traction = np.zeros((1, 1, 2, *size), np.float32)
        self.shear = np.zeros((1, 1, 3, *size), np.float32)
        self.friction = np.array([friction])
        self.kernels = tractions.marker_kernels(size, SQUARE_24MM)

    def feel(self, x=0.0, y=0.0, torque=0.0, normal=NORMAL):
        """The taxels' forces (3, H, W), and the markers' motion (2, 9, 7)."""
        wrench = np.zeros((1, 1, 9))
        # Of the pad on the body: down onto it; image y and the axis into the image are reversed.
        wrench[0, 0, :6] = -x, y, -normal, 0.0, 0.0, torque
        world, poses = np.zeros(1, np.int64), (np.zeros((1, 1, 3)), UP[None, None])
        tractions.spread_forces(
            world,
            self.pressed,
            wrench,
            *poses,
            HALF,
            HALF,
            self.friction,
            np.zeros((1, 1)),
            self.traction,
            self.shear,
        )
        markers = np.zeros((1, 1, 2, 9, 7), np.float32)
        tractions.move_markers(world, self.pressed, self.traction, *self.kernels, markers)
        return self.shear[0, 0].copy(), markers[0, 0]


def places(rows=16, columns=16):
    """Coordinates of taxels, x along columns and y along rows, (H, W) each."""
    return np.meshgrid(tractions.grid(columns, HALF), tractions.grid(rows, HALF))


def round_patch(radius=0.006):
    """A ball's: deepest in the middle, (16, 16), [mm]."""
    x, y = places()
    return np.maximum(1 - (x**2 + y**2) / radius**2, 0.0)


def flat_patch():
    x, y = places()
    return np.where((abs(x) < 0.005) & (abs(y) < 0.004), 0.7, 0.0)


@pytest.fixture(scope="module", params=CONNECTOR_NAMES)
def held(request):
    """A plug in the hand, its sensors, and its state."""
    connector = CONNECTORS[request.param]
    spec = scene.build_spec(scene.SceneConfig(), connector)
    add_pads(spec, PADS)
    model = spec.compile()
    data = mujoco.MjData(model)
    grasp = settle_grasps(connector, np.array([[0.002, -0.001, 0.1]]))[0]
    hold_plug(data, grasp)
    data.ctrl[scene.FINGER_CTRL] = scene.GRIP_FORCE
    sensors = PadSensors(model, PADS, ("shear", "markers"), groups=(scene.PLUG_GROUP,))
    return model, data, sensors


def push(held, wrench, steps=100):
    """Images, (pads, ...) each, once a wrench on the plug, in the world frame, has settled."""
    model, data, sensors = held
    data.xfrc_applied[model.body("plug").id] = wrench
    for _ in range(steps // 10):
        mujoco.mj_step(model, data, 10)
        told = sensors.read(data)
    return told


def contact_forces(model, data):
    """Force on each pad along its image's columns and rows and into it, from the contacts."""
    forces = []
    for pad in PADS:
        camera = data.cam_xmat[model.camera(pad.camera).id].reshape(3, 3)
        total = np.zeros(3)
        for index, contact in enumerate(data.contact):
            if model.geom(pad.name).id not in contact.geom:
                continue
            force = np.zeros(6)
            mujoco.mj_contactForce(model, data, index, force)
            on_second = contact.frame.reshape(3, 3).T @ force[:3]
            total += -on_second if contact.geom[0] == model.geom(pad.name).id else on_second
        forces.append(total @ camera * [1, -1, 1])
    return np.array(forces)


@pytest.mark.parametrize(
    "wrench",
    [
        [0, 0, 0, 0, 0, 0],
        [6, 0, 0, 0, 0, 0],
        [-6, 0, 4, 0, 0, 0],
        [0, 3, -8, 0, 0, 0],
        [4, 0, 0, 0, 0.03, 0],
    ],
)
def test_taxels_sum_up_to_the_contact_force(held, wrench):
    told = push(held, wrench)["shear"].sum(axis=(-1, -2))
    x, y, normal = contact_forces(*held[:2]).T
    np.testing.assert_allclose(told[:, 0], normal, rtol=0.05)
    size = max(np.hypot(x, y).max(), 0.1)
    np.testing.assert_allclose(told[:, 1:], np.column_stack([x, y]), atol=0.05 * size)
    push(held, np.zeros(6))


@pytest.mark.parametrize("torque", [-0.03, 0.03])
def test_a_torque_about_the_closing_axis_turns_the_field(held, torque):
    """Torque about y turns from z to x: in the left image, whose x is -x, clockwise."""
    x, y = places()
    before = push(held, np.zeros(6))
    after = push(held, [0, 0, 0, 0, torque, 0])
    for side, sign in enumerate((1, -1)):
        turn = after["shear"][side] - before["shear"][side]
        moment = (x * turn[2] - y * turn[1]).sum()
        assert np.sign(moment) == -sign * np.sign(torque)
        assert abs(moment) > 0.005
    push(held, np.zeros(6))


def test_more_load_moves_markers_more(held):
    loads = [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    rest = push(held, np.zeros(6))["markers"]
    moved = [
        np.abs((push(held, [-load, 0, 0, 0, 0, 0])["markers"] - rest)[:, 0]).mean()
        for load in loads
    ]
    assert (np.diff(moved) > 0.01).all()
    push(held, np.zeros(6))


def test_no_taxel_carries_more_than_friction_allows():
    pad = OnePad(round_patch())
    for load in (1.0, 4.0, 4.9):
        normal, x, y = pad.feel(x=load)[0]
        assert (np.hypot(x, y) <= 0.5 * normal * (1 + 1e-5)).all()
        assert x.sum() == pytest.approx(load, rel=0.05)
        assert normal.sum() == pytest.approx(NORMAL, rel=1e-5)


def test_beyond_the_limit_all_taxels_slip():
    normal, x, y = OnePad(round_patch()).feel(x=20.0, y=15.0)[0]
    np.testing.assert_allclose(x, 0.4 * normal, atol=1e-3)
    np.testing.assert_allclose(y, 0.3 * normal, atol=1e-3)


def test_a_load_cycle_past_slip_leaves_what_stick_slip_predicts():
    """Springs between rigid bodies, loaded and unloaded: each is a clipped line in the motion."""
    pad = OnePad(round_patch())
    rest = pad.feel()[1]
    pad.feel(x=4.0)
    (normal, x, _), after = pad.feel()
    limit = 0.5 * normal.astype(np.float64)
    loaded = brentq(lambda u: np.minimum(u, limit).sum() - 4.0, 0.0, limit.max())
    there = np.minimum(loaded, limit)
    back = brentq(lambda u: np.clip(there - u, -limit, limit).sum(), 0.0, 1.0)
    expected = np.clip(there - back, -limit, limit) * (limit > 0)
    np.testing.assert_allclose(x, expected, atol=0.05 * limit.max())
    assert abs(x.sum()) < 0.02
    assert np.abs(after - rest).max() > 0.01
    again = [pad.feel(x=load)[1] for load in (4.0, 0.0)][1]
    np.testing.assert_allclose(again, after, atol=0.01)  # the same cycle adds nothing


def test_a_load_cycle_below_slip_leaves_nothing():
    pad = OnePad(flat_patch())
    rest = pad.feel()[1]
    for load in np.linspace(0, 4.0, 9):
        loaded = pad.feel(x=load)[1]
    assert np.abs(loaded - rest).max() > 0.1
    for load in np.linspace(4.0, 0, 9):
        unloaded = pad.feel(x=load)[1]
    np.testing.assert_allclose(unloaded, rest, atol=2e-3)


def test_taxels_forget_when_they_are_left():
    pad, fresh = OnePad(round_patch()), OnePad(round_patch())
    pad.feel(x=4.0)
    pad.pressed[:] = 0.0
    shear, markers = pad.feel(normal=0.0)
    assert not shear.any() and not markers.any() and not pad.traction.any()
    pad.pressed[:] = fresh.pressed
    for told, expected in zip(pad.feel(x=1.0), fresh.feel(x=1.0), strict=True):
        np.testing.assert_array_equal(told, expected)


def test_a_single_taxel_and_a_row_of_them_carry_the_load():
    for rows in (slice(8, 9), slice(4, 12)):
        pressed = np.zeros((16, 16))
        pressed[rows, 8] = 0.5
        normal, x, y = OnePad(pressed).feel(x=1.0, y=-2.0)[0]
        assert (x.sum(), y.sum()) == pytest.approx((1.0, -2.0), rel=0.05)
        assert normal.sum() == pytest.approx(NORMAL, rel=1e-5)


def test_markers_flee_from_what_is_pressed_in():
    motion = OnePad(round_patch()).feel()[1]
    x, y = np.meshgrid(tractions.grid(7, HALF), tractions.grid(9, HALF))
    assert ((motion[0] * x + motion[1] * y)[x**2 + y**2 > 1e-6] > 0).all()
    np.testing.assert_allclose(motion[0], -motion[0][:, ::-1], atol=1e-6)
    np.testing.assert_allclose(motion[1], -motion[1][::-1], atol=1e-6)


def test_shear_of_the_whole_surface_is_that_of_a_layer():
    """On a large pad, the displacement's integral is force times thickness over modulus."""
    half, modulus = 0.05, 0.2e6
    profile = SensorProfile((100, 100), marker_size=(101, 101), shear_modulus_mpa=0.2)
    kernels = tractions.marker_kernels((1, 1), profile)
    motion = kernels.by_rows[0, :, 0][:, None] * kernels.by_columns[0, :, 0]  # [mm/N]
    integral = motion.sum() * 1e-3 * (2 * half / 101) ** 2
    assert integral == pytest.approx(THICKNESS / modulus, rel=1e-3)


def test_dilation_carries_away_the_volume_that_is_pressed_in():
    """Through the ring where most flows, two thirds as fast on average as at the face."""
    half, deep = 0.02, 0.5
    kernels = tractions.marker_kernels((1, 1), SensorProfile((40, 40), marker_size=(1, 401)))
    radius = tractions.grid(401, half)
    outwards = deep * kernels.by_rows[1, 0, 0] * kernels.by_columns[2, :, 0] * 1e-3
    flow = (2 * np.pi * radius * outwards * THICKNESS * 2 / 3)[radius > 0].max()
    assert flow == pytest.approx(deep * 1e-3 * (2 * half) ** 2, rel=1e-2)
