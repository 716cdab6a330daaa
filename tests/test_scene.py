"""The scene's layout, the fit of plug and socket, and what the cameras see of it."""

from __future__ import annotations

import itertools
import math

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray
from worlds import UNDISTURBED, cast_images, make_simulation

from vtenv.tasks.insertion import scene
from vtenv.tasks.insertion.actions import HAND_STIFFNESS
from vtenv.tasks.insertion.config import InitialStateRanges
from vtenv.tasks.insertion.connectors import (
    CONNECTOR_NAMES,
    CONNECTORS,
    SHOULDER_IN_HAND,
)
from vtenv.tasks.insertion.primitives import HOUSING_HALF_SIZE
from vtenv.tasks.insertion.scene import SceneConfig

CLEARANCES_MM = (0.1, 0.2, 0.4, 0.8, 2.0)
OVERHEAD_GROUPS = (scene.SCENE_GROUP, scene.PLUG_GROUP)
CAMERAS = ("overhead", "gel_left", "gel_right")
FRICTION = 0.2
SIDEWAYS = {
    "+y": (0.0, 1.0, 0.0),
    "-y": (0.0, -1.0, 0.0),
    "+z": (0.0, 0.0, 1.0),
    "-z": (0.0, 0.0, -1.0),
}

every_connector = pytest.mark.parametrize("connector", CONNECTOR_NAMES)
every_fit = pytest.mark.parametrize(
    ("clearance_mm", "lead_in_mm"), list(itertools.product(CLEARANCES_MM, (0.0, 1.0)))
)


class Placed:
    """A compiled scene whose bodies are put where a test wants them; nothing moves by itself."""

    def __init__(
        self,
        connector: str,
        config: SceneConfig | None = None,
        *,
        spec: mujoco.MjSpec | None = None,
    ) -> None:
        self.connector = CONNECTORS[connector]
        spec = spec or scene.build_spec(config or SceneConfig(), CONNECTORS[connector])
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)

    def insert(self, depth: float, sideways: NDArray | tuple[float, float, float] = (0, 0, 0)):
        """Put the plug's tip `depth` past the mouth, `sideways` off the axis, in [m]."""
        # Away from the hand: only plug and socket are looked at.
        mouth = np.array([0.3, 0.0, scene.HAND_HEIGHT])
        self.data.mocap_pos[0] = mouth
        offset = np.array([depth - self.connector.travel, 0.0, 0.0]) + sideways
        self.data.qpos[scene.PLUG_POS] = mouth + offset
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_collision(self.model, self.data)

    def contact_normals(self) -> NDArray[np.float64]:
        """Directions in which the socket pushes the plug, (C, 3)."""
        contact = self.data.contact
        bodies = self.model.geom_bodyid[contact.geom].reshape(-1, 2)
        plug, socket = self.model.body("plug").id, self.model.body("socket").id
        sign = np.zeros(len(bodies))
        sign[(bodies == [socket, plug]).all(axis=1)] = 1.0
        sign[(bodies == [plug, socket]).all(axis=1)] = -1.0
        normals = contact.frame.reshape(-1, 9)[:, :3] * sign[:, None]
        return normals[sign != 0]

    def first_contact(self, sideways: NDArray) -> tuple[float, NDArray[np.float64]]:
        """Depth at which a tip moved straight in first touches, in [m], and the normals."""
        for depth in np.arange(-0.002, self.connector.travel, 5e-5):
            self.insert(depth, sideways)
            normals = self.contact_normals()
            if len(normals):
                return depth, normals
        return math.inf, np.empty((0, 3))

    def start(self, values: dict[str, float]) -> None:
        """Put hand, plug and socket where an initial state has them; names as its ranges."""
        si = {
            name: value * (math.pi / 180 if name.endswith("_deg") else 1e-3)
            for name, value in values.items()
        }
        data, yaw = self.data, si["hand_yaw_deg"]
        data.qpos[scene.HAND_QPOS] = [0.0, si["hand_y_mm"], si["hand_z_mm"], yaw, 0.0]
        data.qpos[scene.FINGER_QPOS] = scene.FINGER_OPEN - self.connector.body_size[1] / 2
        turn, in_hand = quat(yaw, "z"), quat(si["in_hand_pitch_deg"], "y")
        shoulder, orientation = np.empty(3), np.empty(4)
        mujoco.mju_rotVecQuat(
            shoulder,
            np.array([SHOULDER_IN_HAND + si["in_hand_x_mm"], 0.0, si["in_hand_z_mm"]]),
            turn,
        )
        mujoco.mju_mulQuat(orientation, turn, in_hand)
        nominal = np.array([0.0, 0.0, scene.HAND_HEIGHT])
        hand = np.array([0.0, si["hand_y_mm"], si["hand_z_mm"]])
        data.qpos[scene.PLUG_POS] = nominal + hand + shoulder
        data.qpos[scene.PLUG_QUAT] = orientation
        data.mocap_pos[0] = nominal + [si[f"socket_{axis}_mm"] for axis in "xyz"]
        data.mocap_quat[0] = quat(si["socket_yaw_deg"], "z")
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_camlight(self.model, data)

    def overhead(self, groups: tuple[int, ...] = OVERHEAD_GROUPS) -> NDArray[np.float32]:
        """The overhead camera's depth of some groups of geoms, (H, W)."""
        tangent = math.tan(math.radians(self.model.cam_fovy[scene.OVERHEAD_CAMERA]) / 2)
        cameras = slice(scene.OVERHEAD_CAMERA, scene.OVERHEAD_CAMERA + 1)
        return cast_images(self.model, self.data, cameras, groups, tangent, True)[0]

    def gels(self) -> NDArray[np.float32]:
        """Depth from the back of each gel, (2, H, W)."""
        groups, extent = (scene.PLUG_GROUP,), scene.GEL_SIZE / 2
        return cast_images(self.model, self.data, scene.GEL_CAMERAS, groups, extent, False)

    def to_overhead_image(self, in_socket: tuple[float, float, float]) -> NDArray[np.float64]:
        """Where a point of the socket is in the overhead image: right and up in [-1, 1]."""
        socket = self.model.body("socket").id
        point = self.data.xpos[socket] + self.data.xmat[socket].reshape(3, 3) @ in_socket
        eye, mat = self.data.cam_xpos[scene.OVERHEAD_CAMERA], self.data.cam_xmat
        right, up, back = mat[scene.OVERHEAD_CAMERA].reshape(3, 3).T @ (point - eye)
        tangent = math.tan(math.radians(self.model.cam_fovy[scene.OVERHEAD_CAMERA]) / 2)
        return np.array([right, up]) / (-back * tangent)


def quat(angle: float, axis: str) -> NDArray[np.float64]:
    result = np.zeros(4)
    result[0], result["xyz".index(axis) + 1] = math.cos(angle / 2), math.sin(angle / 2)
    return result


def nominal_start() -> dict[str, float]:
    ranges = InitialStateRanges()
    return {name: sum(getattr(ranges, name)) / 2 for name in ranges.names()}


def extreme_starts(names: tuple[str, ...]):
    """Every combination of the bounds of `names`, the others in their middle."""
    ranges = InitialStateRanges()
    for bounds in itertools.product(*[getattr(ranges, name) for name in names]):
        yield nominal_start() | dict(zip(names, bounds, strict=True))


def random_starts(count: int, seed: int):
    ranges, rng = InitialStateRanges(), np.random.default_rng(seed)
    for _ in range(count):
        yield {name: rng.uniform(*getattr(ranges, name)) for name in ranges.names()}


@pytest.fixture(scope="module")
def placed() -> dict[str, Placed]:
    """The default scene of every connector."""
    return {name: Placed(name) for name in CONNECTOR_NAMES}


# Layout --------------------------------------------------------------------------------------


@every_connector
@pytest.mark.parametrize(
    "config",
    [SceneConfig(), SceneConfig(2.0, 0.0, image_size=(48, 96), contact_size=(32, 24))],
    ids=str,
)
def test_slices_are_where_the_names_are(connector, config):
    model = scene.build_spec(config, CONNECTORS[connector]).compile()

    def joints(names, address):
        return [int(getattr(model.joint(name), address)[0]) for name in names]

    def indices(part: slice):
        return list(range(part.start, part.stop))

    assert joints(scene.HAND_JOINTS, "qposadr") == indices(scene.HAND_QPOS)
    assert joints(scene.HAND_JOINTS, "dofadr") == indices(scene.HAND_QVEL)
    assert joints(scene.FINGER_JOINTS, "qposadr") == indices(scene.FINGER_QPOS)
    assert [model.actuator(n).id for n in scene.HAND_JOINTS] == indices(scene.HAND_CTRL)
    assert [model.actuator(n).id for n in scene.FINGER_JOINTS] == indices(scene.FINGER_CTRL)
    for name in (*scene.HAND_JOINTS, *scene.FINGER_JOINTS):
        assert model.actuator(name).trnid[0] == model.joint(name).id

    plug = model.joint("plug")
    assert plug.qposadr[0] == scene.PLUG_POS.start
    assert (scene.PLUG_QUAT.start, scene.PLUG_QUAT.stop) == (scene.PLUG_POS.stop, model.nq)
    assert (plug.dofadr[0], model.nv) == (scene.PLUG_QVEL.start, scene.PLUG_QVEL.stop)

    force = model.sensor("socket_force")
    assert (force.adr[0], force.dim[0]) == (scene.SOCKET_FORCE.start, 3)
    gels = [model.sensor(f"gel_{side}") for side in ("left", "right")]
    assert [int(gel.adr[0]) for gel in gels] == indices(scene.GEL_CONTACTS)
    assert [int(gel.dim[0]) for gel in gels] == [1, 1]
    assert model.nsensordata == scene.GEL_CONTACTS.stop

    assert model.camera("overhead").id == scene.OVERHEAD_CAMERA
    cameras = [model.camera(f"gel_{side}").id for side in ("left", "right")]
    assert cameras == indices(scene.GEL_CAMERAS)
    # Columns and rows.
    assert model.cam_resolution[scene.OVERHEAD_CAMERA].tolist() == [*config.image_size[::-1]]
    assert (model.cam_resolution[scene.GEL_CAMERAS] == config.contact_size[::-1]).all()
    assert model.body("socket").mocapid[0] == 0


def test_all_connectors_have_one_layout():
    """`Batch.set_models` swaps them within a batch, and rays read one table of types."""
    models = [
        model
        for clearance, lead_in in ((0.4, 1.0), (2.0, 0.0), (0.1, 2.0))
        for model in scene.build_models(SceneConfig(clearance, lead_in), (*CONNECTORS.values(),))
    ]
    first = models[0]
    sizes = [
        name
        for name in dir(first)
        # Text is not simulated, and holds the connector's name.
        if name.startswith("n") and name not in ("names", "nnames", "nbuffer")
        if isinstance(getattr(first, name), int)
    ]
    assert {"nq", "nv", "ngeom", "nbody", "nsite", "nM", "nC"} <= set(sizes)
    for model in models[1:]:
        assert [getattr(model, name) for name in sizes] == [getattr(first, name) for name in sizes]
        for array in ("geom_type", "geom_group", "geom_bodyid", "geom_contype", "geom_conaffinity"):
            np.testing.assert_array_equal(getattr(model, array), getattr(first, array))
        names = [model.geom(i).name for i in range(model.ngeom)]
        assert names == [first.geom(i).name for i in range(first.ngeom)]


@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (32, 64), (64, 48)])
def test_pixels_are_square_and_the_longer_side_spans_the_view(rows, columns):
    config = SceneConfig(image_size=(rows, columns), contact_size=(rows, columns))
    model = scene.build_spec(config, CONNECTORS["usb"]).compile()
    upright = rows / max(rows, columns)
    half = math.tan(math.radians(model.cam_fovy[scene.OVERHEAD_CAMERA]) / 2)
    top = scene.CAMERA_HEIGHT - HOUSING_HALF_SIZE[2]
    assert half * top == pytest.approx(scene.VIEW_HALF_EXTENT * upright)
    assert model.cam_fovy[scene.GEL_CAMERAS] == pytest.approx(scene.GEL_SIZE * upright)


@every_connector
def test_the_hand_closes_evenly_and_its_frame_is_centred(connector, placed):
    """Equal travel of the fingers keeps their pads' faces at equal distances from the hand."""
    scenery = placed[connector]
    scenery.start(nominal_start())
    hand = scenery.data.body("hand").xpos
    faces = [scenery.data.body(f"finger_{side}").xpos - hand for side in ("left", "right")]
    width = scenery.connector.body_size[1]
    np.testing.assert_allclose(faces, [[0, width / 2, 0], [0, -width / 2, 0]], atol=1e-12)


# Fit -----------------------------------------------------------------------------------------


@every_connector
@every_fit
def test_the_plug_fits_and_is_held_sideways(connector, clearance_mm, lead_in_mm):
    fit = Placed(connector, SceneConfig(clearance_mm, lead_in_mm))
    # Ten micrometres short of where the shoulder's face lies in the socket's: there, whether
    # two faces in one plane touch is a matter of rounding.
    depth = fit.connector.travel - 1e-5
    fit.insert(depth)
    assert len(fit.contact_normals()) == 0
    for name, direction in SIDEWAYS.items():
        beyond = 0.4 if connector == "usb" else 0.15  # the opening's slack, without a tongue
        fit.insert(depth, np.array(direction) * (clearance_mm + beyond) * 1e-3)
        normals = fit.contact_normals()
        assert len(normals), f"nothing holds the plug towards {name}"
        assert (normals @ direction).min() < -0.5, f"it is not pushed back from {name}"


@every_connector
@every_fit
def test_nothing_is_in_the_way_within_the_clearance(connector, clearance_mm, lead_in_mm):
    """At any depth, off the axis by any less than the clearance, in any direction."""
    fit = Placed(connector, SceneConfig(clearance_mm, lead_in_mm))
    # 15 degrees apart: the flats and the corners of a twelve-sided ring.
    for angle in np.arange(24) * math.pi / 12:
        off = 0.97 * clearance_mm * 1e-3 * np.array([0.0, math.cos(angle), math.sin(angle)])
        for depth in np.linspace(-0.001, fit.connector.travel - 1e-5, 12):
            fit.insert(depth, off)
            assert len(fit.contact_normals()) == 0, f"{math.degrees(angle):.0f} deg, {depth}"


@every_connector
def test_the_bottom_of_the_hole_stops_the_tip(connector):
    """A body narrower than the chamfer's mouth goes on past its travel, by half a millimetre."""
    fit = Placed(connector)
    fit.insert(fit.connector.travel + 0.6e-3)
    normals = fit.contact_normals()
    assert len(normals)
    assert normals[:, 0].min() < -0.99


def capture_range(connector: str, clearance_mm: float, lead_in_mm: float, direction: str) -> float:
    """Offset up to which the lead-in is meant to guide the tip in, in [m]."""
    capture = (clearance_mm + lead_in_mm) * 1e-3
    if connector == "pin" and direction.endswith("z"):
        # Half-way to the next pin the nose of a divider turns the other way, and near there it
        # is too blunt to slide on.
        capture = min(capture, 0.8 * 0.00254 / 2)
    if connector == "usb":
        # The tongue and the shell's wall are both round: where they meet nearly head-on, at the
        # friction angle, the tip is stopped.
        tongue, wall = max(0.975e-3 - clearance_mm * 1e-3, 0.0), 0.1575e-3
        capture = min(capture, 0.975e-3 + wall - 0.25 * (tongue + wall))
    return capture


@every_connector
@pytest.mark.parametrize("direction", list(SIDEWAYS))
@pytest.mark.parametrize("clearance_mm", CLEARANCES_MM)
def test_a_tip_within_capture_range_is_guided_in(connector, clearance_mm, direction):
    """Off by less than clearance and lead-in, it touches nothing that would stop it."""
    lead_in_mm = 1.0
    fit = Placed(connector, SceneConfig(clearance_mm, lead_in_mm))
    outwards = np.array(SIDEWAYS[direction])
    capture = capture_range(connector, clearance_mm, lead_in_mm, direction)
    for part in (0.6, 0.8, 0.97):
        offset = part * capture
        for depth in (-0.0005, 0.0):
            fit.insert(depth, outwards * offset)
            assert len(fit.contact_normals()) == 0, "the face around the mouth is in the way"
        _, normals = fit.first_contact(outwards * offset)
        if offset > clearance_mm * 1e-3 + 1e-5:
            assert len(normals), "the hole is wider than its clearance"
        for normal in normals:
            # Pushed towards the axis, more steeply than friction can hold.
            assert -(normal @ outwards) > FRICTION * abs(normal[0]) + 0.01


@every_connector
@pytest.mark.parametrize("lead_in_mm", [0.0, 1.0])
def test_a_tip_off_the_mouth_is_stopped_by_the_face(connector, lead_in_mm):
    fit = Placed(connector, SceneConfig(0.4, lead_in_mm))
    # So far that the whole tip is beside the mouth, and still before the housing.
    half_width = {"aux": 1.75, "pin": 0.3175, "usb": 6.0, "stud": 3.0}[connector]
    offset = (2 * half_width + 0.4 + lead_in_mm + 0.1) * 1e-3
    depth, normals = fit.first_contact(np.array([0.0, offset, 0.0]))
    assert abs(depth) < 1e-4
    np.testing.assert_allclose(normals, np.tile([-1.0, 0.0, 0.0], (len(normals), 1)), atol=1e-6)


@every_connector
def test_lead_in_widens_the_mouth_and_not_the_hole(connector):
    """An offset that the chamfer guides jams on a mouth without one, or on its edge."""
    offset = np.array([0.0, (0.4 + 0.9) * 1e-3, 0.0])
    guided, _ = Placed(connector, SceneConfig(0.4, 1.0)).first_contact(offset)
    blunt, _ = Placed(connector, SceneConfig(0.4, 0.0)).first_contact(offset)
    assert guided > blunt + 3e-4
    for lead_in_mm in (0.0, 1.0, 2.0):
        fit = Placed(connector, SceneConfig(0.4, lead_in_mm))
        fit.insert(0.95 * fit.connector.travel, (0.0, 0.00055, 0.0))
        assert len(fit.contact_normals()), "the hole is wider behind a chamfer"


# What the cameras see ------------------------------------------------------------------------


def rangefinder(connector: str, start: dict[str, float], groups: tuple[int, ...]) -> Placed:
    """The scene with MuJoCo's depth sensor on every camera, blind to all but `groups`."""
    spec = scene.build_spec(SceneConfig(), CONNECTORS[connector])
    for geom in spec.geoms:
        if geom.group not in groups:
            geom.rgba[3] = 0.0
    for camera in CAMERAS:
        spec.add_sensor(
            name=f"depth_{camera}",
            type=mujoco.mjtSensor.mjSENS_RANGEFINDER,
            objtype=mujoco.mjtObj.mjOBJ_CAMERA,
            objname=camera,
            intprm=[1 << int(mujoco.mjtRayDataField.mjRAYDATA_DEPTH), 0, 0],
        )
    oracle = Placed(connector, spec=spec)
    oracle.start(start)
    mujoco.mj_forward(oracle.model, oracle.data)
    return oracle


def single_ray(oracle: Placed, camera: str, row: int, column: int) -> float:
    """Depth of one pixel by `mj_ray`."""
    model, data = oracle.model, oracle.data
    index = model.camera(camera).id
    eye, mat = data.cam_xpos[index], data.cam_xmat[index].reshape(3, 3)
    u, v = 2 * (column + 0.5) / 64 - 1, 1 - 2 * (row + 0.5) / 64
    if camera == "overhead":
        tangent = math.tan(math.radians(model.cam_fovy[index]) / 2)
        start, ray = eye, mat @ [u * tangent, v * tangent, -1.0]
    else:
        start, ray = eye + mat @ [u * 0.012, v * 0.012, 0.0], -mat[:, 2]
    hit = np.empty(1, np.int32)
    distance = mujoco.mj_ray(model, data, start, ray, None, True, -1, hit)
    return math.inf if distance < 0 else distance


@every_connector
def test_cameras_agree_with_the_rangefinder(connector, placed):
    """The real scene and its cameras: pixel order, orientation, extent, and what each sees."""
    for start in random_starts(4, seed=7):
        placed[connector].start(start)
        overhead = rangefinder(connector, start, OVERHEAD_GROUPS)
        touch = rangefinder(connector, start, (scene.PLUG_GROUP,))
        images = [placed[connector].overhead(), *placed[connector].gels()]
        oracles = [overhead, touch, touch]
        for camera, image, oracle in zip(CAMERAS, images, oracles, strict=True):
            expected = oracle.data.sensor(f"depth_{camera}").data.reshape(64, 64)
            expected = np.where(expected < 0, np.inf, expected)
            assert len(np.unique(expected.round(4))) > 1, "something is in view"
            different = np.argwhere(~np.isclose(image, expected, atol=1e-5))
            # The sensor culls geoms by a bound that, in MuJoCo 4.0, misses some corners of
            # boxes; a single ray does not.
            assert len(different) < 10
            for row, column in different:
                assert image[row, column] == pytest.approx(
                    single_ray(oracle, camera, row, column), abs=1e-5
                )


@every_connector
@pytest.mark.parametrize("group", [scene.DECOR_GROUP, scene.COLLIDER_GROUP])
def test_decoration_and_colliders_do_not_show(connector, group, placed):
    spec = scene.build_spec(SceneConfig(), CONNECTORS[connector])
    rng = np.random.default_rng(0)
    for body in ("plug", "socket", "hand", "finger_left", "gantry"):
        for _ in range(3):
            spec.body(body).add_geom(
                type=mujoco.mjtGeom.mjGEOM_ELLIPSOID,
                size=rng.uniform(0.005, 0.05, 3),
                pos=rng.uniform(-0.03, 0.03, 3),
                mass=0.0,
                group=group,
            )
    # Between the camera and everything else.
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.2, 0.2, 0.01], pos=[0, 0, 0.3], group=group
    )
    decorated = Placed(connector, spec=spec)
    for start in random_starts(3, seed=3):
        placed[connector].start(start)
        decorated.start(start)
        np.testing.assert_array_equal(decorated.overhead(), placed[connector].overhead())
        np.testing.assert_array_equal(decorated.gels(), placed[connector].gels())


@every_connector
def test_touch_sees_neither_socket_nor_table(connector, placed):
    scenery = placed[connector]
    scenery.start(nominal_start())
    before = scenery.gels()
    assert np.isfinite(before).any()
    # The socket through the fingers, the table above the hand.
    scenery.start(nominal_start() | {"socket_x_mm": 0.0})
    table = scenery.model.geom("table").id
    scenery.data.geom_xpos[table, 2] = scene.HAND_HEIGHT + 0.05
    np.testing.assert_array_equal(scenery.gels(), before)


@every_connector
def test_vision_sees_neither_the_grasp_nor_the_connector(connector, placed):
    """Only touch tells how the plug is held: the image is the same for any grasp."""
    scenery = placed[connector]
    in_hand = ("in_hand_x_mm", "in_hand_z_mm", "in_hand_pitch_deg")
    images = []
    for start in extreme_starts(in_hand):
        scenery.start(start)
        images.append(scenery.overhead())
    for image in images[1:]:
        np.testing.assert_array_equal(image, images[0])


@every_connector
def test_the_palm_hides_the_plug_at_the_start(connector, placed):
    scenery = placed[connector]
    palm = scenery.model.geom("palm").id
    shown = []
    for start in random_starts(100, seed=1):
        scenery.start(start)
        with_plug, without = scenery.overhead(), scenery.overhead((scene.SCENE_GROUP,))
        shown.append(int((with_plug != without).sum()))
    assert max(shown) == 0
    # Not because it would not be seen without the palm.
    scenery.model.geom_rgba[palm, 3] = 0.0
    try:
        with_plug, without = scenery.overhead(), scenery.overhead((scene.SCENE_GROUP,))
        assert (with_plug != without).sum() > 10
    finally:
        scenery.model.geom_rgba[palm, 3] = 1.0


@every_connector
def test_the_socket_is_in_view_from_every_start(connector, placed):
    scenery = placed[connector]
    _, half_width, half_height = HOUSING_HALF_SIZE
    housing = scenery.model.geom("housing").id
    alpha = scenery.model.geom_rgba[housing, 3]
    placing = tuple(n for n in InitialStateRanges.names() if not n.startswith("in_hand"))
    for start in extreme_starts(placing):
        scenery.start(start)
        points = {
            "left end of the front edge": (0.0, half_width, half_height),
            "right end of the front edge": (0.0, -half_width, half_height),
            "5 mm behind the mouth": (0.005, 0.0, half_height),
        }
        for name, point in points.items():
            assert np.abs(scenery.to_overhead_image(point)).max() < 1.0, (name, start)
        # And the palm leaves enough of it to be seen: a disc's worth of 14 pixels across.
        image = scenery.overhead()
        scenery.model.geom_rgba[housing, 3] = 0.0
        shown = (scenery.overhead() != image).sum()
        scenery.model.geom_rgba[housing, 3] = alpha
        assert shown >= 150, start


@every_connector
def test_the_gripper_is_at_the_centre_of_the_overhead_image(connector, placed):
    """The camera rides with the gantry; the palm's image does not move with the hand's y."""
    scenery = placed[connector]
    masks = []
    for y in (-2.0, 2.0):
        scenery.start(nominal_start() | {"hand_y_mm": y})
        image = scenery.overhead()
        masks.append(np.isclose(image, image[32, 32], atol=1e-6))
    np.testing.assert_array_equal(*masks)
    rows, columns = np.nonzero(masks[0])
    assert rows.mean() == pytest.approx(31.5, abs=0.5)
    assert columns.mean() == pytest.approx(31.5, abs=0.5)


def test_the_socket_is_up_in_the_image_and_its_left_is_left(placed):
    """Row 0 is ahead of the hand, column 0 to its left: what an image's reader expects."""
    scenery = placed["usb"]
    housing = scenery.model.geom("housing").id
    for y, side in ((12.0, slice(0, 32)), (-12.0, slice(32, 64))):
        scenery.start(nominal_start() | {"socket_y_mm": y})
        image = scenery.overhead()
        scenery.model.geom_rgba[housing, 3] = 0.0
        shown = scenery.overhead() != image
        scenery.model.geom_rgba[housing, 3] = 1.0
        assert shown[:32].sum() > 2 * shown[32:].sum()
        assert shown[:, side].sum() > 0.7 * shown.sum()


@pytest.mark.slow
@pytest.mark.parametrize("connector", ("aux", "usb"))
@pytest.mark.parametrize("way", [(0, 1), (2, 1), (2, -1)], ids=["ahead", "up", "down"])
def test_walls_of_a_real_fit_give_less_than_a_third_of_it(connector, way):
    simulation = make_simulation(
        1,
        connectors=(connector,),
        modalities=("state",),
        **UNDISTURBED,
        insertion_resistance=0.0,
    )
    world = np.zeros(1, np.int64)
    simulation.reset(world, [np.random.default_rng(0)])
    for _ in range(60):
        if simulation.measures.depth[0] > 0.7 * simulation.measures.travel[0]:
            break
        simulation.step(world, simulation.expert_action())
    model = simulation.task.world_model.models[0]
    data, overlap = mujoco.MjData(model), 0.0
    axis, sign = way
    for step in range(40):
        controls = simulation.engine.state().joints["hand"].copy()
        controls[:, axis] += sign * 30.0 / HAND_STIFFNESS * min(1.0, (step + 1) / 20)
        simulation.engine.step(world, controls)
        snapshot = simulation.engine.snapshot(0)
        data.qpos[:] = snapshot.qpos
        data.mocap_pos[:], data.mocap_quat[:] = snapshot.mocap_pos, snapshot.mocap_quat
        mujoco.mj_kinematics(model, data)
        mujoco.mj_collision(model, data)
        bodies = np.sort(model.geom_bodyid[data.contact.geom], axis=-1)
        inside = (bodies == sorted((model.body("plug").id, model.body("socket").id))).all(axis=-1)
        overlap = -data.contact.dist[inside].min(initial=0.0)
    assert 0 < overlap < min(CONNECTORS[connector].fit.clearance) / 3
    simulation.close()
