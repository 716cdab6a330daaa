"""Intrinsics and poses of cameras, and points from depth images, against known planes."""

import gymnasium
import numpy as np
import pytest

from vtenv.tasks.insertion import scene
from vtenv.tasks.insertion.randomization import DomainRandomizationConfig

TILTED = DomainRandomizationConfig.only(camera_tilt_deg=(3, 4), camera_shift_mm=(5, 9))


def view_and_depth(**settings):
    env = gymnasium.make("VTInsert-v0", modalities=("depth",), **settings)
    observation, _ = env.reset(seed=2)
    simulation = env.unwrapped.simulation
    (view,) = simulation.camera("overhead")
    snapshot = simulation.engine.snapshot(0)
    env.close()
    return view, observation["depth"][0], snapshot


@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
@pytest.mark.parametrize("domains", [None, TILTED], ids=["nominal", "tilted"])
def test_points_of_a_depth_image_lie_on_the_table(size, domains):
    """The table is the plane z = 0, and no point is under it."""
    view, depth, _ = view_and_depth(
        image_size=size, depth_noise_mm=0.0, domain_randomization=domains
    )
    height = view.points(depth)[..., 2]
    assert height.min() > -1e-5
    assert (np.abs(height) < 1e-5).mean() > 0.1
    assert height.max() > scene.HAND_HEIGHT


def test_points_are_seen_where_they_are():
    """A point of the camera's frame, projected with K, falls on its pixel."""
    view, depth, snapshot = view_and_depth(depth_noise_mm=0.0, domain_randomization=TILTED)
    points = view.points(depth).reshape(-1, 3)
    camera = (points - view.pose_w[:3, 3]) @ view.pose_w[:3, :3]
    projected = camera @ view.intrinsics.T
    pixels = projected[:, :2] / projected[:, 2:]
    rows, columns = np.indices(view.size)
    np.testing.assert_allclose(pixels[:, 0], columns.ravel(), atol=1e-6)
    np.testing.assert_allclose(pixels[:, 1], rows.ravel(), atol=1e-6)
    np.testing.assert_allclose(camera[:, 2], depth.ravel(), atol=1e-6)
    # The mouth of the socket is where the model says, on the pixel where K puts it.
    mouth = (snapshot.mocap_pos[0] - view.pose_w[:3, 3]) @ view.pose_w[:3, :3]
    u, v, _ = view.intrinsics @ (mouth / mouth[2])
    assert 0 <= u < view.size[1] and 0 <= v < view.size[0]


def test_what_was_not_measured_is_no_point():
    view, depth, _ = view_and_depth()
    depth[3, 5], depth[4, 6] = 0.0, np.inf
    missing = np.isnan(view.points(depth)).all(axis=-1)
    assert np.argwhere(missing).tolist() == [[3, 5], [4, 6]]
    with pytest.raises(ValueError, match=r"shape \(64, 32\); expected \(64, 64\)"):
        view.points(depth[:, :32])


def test_a_gel_is_seen_in_parallel():
    """24 mm of gel; left and right look at each other along y."""
    env = gymnasium.make("VTInsert-v0", modalities=("contact",), contact_size=(32, 32))
    env.reset(seed=0, options={"hand_yaw_deg": 0.0})
    left, right = env.unwrapped.simulation.camera("gel")
    assert not left.perspective and not right.perspective
    for view, ahead in ((left, -1.0), (right, 1.0)):
        np.testing.assert_allclose(view.pose_w[:3, 2], [0, ahead, 0], atol=1e-3)
        points = view.points(np.full(view.size, 0.002))
        steps = np.linalg.norm(np.diff(points, axis=1), axis=-1)
        np.testing.assert_allclose(steps, 0.024 / 32)
        middle = view.pose_w[:3, 3] + 0.002 * view.pose_w[:3, 2]
        np.testing.assert_allclose(points.mean(axis=(0, 1)), middle, atol=1e-9)
    with pytest.raises(ValueError, match="there is no camera 'palm'; choose one of overhead, gel"):
        env.unwrapped.simulation.camera("palm")
    env.close()
