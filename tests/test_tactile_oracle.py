"""The contact mask against MuJoCo's own `tactile` sensor.

The sensor reports, at the vertices of a mesh (its taxels), how deep each lies inside any geom
that is in contact with the sensor's body: the geom's signed distance at that point, negated,
and 0 outside. A plate of taxels just as deep in the undeformed gel as the mask's threshold is
therefore penetrated exactly where the gel is indented by more than the threshold.
"""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray
from worlds import cast_images, hold_plug

from vtenv.sensing.images import CONTACT_THRESHOLD_MM, gel_images
from vtenv.tasks.insertion import scene
from vtenv.tasks.insertion.config import InitialStateRanges
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES, CONNECTORS
from vtenv.tasks.insertion.grasp_bank import settle_grasps

SIDES = {"left": 1.0, "right": -1.0}
GRASPS_EACH = 8
REQUIRED = 0.95

every_connector = pytest.mark.parametrize("connector", CONNECTOR_NAMES)


@pytest.fixture(scope="module")
def grasps() -> dict[str, NDArray[np.float64]]:
    """Settled grasps of each connector over the default in-hand ranges, corners included."""
    ranges = InitialStateRanges()
    bounds = [ranges.in_hand_x_mm, ranges.in_hand_z_mm, ranges.in_hand_pitch_deg]
    low, high = np.array(bounds).T
    unit = np.random.default_rng(0).uniform(size=(GRASPS_EACH, 3))
    unit[:4] = [(0.5, 0.5, 0.5), (0, 0, 0), (1, 1, 1), (1, 0, 1)]
    in_hand = (low + (high - low) * unit) * [1e-3, 1e-3, np.pi / 180]
    return {name: settle_grasps(each, in_hand) for name, each in CONNECTORS.items()}


def add_taxels(spec: mujoco.MjSpec, resolution: int) -> None:
    """A plate of taxels, one for each pixel, at the threshold's depth in each gel."""
    depth, thickness = CONTACT_THRESHOLD_MM * 1e-3, 1e-3
    half = np.sqrt(0.5)
    for side, sign in SIDES.items():
        plate = spec.add_mesh(name=f"taxels_{side}", scale=[scene.GEL_SIZE / 2] * 2 + [thickness])
        plate.make_plate(resolution=[resolution] * 2)
        # The plate's taxels lie at z = -thickness of its frame, which is turned to look along
        # y; whether that is right is asserted on where they end up.
        spec.body(f"finger_{side}").add_geom(
            name=f"taxels_{side}",
            type=mujoco.mjtGeom.mjGEOM_MESH,
            meshname=f"taxels_{side}",
            pos=[0.0, sign * depth - thickness, 0.0],
            quat=[half, half, 0.0, 0.0],
            mass=0.0,
            contype=0,
            conaffinity=0,
            group=scene.DECOR_GROUP,
        )
        spec.add_sensor(
            name=f"taxels_{side}",
            type=mujoco.mjtSensor.mjSENS_TACTILE,
            objtype=mujoco.mjtObj.mjOBJ_MESH,
            objname=f"taxels_{side}",
            reftype=mujoco.mjtObj.mjOBJ_GEOM,
            refname=f"taxels_{side}",
        )


def tactile_model(connector: str, resolution: int) -> mujoco.MjModel:
    """The scene with taxels, where the plug touches with what the finger cameras see."""
    spec = scene.build_spec(
        scene.SceneConfig(contact_size=(resolution, resolution)), CONNECTORS[connector]
    )
    for geom in spec.body("plug").geoms:
        visible = geom.group == scene.PLUG_GROUP and geom.rgba[3] > 0
        # The sensor asks for contacts; the hull that carries the load is none of the shape.
        geom.contype = 1 if visible else 0
    add_taxels(spec, resolution)
    return spec.compile()


def hold(model: mujoco.MjModel, grasp: NDArray[np.float64]) -> mujoco.MjData:
    """The hand at its nominal place, with a settled grasp."""
    data = mujoco.MjData(model)
    hold_plug(data, grasp)
    mujoco.mj_forward(model, data)
    return data


def contact_masks(model: mujoco.MjModel, data: mujoco.MjData) -> NDArray[np.uint8]:
    """The masks under test, (2, H, W)."""
    groups, extent = (scene.PLUG_GROUP,), scene.GEL_SIZE / 2
    distance = cast_images(model, data, scene.GEL_CAMERAS, groups, extent, False)[None]
    gel, contact = np.empty_like(distance), np.empty(distance.shape, np.uint8)
    thickness, threshold = np.float32(scene.GEL_THICKNESS * 1e3), np.float32(CONTACT_THRESHOLD_MM)
    gel_images(np.zeros(1, np.int64), distance, thickness, threshold, gel, contact)
    return contact[0]


def taxels_in_camera(model: mujoco.MjModel, data: mujoco.MjData, side: str) -> NDArray[np.float64]:
    """Where a finger's taxels are in the frame of its camera, (T, 3), in [m]."""
    mesh, geom = model.mesh(f"taxels_{side}"), model.geom(f"taxels_{side}").id
    start, count = mesh.vertadr[0], mesh.vertnum[0]
    vertices = model.mesh_vert[start : start + count]
    world = data.geom_xpos[geom] + vertices @ data.geom_xmat[geom].reshape(3, 3).T
    camera = model.camera(f"gel_{side}").id
    return (world - data.cam_xpos[camera]) @ data.cam_xmat[camera].reshape(3, 3)


def penetrated(model: mujoco.MjModel, data: mujoco.MjData, side: str) -> NDArray[np.bool_]:
    """The oracle's mask of a finger, in the order of its camera's pixels."""
    right, up, back = taxels_in_camera(model, data, side).T
    resolution = round(np.sqrt(len(right)))
    depth = scene.GEL_THICKNESS - CONTACT_THRESHOLD_MM * 1e-3
    np.testing.assert_allclose(-back, depth, atol=1e-8)
    columns = (right / scene.GEL_SIZE + 0.5) * resolution - 0.5
    rows = (0.5 - up / scene.GEL_SIZE) * resolution - 0.5
    # A taxel lies at the centre of each pixel, none twice.
    for index in (rows, columns):
        np.testing.assert_allclose(index, index.round(), atol=1e-3)
    rows, columns = rows.round().astype(int), columns.round().astype(int)
    assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) == resolution**2
    mask = np.zeros((resolution, resolution), bool)
    mask[rows, columns] = data.sensor(f"taxels_{side}").data[: resolution**2] > 0
    return mask


def intersection_over_union(one: NDArray, other: NDArray) -> float:
    return float((one & other).sum() / (one | other).sum())


@every_connector
@pytest.mark.parametrize("resolution", [64, 32])
def test_contact_mask_is_where_taxels_are_penetrated(connector, resolution, grasps):
    model = tactile_model(connector, resolution)
    for grasp in grasps[connector]:
        data = hold(model, grasp)
        for mask, side in zip(contact_masks(model, data).astype(bool), SIDES, strict=True):
            oracle = penetrated(model, data, side)
            # A grip too small to see, or a gel all covered, would show nothing.
            assert 0.01 < oracle.mean() < 0.9
            assert intersection_over_union(mask, oracle) >= REQUIRED


@every_connector
def test_the_oracle_tells_a_moved_plug(connector, grasps):
    """Half a millimetre along the gel is a pixel and more, and the score must show it."""
    model = tactile_model(connector, 64)
    grasp = grasps[connector][0]
    still = contact_masks(model, hold(model, grasp)).astype(bool)
    moved = grasp.copy()
    moved[[2, 4]] += 0.0005
    oracle = penetrated(model, hold(model, moved), "left")
    assert intersection_over_union(still[0], oracle) < REQUIRED
