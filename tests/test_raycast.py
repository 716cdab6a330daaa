"""Ray-cast depth against MuJoCo's own rays, and against scenes with a known answer."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from worlds import cast_posed

from vtenv.sensing.raycast import Primitives

Geom = dict[str, object]

TYPES = {
    "plane": mujoco.mjtGeom.mjGEOM_PLANE,
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
}
SOLIDS = ("box", "capsule", "cylinder")
# Odd, so that one ray runs exactly along the camera's axis.
RESOLUTION = 25
TANGENT = 0.4  # half the image's side at unit depth, perspective
HALF_SIDE = 0.1  # half the image's side, orthographic, in [m]
# How much a solid may be grown or shrunk to explain a difference, in [m]: single precision.
SKIN = 2e-6


def make_model(
    geoms: list[Geom],
    *,
    perspective: bool,
    eye_pos: object = (0.0, 0.0, 0.0),
    eye_quat: object = (1.0, 0.0, 0.0, 0.0),
    grow: float = 0.0,
) -> mujoco.MjModel:
    """A scene of `geoms` and one camera, which carries MuJoCo's own depth sensor."""
    spec = mujoco.MjSpec()
    for geom in geoms:
        size = np.zeros(3)
        size[: len(geom["size"])] = np.asarray(geom["size"]) + grow
        spec.worldbody.add_geom(**{**geom, "type": TYPES[geom["type"]], "size": size})
    # On a body of its own: MuJoCo's rays skip the geoms of the camera's body.
    eye = spec.worldbody.add_body(name="eye", pos=eye_pos, quat=eye_quat)
    camera = eye.add_camera(name="eye", resolution=[RESOLUTION] * 2)
    camera.fovy = math.degrees(2 * math.atan(TANGENT))
    if not perspective:
        camera.proj = mujoco.mjtProjection.mjPROJ_ORTHOGRAPHIC
        camera.fovy = 2 * HALF_SIDE
    spec.add_sensor(
        type=mujoco.mjtSensor.mjSENS_RANGEFINDER,
        objtype=mujoco.mjtObj.mjOBJ_CAMERA,
        objname="eye",
        intprm=[1 << int(mujoco.mjtRayDataField.mjRAYDATA_DEPTH), 0, 0],
    )
    return spec.compile()


def forward(model: mujoco.MjModel) -> mujoco.MjData:
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return data


def cast_worlds(
    models: list[mujoco.MjModel],
    data: mujoco.MjData,
    worlds: NDArray[np.int64],
    extent: float,
    perspective: bool,
    out: NDArray[np.float32],
    variant: NDArray[np.int64] | None = None,
    camera_shift: NDArray[np.float64] | None = None,
) -> None:
    """Cast worlds that are all posed as `data`, with each camera in `out` moved by its shift."""
    n, cameras = out.shape[:2]
    shift = np.zeros((cameras, 3)) if camera_shift is None else camera_shift
    poses = [
        np.repeat(data.geom_xpos[None], n, axis=0),
        np.repeat(data.geom_xmat[None], n, axis=0),
        np.repeat((data.cam_xpos + np.concatenate([shift, shift]))[None], n, axis=0),
        np.repeat(np.repeat(data.cam_xmat, 2 * cameras, axis=0)[None], n, axis=0),
    ]
    variants = np.zeros(n, np.int64) if variant is None else variant
    cast_posed(models, (0,), worlds, variants, poses, slice(0, cameras), extent, perspective, out)


def cast(
    model: mujoco.MjModel, *, perspective: bool, extent: float | None = None
) -> NDArray[np.float32]:
    """What the function under test sees."""
    extent = extent or (TANGENT if perspective else HALF_SIDE)
    out = np.empty((2, 1, RESOLUTION, RESOLUTION), np.float32)
    cast_worlds([model], forward(model), np.zeros(1, np.int64), extent, perspective, out)
    return out[0, 0]


def image_points() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres of the pixels in [-1, 1]: right and up."""
    centres = (np.arange(RESOLUTION) + 0.5) / RESOLUTION * 2 - 1
    u, v = np.meshgrid(centres, -centres)
    return u, v


def mujoco_depth(model: mujoco.MjModel, *, perspective: bool) -> NDArray[np.float64]:
    """Planar depth by `mj_ray`.

    Not by `mj_multiRay`, which culls geoms by a bound of its own and, in MuJoCo 4.0, misses
    some corners of boxes that `mj_ray` hits.
    """
    data = forward(model)
    eye, mat = data.cam_xpos[0], data.cam_xmat[0].reshape(3, 3)
    u, v = (centres.ravel() for centres in image_points())
    zero, one = np.zeros_like(u), np.ones_like(u)
    if perspective:
        starts = np.broadcast_to(eye, (u.size, 3))
        # One unit along the camera's axis, so that distances count planar depth.
        rays = np.stack([u * TANGENT, v * TANGENT, -one], axis=-1) @ mat.T
    else:
        starts = eye + (np.stack([u, v, zero], axis=-1) * HALF_SIDE) @ mat.T
        rays = np.broadcast_to(-mat[:, 2], (u.size, 3))
    hit = np.empty(1, np.int32)
    distance = np.array(
        [
            mujoco.mj_ray(model, data, start, ray, None, True, -1, hit)
            for start, ray in zip(starts, rays, strict=True)
        ]
    )
    return np.where(distance < 0, np.inf, distance).reshape(RESOLUTION, RESOLUTION)


def assert_seen(geoms: list[Geom], *, perspective: bool, **eye: object) -> None:
    """Assert that what is seen lies between slightly smaller and slightly larger solids.

    This bounds the error at every pixel, silhouettes and grazing rays included, where a plain
    difference of depths is unbounded.
    """
    seen = cast(make_model(geoms, perspective=perspective, **eye), perspective=perspective)
    bounds = [
        mujoco_depth(
            make_model(geoms, perspective=perspective, grow=grow, **eye), perspective=perspective
        )
        for grow in (SKIN, -SKIN)
    ]
    assert (bounds[0] - SKIN <= seen).all()
    assert (seen <= bounds[1] + SKIN).all()


def random_geom(rng: np.random.Generator, *, perspective: bool) -> Geom:
    """A solid wholly in front of a camera at the origin, not always wholly in view."""
    depth = rng.uniform(0.15, 0.4)
    reach = 1.2 * (TANGENT * depth if perspective else HALF_SIDE)
    return {
        "type": str(rng.choice(SOLIDS)),
        "size": rng.uniform(0.001, 0.05, 3),
        "pos": [*rng.uniform(-reach, reach, 2), -depth],
        "quat": rng.normal(size=4),
    }


@pytest.mark.parametrize("perspective", [True, False], ids=["perspective", "orthographic"])
@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_mujoco_rays(seed: int, perspective: bool):
    rng = np.random.default_rng(seed)
    geoms = [random_geom(rng, perspective=perspective) for _ in range(1 + seed % 4)]
    assert_seen(geoms, perspective=perspective)


@pytest.mark.parametrize("perspective", [True, False], ids=["perspective", "orthographic"])
@pytest.mark.parametrize("seed", range(5))
def test_does_not_depend_on_where_the_camera_is(seed: int, perspective: bool):
    """Camera and solids moved together: positions far from zero cost no precision."""
    rng = np.random.default_rng(seed)
    quat = rng.normal(size=4)
    quat /= np.linalg.norm(quat)
    eye = rng.uniform(-1, 1, 3)
    geoms = []
    for geom in (random_geom(rng, perspective=perspective) for _ in range(3)):
        pos, turned = np.empty(3), np.empty(4)
        own = np.asarray(geom["quat"]) / np.linalg.norm(geom["quat"])
        mujoco.mju_rotVecQuat(pos, np.asarray(geom["pos"]), quat)
        mujoco.mju_mulQuat(turned, quat, own)
        geoms.append({**geom, "pos": pos + eye, "quat": turned})
    assert_seen(geoms, perspective=perspective, eye_pos=eye, eye_quat=quat)


@pytest.mark.parametrize("perspective", [True, False], ids=["perspective", "orthographic"])
@pytest.mark.parametrize("seed", range(10))
def test_plane_agrees_with_mujoco_rays(seed: int, perspective: bool):
    rng = np.random.default_rng(seed)
    # At least 5 cm above the plane and no hit farther than 2 m counted: nearer to parallel,
    # no precision of the ray's direction is enough.
    plane = {"type": "plane", "size": (0.0, 0.0, 0.1)}
    model = make_model(
        [plane],
        perspective=perspective,
        eye_pos=[0.0, 0.0, rng.uniform(0.05, 0.5)],
        eye_quat=rng.normal(size=4),
    )
    seen = cast(model, perspective=perspective)
    expected = mujoco_depth(model, perspective=perspective)
    near = expected < 2.0
    np.testing.assert_allclose(seen[near], expected[near], rtol=1e-4)
    assert (seen[~near] > 1.99).all()


@pytest.mark.parametrize("perspective", [True, False], ids=["perspective", "orthographic"])
def test_pixel_order_is_that_of_the_rangefinder(perspective: bool):
    """MuJoCo's camera sensor settles which pixel is which, and that depth is planar."""
    # No symmetry, so that no flip or transposition goes unnoticed; and no ray along a side.
    geoms = [
        {"type": "plane", "size": (0.0, 0.0, 0.1), "pos": (0.0, 0.0, -0.5)},
        {"type": "box", "size": (0.0313, 0.0117, 0.02), "pos": (0.0411, 0.0507, -0.3)},
        {"type": "box", "size": (0.0107, 0.0213, 0.02), "pos": (-0.0503, 0.0204, -0.25)},
    ]
    model = make_model(geoms, perspective=perspective)
    sensed = forward(model).sensordata.reshape(RESOLUTION, RESOLUTION)
    assert {0.23, 0.28, 0.5} <= set(sensed.round(6).ravel()), "every geom is in view"
    seen = cast(model, perspective=perspective)
    np.testing.assert_allclose(seen, np.where(sensed < 0, np.inf, sensed), atol=1e-6)


axis_aligned = st.sampled_from(
    [
        (1.0, 0.0, 0.0, 0.0),
        (math.sqrt(0.5), math.sqrt(0.5), 0.0, 0.0),
        (math.sqrt(0.5), 0.0, math.sqrt(0.5), 0.0),
        (0.5, 0.5, 0.5, 0.5),
        (0.0, 1.0, 0.0, 0.0),
    ]
)
any_quat = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: math.hypot(*q) > 0.1)
length = st.floats(1e-3, 0.05)


@settings(max_examples=60)
@given(
    kind=st.sampled_from(SOLIDS),
    size=st.tuples(length, length, length),
    # Exact numbers too: rays that run in a face, and through edges and corners.
    across=st.tuples(*[st.sampled_from([0.0, 0.01, -0.02]) | st.floats(-0.08, 0.08)] * 2),
    depth=st.floats(0.15, 0.4),
    quat=axis_aligned | any_quat,
    perspective=st.booleans(),
)
# Its side exactly along a column of parallel rays.
@example("box", (0.02, 0.01, 0.01), (-0.02, 0.0), 0.3, (1.0, 0.0, 0.0, 0.0), False)
# Rays along the axis, of which one is the axis.
@example("capsule", (0.02, 0.03, 0.01), (0.0, 0.0), 0.3, (1.0, 0.0, 0.0, 0.0), False)
@example("cylinder", (0.02, 0.03, 0.01), (0.0, 0.0), 0.3, (1.0, 0.0, 0.0, 0.0), True)
def test_degenerate_rays_agree_with_mujoco(kind, size, across, depth, quat, perspective):
    geom = {"type": kind, "size": size, "pos": (*across, -depth), "quat": quat}
    assert_seen([geom], perspective=perspective)


@pytest.mark.parametrize("angle", [0.0, 0.3, -0.5])
def test_plane_at_a_known_depth(angle: float):
    height = 0.35
    model = make_model(
        [{"type": "plane", "size": (0.0, 0.0, 0.1)}],
        perspective=True,
        eye_pos=(0.0, 0.0, height),
        eye_quat=(math.cos(angle / 2), math.sin(angle / 2), 0.0, 0.0),
    )
    _, v = image_points()
    expected = height / (math.cos(angle) - v * TANGENT * math.sin(angle))
    np.testing.assert_allclose(cast(model, perspective=True), expected, rtol=1e-6)


def test_plane_seen_orthographically_is_flat():
    model = make_model(
        [{"type": "plane", "size": (0.0, 0.0, 0.1)}], perspective=False, eye_pos=(0, 0, 0.006)
    )
    np.testing.assert_allclose(cast(model, perspective=False), 0.006, rtol=1e-6)


@pytest.mark.parametrize("perspective", [True, False], ids=["perspective", "orthographic"])
@settings(max_examples=20)
@given(
    half=st.tuples(st.floats(0.01, 0.04), st.floats(0.01, 0.04)),
    centre=st.tuples(st.floats(-0.03, 0.03), st.floats(-0.03, 0.03)),
)
def test_box_edges_are_located_to_half_a_pixel(perspective, half, centre):
    top = 0.25
    geom = {"type": "box", "size": (*half, 0.01), "pos": (*centre, -top - 0.01)}
    seen = cast(make_model([geom], perspective=perspective), perspective=perspective)
    face = np.abs(seen - top) < 1e-6
    scale = TANGENT * top if perspective else HALF_SIDE
    rows, columns = np.flatnonzero(face.any(axis=1)), np.flatnonzero(face.any(axis=0))
    assert face[np.ix_(rows, columns)].all(), "the image of the face is a rectangle"
    # The edges of the first and last covered pixels, from the image's left and top.
    edges = [columns[0], columns[-1] + 1, rows[0], rows[-1] + 1]
    pixels = RESOLUTION / 2
    true = [
        pixels * (1 + (centre[0] - half[0]) / scale),
        pixels * (1 + (centre[0] + half[0]) / scale),
        pixels * (1 - (centre[1] + half[1]) / scale),
        pixels * (1 - (centre[1] - half[1]) / scale),
    ]
    np.testing.assert_allclose(edges, true, atol=0.5 + 1e-4)


@pytest.mark.parametrize("indentation", [0.0005, 0.001, 0.003])
@pytest.mark.parametrize("radius", [0.006, 0.02])
def test_imprint_of_a_sphere(radius: float, indentation: float):
    """A capsule's round end pressed into the gel, as the camera behind the gel sees it."""
    thickness, half_side = 0.01, 0.015
    tip = thickness - indentation
    # Its axis off the middle of the image, between pixels.
    x, y = 0.0023, -0.0011
    geom = {"type": "capsule", "size": (radius, 0.02), "pos": (x, y, -tip - radius - 0.02)}
    model = make_model([geom], perspective=False)
    seen = cast(model, perspective=False, extent=half_side)
    u, v = image_points()
    distance = np.hypot(u * half_side - x, v * half_side - y)
    imprint = math.sqrt(2 * radius * indentation - indentation**2)
    inside = distance < imprint
    assert inside.any()
    np.testing.assert_array_equal(seen < thickness, inside)
    surface = tip + radius - np.sqrt(radius**2 - distance[inside] ** 2)
    np.testing.assert_allclose(seen[inside], surface, atol=1e-7)


def test_unsupported_type_is_named():
    spec = mujoco.MjSpec()
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_ELLIPSOID, size=[0.01, 0.02, 0.03], group=4)
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.01, 0.02, 0.03], group=1)
    model = spec.compile()
    with pytest.raises(ValueError, match=r"mjGEOM_ELLIPSOID.*capsule"):
        Primitives.from_models([model], (1, 4))
    # A type that rays cannot hit does no harm in a group that is not asked for.
    assert Primitives.from_models([model], (1,)).ids.tolist() == [1]


def test_variants_select_sizes_and_what_exists():
    """Three worlds, each with its variant of one layout; a fourth is not asked for."""
    models = []
    for half, alpha in ((0.021, 1.0), (0.043, 1.0), (0.043, 0.0)):
        geoms = [
            {"type": "plane", "size": (0.0, 0.0, 0.1), "pos": (0.0, 0.0, -0.5)},
            {"type": "box", "size": (half,) * 3, "pos": (0, 0, -0.3), "rgba": (1, 1, 1, alpha)},
        ]
        models.append(make_model(geoms, perspective=False))
    out = np.full((4, 1, RESOLUTION, RESOLUTION), -7.0, np.float32)
    variant = np.array([2, 0, 0, 1])
    worlds = np.array([0, 1, 3])
    cast_worlds(models, forward(models[0]), worlds, HALF_SIDE, False, out, variant)
    assert (out[2] == -7.0).all(), "a world that was not asked for is touched"
    u, v = image_points()
    for world in worlds:
        half = models[variant[world]].geom_size[1, 0] if variant[world] < 2 else 0.0
        covered = np.maximum(np.abs(u), np.abs(v)) * HALF_SIDE < half
        expected = np.where(covered, 0.3 - half, 0.5)
        np.testing.assert_allclose(out[world, 0], expected, atol=1e-6)


def test_cameras_of_a_world_are_independent():
    """Two cameras of one world; what one sees is not left over from the other."""
    geoms = [{"type": "box", "size": (0.02, 0.02, 0.02), "pos": (0.0, 0.0, -0.3)}]
    model = make_model(geoms, perspective=False)
    out = np.empty((2, 2, RESOLUTION, RESOLUTION), np.float32)
    # The second looks past the box.
    shift = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    world = np.zeros(1, np.int64)
    cast_worlds([model], forward(model), world, HALF_SIDE, False, out, camera_shift=shift)
    assert np.isfinite(out[0, 0]).any()
    assert np.isinf(out[0, 1]).all()


@pytest.mark.parametrize("perspective", [True, False], ids=["perspective", "orthographic"])
@pytest.mark.parametrize("kind", SOLIDS)
def test_a_solid_behind_the_camera_is_not_seen(kind: str, perspective: bool):
    geom = {"type": kind, "size": (0.02, 0.03, 0.02), "pos": (0.0, 0.0, 0.3)}
    seen = cast(make_model([geom], perspective=perspective), perspective=perspective)
    assert np.isinf(seen).all()


@pytest.mark.parametrize("perspective", [True, False], ids=["perspective", "orthographic"])
def test_a_plane_is_seen_from_above_only(perspective: bool):
    """As MuJoCo's rays and renderer have it."""
    plane = {"type": "plane", "size": (0.0, 0.0, 0.1)}
    below = make_model(
        [plane], perspective=perspective, eye_pos=(0, 0, -0.3), eye_quat=(0.0, 1.0, 0.0, 0.0)
    )
    assert np.isinf(mujoco_depth(below, perspective=perspective)).all()
    assert np.isinf(cast(below, perspective=perspective)).all()
