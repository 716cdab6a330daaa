"""Depth of meshes, against the primitives that they are shaped like."""

from itertools import product

import mujoco
import numpy as np
import pytest

from vtenv.sensing.meshes import Meshes, cast_meshes
from vtenv.sensing.pads import Pad, PadSensors, add_pads
from vtenv.sensing.profiles import SensorProfile
from vtenv.sensing.raycast import Primitives, cast_depth

SIDE = 33
FACE = SensorProfile((24.0, 20.0), (36, 30))
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
        pads = (Pad("pad", "-z", ("object",), FACE),)
        add_pads(spec, pads)
        model = spec.compile()
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        told[kind] = PadSensors(model, pads, ("gel", "contact")).read(data)
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


def torus(spec):
    """A ring of 8 mm about the z axis, of 4 mm."""
    mesh = spec.add_mesh(name="block", scale=[0.008, 0.008, 0.008])
    mesh.make_supertorus(32, 0.4, 1.0, 1.0)


@pytest.mark.parametrize("make", [lambda spec: box_mesh(spec, 0.008), torus], ids=["box", "ring"])
def test_both_engines_feel_a_mesh_alike(make, warp_device):
    """As it is turned, and, with the middle of the gel's back in the ring's hole, from within."""
    mjw = pytest.importorskip("mujoco_warp")
    wp = pytest.importorskip("warp")
    from vtenv.sensing.warp import WarpPadSensors

    spec = mujoco.MjSpec()
    finger = spec.worldbody.add_body(name="finger")
    finger.add_geom(name="pad", type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.01, 0.012, 0.003])
    body = spec.worldbody.add_body(name="object")
    body.add_freejoint()
    make(spec)
    body.add_geom(name="shell", type=mujoco.mjtGeom.mjGEOM_MESH, meshname="block")
    pads = (Pad("pad", "-z", ("object",), FACE),)
    add_pads(spec, pads)
    model = spec.compile()
    poses = [[0, 0, -0.006, 1, 0, 0, 0], [0.002, -0.001, -0.007, 0.8, 0.3, -0.4, 0.2]]
    poses += [[0, 0, 0.003, 1, 0, 0, 0], [0.001, 0, -0.004, 0.6, 0.1, 0.7, -0.2]]
    states = []
    for pose in poses:
        data = mujoco.MjData(model)
        data.qpos = pose
        mujoco.mj_forward(model, data)
        states.append(data)
    with wp.ScopedDevice(warp_device):
        m, d = mjw.put_model(model), mjw.put_data(model, states[0], nworld=len(states))
        for name in ("geom_xpos", "geom_xmat", "cam_xpos", "cam_xmat", "sensordata"):
            there = getattr(d, name)
            here = np.stack([getattr(state, name) for state in states])
            there.assign(here.reshape(there.numpy().shape).astype(np.float32))
        warp = WarpPadSensors(model, m, d, pads, ("gel", "contact", "shear")).read()
    cpu = PadSensors(model, pads, ("gel", "contact", "shear"))
    felt = 0
    for world, state in enumerate(states):
        cpu.reset()
        ours, theirs = cpu.read(state), {key: value[world].cpu() for key, value in warp.items()}
        felt += ours["contact"].sum()
        apart = np.abs(ours["gel"] - theirs["gel"].numpy()) > 1e-3
        assert apart.mean() < 0.01  # rays on an edge
        assert (ours["contact"] != theirs["contact"].numpy()).mean() < 0.01
        np.testing.assert_allclose(ours["shear"], theirs["shear"].numpy(), atol=0.05)
    assert felt > 400
