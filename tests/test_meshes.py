"""Depth of meshes, against the primitives that they are shaped like."""

from itertools import product

import mujoco
import numpy as np
import pytest

from vtenv.sensing.meshes import Meshes, cast_meshes
from vtenv.sensing.pads import Pad, PadSensors, add_pads
from vtenv.sensing.raycast import Primitives, cast_depth

SIDE = 33
HALF = np.array([0.02, 0.03, 0.012])
CORNERS = np.array(list(product((-1, 1), repeat=3)))
FACES = np.array(
    [
        [face[i] for i in triangle]
        for face in (
            [0, 1, 3, 2],
            [4, 6, 7, 5],
            [0, 4, 5, 1],
            [2, 3, 7, 6],
            [0, 2, 6, 4],
            [1, 5, 7, 3],
        )
        for triangle in ((0, 1, 2), (0, 2, 3))
    ]
)


def box_mesh(spec, half, faces=FACES):
    spec.add_mesh(name="block", uservert=(CORNERS * half).ravel(), userface=faces.ravel())


def depth_of(shape, quat, perspective, height=0.3, faces=FACES):
    """A box 0.3 m below a camera that looks down, as a primitive or a mesh, (H, W)."""
    spec = mujoco.MjSpec()
    if shape == mujoco.mjtGeom.mjGEOM_MESH:
        box_mesh(spec, HALF, faces)
        spec.worldbody.add_geom(type=shape, meshname="block", quat=quat)
    else:
        spec.worldbody.add_geom(type=shape, size=HALF, quat=quat)
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    out = np.full((1, 1, SIDE, SIDE), np.inf, np.float32)
    eye, upright = np.array([[[0.001, -0.002, height]]]), np.eye(3).reshape(1, 1, 9)
    extent = 0.2 if perspective else 0.05
    view = data.geom_xpos[None], data.geom_xmat[None], eye, upright, extent, extent, perspective
    world, seen = np.zeros(1, np.int64), Primitives.from_models([model], (0,))
    cast_depth(world, world, seen.ids, seen.types, seen.sizes, seen.used, *view, out)
    seen = Meshes.from_models([model], (0,))
    cast_meshes(world, world, seen.ids, seen.used, seen.spans, seen.triangles, *view, out)
    return out[0, 0]


@pytest.mark.parametrize("perspective", [True, False])
@pytest.mark.parametrize("quat", [[1, 0, 0, 0], [0.8, 0.3, -0.4, 0.2], [0.1, 0.7, 0.2, -0.6]])
def test_a_box_is_seen_alike_as_a_mesh(quat, perspective):
    box, mesh = (
        depth_of(shape, quat, perspective)
        for shape in (mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_MESH)
    )
    both = np.isfinite(box) & np.isfinite(mesh)
    assert both.sum() > 50 and (np.isfinite(box) != np.isfinite(mesh)).sum() <= 2  # rays on an edge
    np.testing.assert_allclose(mesh[both], box[both], atol=1e-6)


def test_a_mesh_around_the_camera_is_not_seen():
    seen = depth_of(mujoco.mjtGeom.mjGEOM_MESH, [1, 0, 0, 0], False, height=0.0)
    assert np.isinf(seen).all()


@pytest.mark.parametrize("shape", ["sphere", "box"])
def test_gels_feel_a_mesh_like_the_primitive(shape):
    """A finger presses on a ball or a block by half a millimetre."""
    told = {}
    for kind in ("primitive", "mesh"):
        spec = mujoco.MjSpec()
        finger = spec.worldbody.add_body(name="finger", pos=[0, 0, 0.0105])
        finger.add_geom(name="pad", type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.01, 0.012, 0.003])
        body = spec.worldbody.add_body(name="object")
        body.add_freejoint()
        if kind == "primitive":
            body.add_geom(type=getattr(mujoco.mjtGeom, f"mjGEOM_{shape.upper()}"), size=[0.008] * 3)
        else:
            if shape == "box":
                box_mesh(spec, 0.008)
            else:
                ball = spec.add_mesh(name="block", scale=[0.008] * 3)
                ball.make_sphere(4)
            body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="block")
        pads = (Pad("pad", "-z", ("object",)),)
        add_pads(spec, pads)
        model = spec.compile()
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        told[kind] = PadSensors(model, pads, ("gel", "contact"), rows=32).read(data)
    assert told["primitive"]["gel"].max() == pytest.approx(0.5, abs=0.02)
    np.testing.assert_allclose(told["mesh"]["gel"], told["primitive"]["gel"], atol=0.02)
    assert (told["mesh"]["contact"] != told["primitive"]["contact"]).mean() < 0.01


@pytest.mark.parametrize(
    "faces", [FACES[1:], np.concatenate([FACES[:1, ::-1], FACES[1:]])], ids=["open", "turned"]
)
def test_a_mesh_that_is_not_watertight_is_refused(faces):
    spec = mujoco.MjSpec()
    spec.add_mesh(
        name="block",
        uservert=(CORNERS * HALF).ravel(),
        userface=faces.ravel(),
        inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX,
    )
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="block")
    with pytest.raises(ValueError, match=r"'block' is not watertight: .*close it.*groups"):
        Meshes.from_models([spec.compile()], (0,))


def test_the_gpu_engine_says_that_it_sees_no_meshes():
    mjw = pytest.importorskip("mujoco_warp")
    wp = pytest.importorskip("warp")
    from vtenv.sensing.warp import WarpPadSensors

    spec = mujoco.MjSpec()
    box_mesh(spec, HALF)
    spec.worldbody.add_geom(name="pad", type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.01, 0.012, 0.003])
    body = spec.worldbody.add_body(name="object", pos=[0, 0, 1])
    body.add_freejoint()
    body.add_geom(name="shell", type=mujoco.mjtGeom.mjGEOM_MESH, meshname="block")
    pads = (Pad("pad", "+z", ("object",)),)
    add_pads(spec, pads)
    model = spec.compile()
    with wp.ScopedDevice("cpu"):
        m, d = mjw.put_model(model), mjw.put_data(model, mujoco.MjData(model))
        with pytest.raises(ValueError, match=r"see no meshes, such as geom 'shell'; .*on the CPU"):
            WarpPadSensors(model, m, d, pads, ("gel",))
