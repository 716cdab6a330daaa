import dataclasses
import importlib.util
import math
import os
import re
import shutil
import subprocess
import sys
import textwrap
from itertools import product

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.error import DependencyNotInstalled
from worlds import task_of

from vtenv.rendering.looks import build_render_spec, outline, rounded, show_connector
from vtenv.rendering.panel import draw_panel
from vtenv.rendering.renderers import (
    IMAGE_SIZE,
    RENDER_FPS,
    RENDER_MODES,
    PictureRenderer,
    PosedScene,
    make_renderer,
)
from vtenv.tasks.insertion import scene
from vtenv.tasks.insertion.connectors import (
    BACK_GAP,
    CONNECTOR_NAMES,
    CONNECTORS,
    Style,
)
from vtenv.tasks.insertion.env import VTInsertEnv, VTInsertVectorEnv
from vtenv.tasks.insertion.primitives import ALONG_X, ALONG_Y, Primitive, bounds
from vtenv.tasks.insertion.profiles import PinRowProfile, ShellProfile

SENSES = ("depth", "contact", "gel", "proprio")


@pytest.fixture(scope="module")
def opengl():
    """Skips where pictures cannot be drawn."""
    env = VTInsertEnv(connectors="aux", render_mode="rgb_array")
    env.reset(seed=0)
    try:
        env.render()
    except DependencyNotInstalled as error:
        pytest.skip(f"no OpenGL here: {error}")
    finally:
        env.close()


@pytest.fixture
def make(request):
    """Makes environments that are closed at the end of the test."""

    def make_env(**settings):
        env = VTInsertEnv(**settings)
        request.addfinalizer(env.close)
        return env

    return make_env


def insert(env, steps):
    """Let the expert act, until it has inserted."""
    for _ in range(steps):
        simulation = env.simulation
        action = simulation.expert_action()[0]
        if env.step(action.astype(np.float32))[2]:
            return


def run(code, **environment):
    """Run Python code in a process of its own, without a display."""
    clean = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    clean.pop("MUJOCO_GL", None)
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


# --- choosing a mode ----------------------------------------------------------------------------
def test_unknown_mode_lists_those_there_are():
    assert make_renderer(None, task_of()) is None
    with pytest.raises(ValueError, match=r"'rgb'.*rgb_array, human, depth_array, or None"):
        make_renderer("rgb", task_of())
    with pytest.raises(ValueError, match="depth_array"):
        VTInsertEnv(render_mode="nonsense")


def test_frame_rate_is_the_control_rate():
    assert RENDER_FPS == 1 / (scene.TIMESTEP * scene.SUBSTEPS) == 50


@pytest.mark.parametrize("mode", RENDER_MODES)
def test_closing_twice_and_before_the_first_picture(mode):
    renderer = make_renderer(mode, task_of())
    renderer.close()
    renderer.close()


# --- pictures in third person -------------------------------------------------------------------
@pytest.mark.usefixtures("opengl")
@pytest.mark.parametrize("connector", CONNECTOR_NAMES)
def test_picture_of_each_connector(make, connector):
    env = make(connectors=connector, render_mode="rgb_array")
    env.reset(seed=1)
    picture = env.render()
    assert picture.shape == (IMAGE_SIZE[1], IMAGE_SIZE[0], 3)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous  # as OpenCV needs it
    luminance = picture.mean(axis=-1)
    assert 90 < luminance.mean() < 230
    assert luminance.std() > 30
    assert np.percentile(luminance, 1) < 60
    assert np.percentile(luminance, 99) > 200
    # The cut face of the socket: nothing else is orange.
    red, green, blue = np.moveaxis(picture.astype(int), -1, 0)
    assert ((red > 150) & (red - green > 30) & (green - blue > 30)).sum() > 1000


@pytest.mark.usefixtures("opengl")
def test_pictures_show_motion_and_nothing_else(make):
    env = make(connectors="usb", render_mode="rgb_array")
    env.reset(seed=1)
    first = env.render()
    np.testing.assert_array_equal(env.render(), first)
    insert(env, 3)
    moved = np.abs(env.render().astype(int) - first).max(axis=-1) > 40
    assert 0.005 < moved.mean() < 0.5


@pytest.mark.usefixtures("opengl")
def test_one_environment_draws_the_connector_of_its_episode(make):
    env = make(render_mode="rgb_array")
    where = {"in_hand_x_mm": 0, "in_hand_z_mm": 0, "in_hand_pitch_deg": 0}
    pictures = []
    for connector in (*CONNECTOR_NAMES, CONNECTOR_NAMES[0]):
        env.reset(seed=1, options={"connector": connector, **where})
        pictures.append(env.render().astype(int))
    for one in range(4):
        for other in range(one):
            changed = np.abs(pictures[one] - pictures[other]).max(axis=-1) > 40
            assert changed.sum() > 300
    alone = make(connectors="aux", render_mode="rgb_array")
    alone.reset(seed=1, options=where)
    np.testing.assert_array_equal(pictures[0], alone.render())


@pytest.mark.usefixtures("opengl")
def test_drawing_leaves_the_world_alone(make):
    watched, alone = make(render_mode="rgb_array"), make()
    watched.reset(seed=5)
    alone.reset(seed=5)
    for _ in range(5):
        watched.render()
        insert(watched, 1)
        insert(alone, 1)
    watched_seen, alone_seen = (e.simulation.last_observation for e in (watched, alone))
    for name, value in alone_seen.items():
        np.testing.assert_array_equal(watched_seen[name], value)


@pytest.mark.parametrize(
    "settings",
    [
        {"render_mode": "rgb_array"},
        {"render_mode": "rgb_array", "picture": "sensors"},
        {"render_mode": "depth_array"},
    ],
    ids=["scene", "sensors", "depth"],
)
def test_every_world_of_a_vector_is_drawn(settings, make, request):
    if settings == {"render_mode": "rgb_array"}:
        request.getfixturevalue("opengl")
    envs = VTInsertVectorEnv(num_envs=3, **settings)
    envs.reset(seed=0)
    pictures = envs.render()
    envs.close()
    assert len(pictures) == 3
    single = make(**settings)
    single.reset(seed=2)
    np.testing.assert_array_equal(pictures[2], single.render())


@pytest.mark.usefixtures("opengl")
def test_pictures_of_the_scene_have_the_size_asked_for(make):
    env = make(connectors="stud", render_mode="rgb_array", width=np.int64(120), height=90)
    env.reset(seed=0)
    assert env.render().shape == (90, 120, 3)
    renderer = PictureRenderer(env.simulation.task, size=(320, 200))
    for _ in range(2):
        assert renderer.render(env.simulation, 0).shape == (200, 320, 3)
        renderer.close()


@pytest.mark.usefixtures("opengl")
def test_forgetting_to_close_does_no_harm():
    done = run(
        """
        from vtenv.tasks.insertion.env import VTInsertEnv
        kept, dropped = (VTInsertEnv(render_mode="rgb_array") for _ in range(2))
        for env in (kept, dropped):
            env.reset(seed=0)
            env.render()
        del env, dropped
        kept.render()
        """
    )
    assert (done.returncode, done.stderr) == (0, "")


PICTURE = """
    import sys
    from vtenv.tasks.insertion.env import VTInsertEnv
    env = VTInsertEnv(render_mode="rgb_array")
    env.reset(seed=0)
    before = {"torch", "triton"} & sys.modules.keys()
    picture = env.render()
    assert {"torch", "triton"} & sys.modules.keys() == before
"""
TRITON = """
    import triton.compiler
"""
LEARNING = """
    import warnings
    warnings.simplefilter("ignore")  # those of other packages' imports
    import stable_baselines3, timm
    from representation import EncodeObservation
    import policies.learners.training
"""
SAME_PICTURE = """
    assert (env.render() == picture).all()
    env.close()
"""


@pytest.mark.usefixtures("opengl")
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.parametrize(
    "parts", [(PICTURE, TRITON), (TRITON, PICTURE)], ids=["Triton after", "Triton before"]
)
def test_triton_and_pictures_in_either_order(parts):
    done = run("".join(parts) + SAME_PICTURE)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("opengl")
def test_what_learns_can_be_imported_after_a_picture():
    done = run(PICTURE + LEARNING + SAME_PICTURE)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("opengl")
def test_pictures_without_pytorch_and_triton():
    absent = """
    import sys
    sys.modules["torch"] = sys.modules["triton"] = None
    """
    done = run(absent + PICTURE + SAME_PICTURE)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("opengl")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_draws_before_the_first_picture_and_says_what_to_do_after_it():
    done = run(
        """
        import multiprocessing, warnings
        from vtenv.tasks.insertion.env import VTInsertEnv
        warnings.simplefilter("ignore")  # newer versions of Python warn of the fork itself

        def make():
            env = VTInsertEnv(render_mode="rgb_array")
            env.reset(seed=0)
            return env

        def draw(make, seen):
            env = make()
            try:
                seen.put(env.render().shape)
            except RuntimeError as error:
                seen.put(error)
            env.close()

        def in_a_fork(make):
            context = multiprocessing.get_context("fork")
            seen = context.SimpleQueue()
            worker = context.Process(target=draw, args=(make, seen), daemon=True)
            worker.start()
            worker.join(30)
            print(worker.exitcode, "nothing" if seen.empty() else seen.get())

        in_a_fork(make)
        env = make()
        env.render()
        in_a_fork(make)
        in_a_fork(lambda: env)
        print(env.render().shape)
        """
    )
    assert done.returncode == 0, done.stderr
    before, after, inherited, parent = done.stdout.splitlines()
    assert before == "0 (480, 640, 3)"
    assert after.startswith("0 OpenGL cannot draw in this process")
    assert 'AsyncVectorEnv(..., context="spawn")' in after
    assert inherited == after
    assert parent == "(480, 640, 3)"


# --- without OpenGL -----------------------------------------------------------------------------
NO_EGL_LIBRARY = """
    import ctypes
    load = ctypes.CDLL.__init__
    def refuse(self, name, *args, **kwargs):
        if name and "EGL" in str(name):
            raise OSError(f"{name}: cannot open shared object file")
        load(self, name, *args, **kwargs)
    ctypes.CDLL.__init__ = refuse
"""
DRAW = """
    from gymnasium.error import DependencyNotInstalled
    from vtenv.tasks.insertion.env import VTInsertEnv
    env = VTInsertEnv(render_mode="rgb_array")
    env.reset(seed=0)
    try:
        env.render()
    except DependencyNotInstalled as error:
        print(error)
    env.close()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="EGL is for Linux")
@pytest.mark.parametrize(
    "before, environment",
    [
        (NO_EGL_LIBRARY, {}),
        ("", {"__EGL_VENDOR_LIBRARY_FILENAMES": "/dev/null"}),
    ],
    ids=["no libEGL", "no driver"],
)
def test_missing_opengl_names_packages_and_what_works(before, environment):
    done = run(before + DRAW, **environment)
    assert done.returncode == 0, done.stderr
    assert "apt-get install libegl1 libopengl0 libgl1-mesa-dri" in done.stdout
    assert '"sensors"' in done.stdout
    assert '"depth_array"' in done.stdout


def test_opengl_turned_off_is_said_so():
    done = run(DRAW, MUJOCO_GL="off")
    assert "turned off by MUJOCO_GL=off" in done.stdout, done.stderr


def test_sensors_and_depth_load_no_opengl():
    done = run(
        """
        import sys
        from vtenv.tasks.insertion.env import VTInsertEnv
        for mode, picture in (
            ("rgb_array", "sensors"),
            ("rgb_array", "depth"),
            ("depth_array", "scene"),
            ("rgb_array", "scene"),
            ("human", "scene"),
        ):
            env = VTInsertEnv(render_mode=mode, picture=picture)
            if mode == "depth_array" or picture != "scene":
                env.reset(seed=0)
                env.render()
            env.close()
        print(sorted(m for m in sys.modules if m.split(".")[0] == "OpenGL"))
        """,
        MUJOCO_GL="off",
    )
    assert done.stdout.strip() == "[]", done.stderr


# --- window -------------------------------------------------------------------------------------
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="displays are Linux's")
@pytest.mark.parametrize("display", [{}, {"DISPLAY": ":4321"}], ids=["none", "dead"])
def test_window_without_a_display_says_what_to_do(display):
    done = run(
        """
        from gymnasium.error import DependencyNotInstalled
        from vtenv.tasks.insertion.env import VTInsertEnv
        env = VTInsertEnv(render_mode="human")
        try:
            env.reset(seed=0)
        except DependencyNotInstalled as error:
            print(error)
        env.close()
        """,
        **display,
    )
    assert "xvfb-run" in done.stdout, done.stderr
    assert '"rgb_array"' in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("xvfb-run"), reason="needs xvfb-run (apt-get install xvfb)")
@pytest.mark.parametrize("close", [True, False], ids=["closed", "forgotten"])
def test_window_shows_every_connector_in_real_time(close):
    code = textwrap.dedent(
        f"""
        import time
        import numpy as np
        from vtenv.tasks.insertion.env import VTInsertEnv
        env = VTInsertEnv(render_mode="human")
        env.reset(seed=0)
        for connector in ("aux", "pin", "usb", "stud"):
            env.reset(options={{"connector": connector}})
            start = time.monotonic()
            for _ in range(10):
                env.step(np.zeros(5, np.float32))
            assert time.monotonic() - start > 0.17
        assert env.render() is None
        if {close}:
            env.close()
            env.close()
            assert env.render() is None
        print("done")
        """
    )
    environment = {k: v for k, v in os.environ.items() if k != "MUJOCO_GL"}
    done = subprocess.run(
        ["xvfb-run", "-a", sys.executable, "-W", "error", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr


# --- depth --------------------------------------------------------------------------------------
@pytest.mark.parametrize("connector", CONNECTOR_NAMES)
def test_depth_is_the_noiseless_observation(make, connector):
    env = make(
        connectors=connector, modalities=("depth",), depth_noise_mm=0.0, render_mode="depth_array"
    )
    observation, _ = env.reset(seed=3)
    depth = env.render()
    assert depth.shape == (64, 64)
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(depth, observation["depth"][0])
    assert depth.max() == pytest.approx(scene.CAMERA_HEIGHT + scene.HAND_HEIGHT, abs=0.005)
    assert depth.min() < scene.CAMERA_HEIGHT


def test_depth_does_not_depend_on_noise_modalities_or_drawing(make):
    pictures = []
    for settings in (
        {"modalities": ("depth", "contact"), "depth_noise_mm": 20.0, "depth_dropout": 0.5},
        {"modalities": ("depth", "state"), "depth_noise_mm": 0.0},
        {"modalities": ("contact",), "contact_size": 16},
    ):
        env = make(connectors="usb", render_mode="depth_array", **settings)
        env.reset(seed=3)
        first = env.render()
        np.testing.assert_array_equal(env.render(), first)
        pictures.append(first)
    np.testing.assert_array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(pictures[0], pictures[2])


# --- sensors ------------------------------------------------------------------------------------
@pytest.mark.parametrize("connector", CONNECTOR_NAMES)
def test_panel_shows_the_last_observation_and_info(make, connector):
    env = make(connectors=connector, modalities=SENSES, render_mode="rgb_array", picture="sensors")
    observation, info = env.reset(seed=4)
    first = env.render()
    assert first.shape == (IMAGE_SIZE[1], IMAGE_SIZE[0], 3)
    assert first.dtype == np.uint8
    assert first.std() > 30
    task = env.simulation.task
    drawn = draw_panel(observation, info, task.config.modalities, task.panel(info))
    np.testing.assert_array_equal(first, drawn)
    np.testing.assert_array_equal(env.render(), first)
    insert(env, 2)
    assert (env.render() != first).any()


def test_panels_are_the_same_in_every_process():
    code = """
        import hashlib
        from vtenv.tasks.insertion.env import VTInsertEnv
        env = VTInsertEnv(render_mode="rgb_array", picture="sensors")
        env.reset(seed=7)
        print(hashlib.sha256(env.render().tobytes()).hexdigest())
        env.close()
    """
    one, other = run(code), run(code)
    assert re.fullmatch(r"[0-9a-f]{64}\n", one.stdout), one.stderr
    assert one.stdout == other.stdout


@pytest.mark.parametrize("picture", ["sensors", "depth"])
def test_pictures_without_opengl_can_be_filmed(picture, tmp_path):
    from gymnasium.wrappers import RecordVideo
    from stable_baselines3.common.vec_env import DummyVecEnv, VecVideoRecorder

    def film():
        return gymnasium.make("VTInsert-v0", render_mode="rgb_array", picture=picture)

    env = RecordVideo(film(), str(tmp_path / "gymnasium"), disable_logger=True)
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.zeros(5, np.float32))
    frame = env.render()
    assert frame.dtype == np.uint8 and frame.shape[2] == 3 and frame.std() > 10
    env.close()
    recorder = VecVideoRecorder(
        DummyVecEnv([film]), str(tmp_path / "sb3"), lambda step: step == 0, 2
    )
    recorder.reset()
    for _ in range(3):
        recorder.step(np.zeros((1, 5)))
    recorder.close()
    for folder in ("gymnasium", "sb3"):
        assert len(list((tmp_path / folder).glob("*.mp4"))) == 1


@pytest.mark.parametrize("settings", [{"picture": "sensors"}, {"render_mode": "depth_array"}])
def test_other_pictures_have_no_other_size(settings):
    with pytest.raises(ValueError, match="width and height go with pictures of the scene"):
        VTInsertEnv(**{"render_mode": "rgb_array", "width": 64} | settings)
    with pytest.raises(ValueError, match="width=0 is not allowed"):
        VTInsertEnv(width=0)


def test_pictures_of_other_modes_are_refused():
    with pytest.raises(ValueError, match="picture='gel' is not allowed; picture must be one of"):
        VTInsertEnv(render_mode="rgb_array", picture="gel")
    with pytest.raises(ValueError, match=r'goes with render_mode="rgb_array", not .human.'):
        VTInsertEnv(render_mode="human", picture="sensors")


# --- the render model ---------------------------------------------------------------------------
@pytest.mark.parametrize("connector", CONNECTOR_NAMES)
def test_render_model_has_the_physics_models_state(make, connector):
    env = make(connectors=connector)
    env.reset(seed=2)
    insert(env, 3)
    posed = PosedScene(env.simulation.task)
    physics = scene.build_spec(scene.SceneConfig(), CONNECTORS[connector]).compile()
    assert (posed.model.nq, posed.model.nv, posed.model.nmocap) == (physics.nq, physics.nv, 1)
    names = [physics.joint(index).name for index in range(physics.njnt)]
    assert [posed.model.joint(index).name for index in range(posed.model.njnt)] == names
    np.testing.assert_array_equal(posed.model.jnt_qposadr, physics.jnt_qposadr)
    posed.pose(env.simulation.engine.snapshot(0))
    state = env.simulation.state
    for body in ("hand", "plug", "socket"):
        at = posed.data.body(body)
        np.testing.assert_allclose(at.xpos, getattr(state, f"{body}_pos_w")[0], atol=1e-12)
        mat = getattr(state, f"{body}_mat_w")[0]
        np.testing.assert_allclose(at.xmat.reshape(3, 3), mat, atol=1e-12)


@pytest.mark.parametrize("connector", CONNECTOR_NAMES)
def test_one_connector_is_seen_at_a_time(connector):
    model = build_render_spec(scene.SceneConfig(), tuple(CONNECTORS.values())).compile()
    show_connector(model, connector)
    seen = {
        model.geom(index).name.partition("/")[0]
        for index in range(model.ngeom)
        if model.geom_group[index] == scene.DECOR_GROUP
    }
    assert seen == {"floor", "", connector}


def test_hand_plug_and_socket_fill_the_frame(make):
    """Every initial state, and insertion, is within the picture; and not lost in it."""
    env = make()
    posed = PosedScene(env.simulation.task)
    visuals = mujoco.MjvScene(posed.model, maxgeom=500)
    camera = mujoco.MjvCamera()
    half_x, half_y, half_z = scene._PALM_HALF_SIZE
    low = scene._PALM_HEIGHT - half_z
    hand = np.array([[x, y, low] for x in (-half_x, half_x) for y in (-half_y, half_y)])
    size = np.array(scene.HOUSING_HALF_SIZE)
    socket = np.array(list(product((0, 2), (-1, 1), (-1, 1)))) * size
    for seed in range(20):
        env.reset(seed=seed)
        insert(env, 25 if seed % 2 else 0)
        posed.pose(env.simulation.engine.snapshot(0))
        posed.frame(camera)
        mujoco.mjv_updateScene(
            posed.model, posed.data, mujoco.MjvOption(), None, camera,
            mujoco.mjtCatBit.mjCAT_ALL, visuals,
        )  # fmt: skip
        eye = visuals.camera[0]  # of two, between which the picture is drawn
        centre = (visuals.camera[0].pos + visuals.camera[1].pos) / 2
        travel = CONNECTORS[CONNECTOR_NAMES[env.simulation.state.connector[0]]].travel
        seen = []
        for body, points in (
            ("hand", hand),
            ("socket", socket),
            ("plug", [[0, 0, 0], [travel, 0, 0]]),
        ):
            at = posed.data.body(body)
            seen.append(np.asarray(points) @ at.xmat.reshape(3, 3).T + at.xpos)
        points = np.concatenate(seen) - centre
        ahead = points @ eye.forward
        right = points @ np.cross(eye.forward, eye.up) / ahead * eye.frustum_near
        up = points @ eye.up / ahead * eye.frustum_near
        half_width = eye.frustum_top * IMAGE_SIZE[0] / IMAGE_SIZE[1]
        assert (np.abs(right) < half_width).all()
        assert (np.abs(up) < eye.frustum_top).all()
        assert np.ptp(right) > half_width


@pytest.mark.parametrize("clearance_mm", [0.1, 0.4, 2.0])
@pytest.mark.parametrize("connector", CONNECTORS.values(), ids=CONNECTORS)
def test_drawn_holes_are_the_colliding_holes(connector, clearance_mm):
    model = scene.build_spec(scene.SceneConfig(clearance_mm), connector).compile()
    data = mujoco.MjData(model)
    data.mocap_pos[0], data.mocap_quat[0] = [0, 0, 0], [1, 0, 0, 0]
    data.qpos[scene.PLUG_POS] = [1.0, 0.0, 0.0]  # out of the way
    mujoco.mj_forward(model, data)
    walls = np.zeros(6, np.uint8)
    walls[scene.COLLIDER_GROUP] = 1

    def free(start, direction):
        found = np.zeros(1, np.int32)
        return mujoco.mj_ray(model, data, np.array(start), np.array(direction), walls, 1, -1, found)

    x, z = 0.7 * connector.travel, 0.0
    if isinstance(connector.profile, PinRowProfile):
        z = connector.profile.rows[-1]  # dividers are between the pins
    directions = np.array([[0, 1.0, 0], [0, -1.0, 0], [0, 0, -1.0], [1.0, 0, 0]])
    left, right, down, ahead = (free([x, 0, -z], direction) for direction in directions)
    turns = np.array([0.0, math.pi, -math.pi / 2])
    drawn = outline(connector.insert(), turns, clearance_mm * 1e-3)
    if isinstance(connector.profile, ShellProfile):  # a quarter of a millimetre that is not drawn
        left, right = left - connector.profile.slack_y, right - connector.profile.slack_y
        down -= connector.profile.slack_z
    np.testing.assert_allclose(drawn, [left, right, down + z], atol=1e-9)
    assert ahead == pytest.approx(connector.travel + BACK_GAP - x, abs=1e-9)

    looks = dressed(connector, scene.SceneConfig(clearance_mm))
    points = looks("socket", "bore")
    assert points[:, 0].max() == pytest.approx(connector.travel + BACK_GAP, abs=1e-8)
    behind = points[points[:, 0] > 0.002]
    assert behind[:, 1].max() == pytest.approx(left, abs=1e-8)
    assert behind[:, 2].max() == pytest.approx(down + z, abs=1e-8)


def dressed(connector, config):
    """The vertices that are seen of a body's parts of one material, in the body's frame."""
    model = build_render_spec(config, [connector]).compile()

    def looks(body, *materials):
        points = []
        for index in range(model.ngeom):
            geom = model.geom(index)
            here = geom.bodyid[0] == model.body(body).id and geom.dataid[0] >= 0
            if here and model.mat(geom.matid[0]).name in materials:
                mesh = model.mesh(geom.dataid[0])
                first, mat = mesh.vertadr[0], np.empty(9)
                mujoco.mju_quat2Mat(mat, geom.quat)
                vertices = model.mesh_vert[first : first + mesh.vertnum[0]]
                points.append(vertices @ mat.reshape(3, 3).T + geom.pos)
        return np.concatenate(points)

    return looks


@pytest.mark.parametrize("scale", [1.0, 0.8])
@pytest.mark.parametrize("connector", CONNECTORS.values(), ids=CONNECTORS)
def test_drawn_plugs_have_the_size_of_the_colliding_plugs(connector, scale):
    plain = dataclasses.replace(connector, style=Style(body="gold", insert="steel", cable=0.0))
    looks = dressed(plain, scene.SceneConfig(connector_scale=scale))
    for material, primitives in (("steel", plain.insert(scale)), ("gold", plain.body)):
        points = looks("plug", material)
        low, high = bounds(primitives)
        np.testing.assert_allclose(points.max(axis=0), high, atol=1e-5)
        np.testing.assert_allclose(points.min(axis=0), low, atol=1e-5)


@pytest.mark.parametrize(
    "primitive",
    [
        Primitive("box", (0.001, 0.002, 0.003), (0.1, 0.0, 0.0)),
        Primitive("capsule", (0.001, 0.002), (0.0, 0.1, 0.0), ALONG_X),
        Primitive("cylinder", (0.002, 0.001), (0.0, 0.0, 0.1), ALONG_Y),
    ],
    ids=["box", "capsule", "cylinder"],
)
def test_rounded_primitives_reach_as_far_and_lose_their_corners(primitive):
    points = rounded(primitive, 0.0005)
    directions = np.concatenate([np.eye(3), -np.eye(3), [np.full(3, 3**-0.5)]])
    reach = (points @ directions.T).max(axis=0)
    sharp = primitive.support(directions)
    np.testing.assert_allclose(reach[:6], sharp[:6], atol=2e-5)
    assert (reach <= sharp + 1e-9).all()
    if primitive.kind == "box":
        assert reach[6] < sharp[6] - 0.0002
