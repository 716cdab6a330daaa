from __future__ import annotations

import doctest
import pickle
import warnings
from functools import partial
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import FlattenObservation, FrameStackObservation, TransformObservation

import representation.wrappers.encode
import vtenv
from representation import (
    EncodeObservation,
    EncoderConfig,
    VectorEncodeObservation,
    VisuotactileEncoder,
)
from vtenv.modalities import IMAGE_MODALITIES

TINY = EncoderConfig(
    backbone="test_resnet", images={"depth": (1, 32, 32), "contact": (2, 32, 32)}, embedding_dim=8
)
SIZES = {"image_size": 32, "contact_size": 32}
IMAGES = ("depth", "contact")


def make_encoder(**changes) -> VisuotactileEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VisuotactileEncoder(EncoderConfig(**{**vars(TINY), **changes}))


def make_env(**settings):
    settings = {**SIZES, **settings}
    return gymnasium.make(
        vtenv.ENV_ID, **{name: value for name, value in settings.items() if value is not None}
    )


def make_envs(count=3, **settings):
    return gymnasium.make_vec(
        vtenv.ENV_ID,
        num_envs=count,
        vectorization_mode="vector_entry_point",
        num_threads=1,
        **SIZES,
        **settings,
    )


def encoded_by_hand(encoder, observation):
    """Embeddings of a batch of observations, by the encoder itself."""
    encoder.eval()
    with torch.inference_mode():
        return encoder({key: torch.as_tensor(observation[key]) for key in IMAGES}).numpy()


@pytest.fixture(scope="module")
def encoder():
    return make_encoder()


def test_doctests():
    assert doctest.testmod(representation.wrappers.encode).failed == 0


@pytest.mark.parametrize("flat", [False, True])
def test_gymnasium_finds_nothing_to_complain_of(encoder, flat):
    with warnings.catch_warnings():
        # That there is a wrapper, and that an embedding has no bounds.
        warnings.filterwarnings("ignore", message=".*(unwrapped|infinity).*")
        check_env(EncodeObservation(make_env(), encoder, flat=flat), skip_render_check=True)


def test_an_embedding_in_place_of_the_images(encoder):
    plain, env = make_env(), EncodeObservation(make_env(), encoder)
    assert env.observation_space["embedding"] == spaces.Box(-np.inf, np.inf, (16,), np.float32)
    assert env.observation_space["proprio"] == plain.observation_space["proprio"]
    raw, found = plain.reset(seed=1)[0], env.reset(seed=1)[0]
    for _ in range(3):
        assert found in env.observation_space
        assert set(found) == {"embedding", "proprio"}
        expected = encoded_by_hand(encoder, {key: raw[key][None] for key in IMAGES})[0]
        np.testing.assert_allclose(found["embedding"], expected, atol=1e-5)
        np.testing.assert_array_equal(found["proprio"], raw["proprio"])
        raw, found = (e.step(np.full(5, 0.3, np.float32))[0] for e in (plain, env))


def test_what_is_kept_and_in_which_order(encoder):
    env = make_env(modalities=("depth", "contact", "proprio", "state"))
    both = EncodeObservation(env, encoder, keep=("state", "proprio"), flat=True)
    beside = EncodeObservation(env, encoder, keep=("state", "proprio"))
    alone = EncodeObservation(env, encoder, keep=())
    flat, named = both.reset(seed=0)[0], beside.reset(seed=0)[0]
    expected = np.concatenate([named[key] for key in ("embedding", "state", "proprio")])
    np.testing.assert_array_equal(flat, expected)
    assert flat.dtype == np.float32 and flat in both.observation_space
    state = env.observation_space["state"]
    np.testing.assert_array_equal(both.observation_space.high[16:47], state.high)
    assert set(alone.reset(seed=0)[0]) == {"embedding"}


@pytest.mark.parametrize("flat", [False, True])
def test_frames_are_stacked_before_or_after(encoder, flat):
    before = EncodeObservation(FrameStackObservation(make_env(), 3), encoder, flat=flat)
    after = FrameStackObservation(EncodeObservation(make_env(), encoder, flat=flat), 3)
    found = [before.reset(seed=2)[0], after.reset(seed=2)[0]]
    for _ in range(4):
        for env, observation in zip((before, after), found, strict=True):
            assert observation in env.observation_space
        if flat:
            assert found[0].shape == (3 * (16 + 12),)
            together = np.concatenate([found[1][:, :16].ravel(), found[1][:, 16:].ravel()])
            np.testing.assert_allclose(found[0], together, atol=1e-5)
        else:
            assert found[0]["embedding"].shape == (3, 16)
            for key, value in found[0].items():
                np.testing.assert_allclose(value, found[1][key], atol=1e-5)
        found = [env.step(np.full(5, 0.5, np.float32))[0] for env in (before, after)]


def test_frames_in_a_vector(encoder):
    stacked = SyncVectorEnv([lambda: FrameStackObservation(make_env(), 2)] * 2)
    envs = VectorEncodeObservation(stacked, encoder)
    observation, _ = envs.reset(seed=0)
    assert observation["embedding"].shape == (2, 2, 16)
    assert observation in envs.observation_space
    envs.close()


def test_a_vector_encodes_as_single_environments_do(encoder):
    envs = VectorEncodeObservation(make_envs(), encoder, num_threads=2)
    singles = [EncodeObservation(make_env(), encoder) for _ in range(3)]
    assert envs.single_observation_space == singles[0].observation_space
    found = envs.reset(seed=5)[0]
    expected = [env.reset(seed=5 + i)[0] for i, env in enumerate(singles)]
    for _ in range(3):
        assert found in envs.observation_space
        for key, value in found.items():
            np.testing.assert_allclose(value, np.stack([e[key] for e in expected]), atol=1e-5)
        found = envs.step(np.full((3, 5), 0.4, np.float32))[0]
        expected = [env.step(np.full(5, 0.4, np.float32))[0] for env in singles]
    envs.close()


@pytest.mark.parametrize("flat", [False, True])
def test_last_observations_are_encoded(encoder, flat):
    settings = {"autoreset_mode": AutoresetMode.SAME_STEP, "max_episode_steps": 2}
    raw = make_envs(**settings)
    envs = VectorEncodeObservation(make_envs(**settings), encoder, flat=flat)
    actions = np.full((3, 5), 0.2, np.float32)
    for each in (raw, envs):
        each.reset(seed=0)
    assert "final_obs" not in envs.step(actions)[-1]
    raw.step(actions)
    expected, found = raw.step(actions)[-1], envs.step(actions)[-1]
    assert found["_final_obs"].all()
    for world in range(3):
        last = expected["final_obs"][world]
        embedding = encoded_by_hand(encoder, {key: last[key][None] for key in IMAGES})[0]
        here = found["final_obs"][world]
        assert here in envs.single_observation_space
        np.testing.assert_allclose(here[:16] if flat else here["embedding"], embedding, atol=1e-5)
    for each in (raw, envs):
        each.close()


class TensorWorlds(VectorEnv):
    """Observations that are tensors, and last ones a dictionary of tensors with a mask."""

    def __init__(self, count=4, device="cpu", mask=(0, 1, 0, 1)):
        single = make_env()
        self.num_envs, self.mask = count, torch.tensor(mask, dtype=torch.bool, device=device)
        self.single_observation_space = single.observation_space
        self.single_action_space = single.action_space
        self.observation_space = gymnasium.vector.utils.batch_space(
            self.single_observation_space, count
        )
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, count)
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.batches = [
            {
                "depth": 0.25 + 0.2 * torch.rand(count, 1, 32, 32, device=device),
                "contact": torch.randint(
                    0, 2, (count, 2, 32, 32), dtype=torch.uint8, device=device
                ),
                "proprio": torch.rand(count, 12, device=device),
            }
            for _ in range(2)
        ]

    def reset(self, *, seed=None, options=None):
        return self.batches[0], {}

    def step(self, actions):
        flags = torch.zeros(self.num_envs, dtype=torch.bool)
        info = {"final_obs": self.batches[1], "_final_obs": self.mask}
        return self.batches[0], torch.zeros(self.num_envs), flags, flags, info


DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("flat", [False, True])
def test_tensors_stay_tensors(encoder, flat, device):
    worlds = TensorWorlds(device=device)
    envs = VectorEncodeObservation(worlds, encoder, flat=flat)
    observation = envs.reset()[0]
    info = envs.step(None)[-1]
    for found, batch in ((observation, worlds.batches[0]), (info["final_obs"], worlds.batches[1])):
        embedding = found[:, :16] if flat else found["embedding"]
        assert embedding.device == worlds.batches[0]["depth"].device
        by_hand = encoded_by_hand(encoder, {key: batch[key].cpu() for key in IMAGES})
        rows = slice(None) if batch is worlds.batches[0] else worlds.mask.cpu()
        np.testing.assert_allclose(embedding.cpu()[rows], by_hand[rows], atol=1e-4)
    if not flat:
        assert observation["proprio"] is worlds.batches[0]["proprio"]
    weights = torch.nn.Linear(observation.shape[1] if flat else 16, 1, device=device)
    weights(observation if flat else observation["embedding"]).sum().backward()


@pytest.mark.parametrize("mask", [(0, 0, 0, 0), (1, 1, 1, 1)])
@pytest.mark.parametrize("output", ["numpy", "torch", "same"])
@pytest.mark.parametrize("flat", [False, True])
def test_tensors_come_as_arrays_where_asked(encoder, output, mask, flat):
    worlds = TensorWorlds(mask=mask)
    envs = VectorEncodeObservation(worlds, encoder, output=output, flat=flat)
    kind = np.ndarray if output == "numpy" else torch.Tensor
    observation = envs.reset()[0]
    info = envs.step(None)[-1]
    for found in (observation, info["final_obs"]):
        values = [found] if flat else list(found.values())
        assert all(isinstance(value, kind) and len(value) == 4 for value in values)
    if output == "numpy":
        assert observation in envs.observation_space
        if not flat:
            worlds.batches[0]["proprio"].zero_()  # the engine goes on
            assert observation["proprio"].any()


def test_arrays_come_as_tensors_where_asked(encoder):
    observation = EncodeObservation(make_env(), encoder, output="torch").reset(seed=0)[0]
    assert all(isinstance(value, torch.Tensor) for value in observation.values())


def test_the_given_encoder_may_go_on_training(encoder):
    mine = make_encoder()
    env = EncodeObservation(make_env(), mine)
    before = env.reset(seed=0)[0]["embedding"]
    mine.train()
    with torch.no_grad():
        for parameter in mine.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(env.reset(seed=0)[0]["embedding"], before)


def test_a_specification_makes_the_environment_again(encoder, tmp_path):
    encoder.save_pretrained(tmp_path / "mine")
    for source in (encoder, tmp_path / "mine", str(tmp_path / "mine")):
        env = EncodeObservation(make_env(), source, keep=(), flat=True)
        again = gymnasium.make(pickle.loads(pickle.dumps(env.spec)))
        assert again.observation_space == env.observation_space
        np.testing.assert_array_equal(again.reset(seed=3)[0], env.reset(seed=3)[0])
    recorded = env.spec.additional_wrappers[-1].kwargs
    assert recorded["encoder"] == str(tmp_path / "mine")


def test_a_specification_survives_json_where_the_encoder_has_a_name(encoder, tmp_path):
    encoder.save_pretrained(tmp_path / "mine")
    env = EncodeObservation(make_env(), tmp_path / "mine", flat=True, num_threads=2)
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    np.testing.assert_array_equal(again.reset(seed=3)[0], env.reset(seed=3)[0])
    # JSON holds no weights: an encoder at hand has to be saved first.
    with pytest.raises(TypeError, match="VisuotactileEncoder is not JSON serializable"):
        EncodeObservation(make_env(), encoder).spec.to_json()


class Brightness(torch.nn.Module):
    """An encoder of one's own, of an image that no environment here has by itself."""

    keys = ("photo",)
    image_shapes: ClassVar = {"photo": (3, 8, 12)}
    embedding_size = 3

    def forward(self, observation):
        return observation["photo"].float().mean(dim=(2, 3))


def with_photo(env):
    photo = spaces.Box(0, 255, (3, 8, 12), np.uint8)
    space = spaces.Dict({**env.observation_space.spaces, "photo": photo})
    image = np.arange(3 * 8 * 12, dtype=np.uint8).reshape(3, 8, 12)
    return TransformObservation(env, lambda observation: {**observation, "photo": image}, space)


def test_an_encoder_of_ones_own_in_every_wrapper():
    single = EncodeObservation(with_photo(make_env()), Brightness(), keep=())
    found = single.reset(seed=0)[0]
    assert found in single.observation_space
    expected = np.arange(288).reshape(3, -1).mean(axis=1) - np.array([0, 0, 32 * 256 / 96])
    np.testing.assert_allclose(found["embedding"], expected, rtol=1e-5)
    envs = VectorEncodeObservation(
        SyncVectorEnv([lambda: with_photo(make_env())] * 2), Brightness(), flat=True, keep=()
    )
    np.testing.assert_allclose(envs.reset(seed=0)[0], np.stack([expected] * 2), rtol=1e-5)
    envs.close()


def test_a_vector_says_when_its_worlds_restart(encoder):
    for mode in AutoresetMode:
        envs = VectorEncodeObservation(make_envs(autoreset_mode=mode), encoder)
        assert envs.autoreset_mode is envs.metadata["autoreset_mode"] is mode
        envs.close()


def in_unit(key, factor, dtype, high):
    env = make_env()
    box = env.observation_space[key]
    space = spaces.Dict({**env.observation_space, key: spaces.Box(0, high, box.shape, dtype)})

    def convert(observation):
        return {**observation, key: (observation[key] * factor).astype(dtype)}

    return TransformObservation(env, convert, space)


@pytest.mark.parametrize(
    ("key", "factor", "dtype", "high", "says"),
    [
        ("contact", 255, np.uint8, 255, "contact has values from 0 to 255, .* takes 0 to 1: "),
        ("depth", 1e3, np.float32, 1e3, "depth has values from 0 to 1000, .* takes 0 to 1: "),
        ("depth", 1e3, np.uint16, 65535, "depth has values from 0 to 65535"),
        ("depth", 1.0, np.float32, np.inf, "depth has values from 0 to inf.* unbounded"),
    ],
)
def test_images_in_another_unit_are_refused(encoder, key, factor, dtype, high, says):
    with pytest.raises(ValueError, match=says):
        EncodeObservation(in_unit(key, factor, dtype, high), encoder)


@pytest.mark.parametrize(("key", "dtype"), [("depth", np.float64), ("contact", np.bool_)])
def test_images_of_another_type_are_encoded_alike(encoder, key, dtype):
    env = EncodeObservation(in_unit(key, 1, dtype, 1), encoder)
    expected = EncodeObservation(make_env(), encoder).reset(seed=0)[0]
    np.testing.assert_array_equal(env.reset(seed=0)[0]["embedding"], expected["embedding"])


def encoded_env(encoder):
    return EncodeObservation(make_env(), encoder)


def test_worker_processes(encoder):
    # The parent has used PyTorch's threads and the encoder's before it forks.
    single = encoded_env(encoder)
    encoded_by_hand(encoder, {key: make_envs(8).reset()[0][key] for key in IMAGES})
    expected = single.reset(seed=0)[0]["embedding"]
    envs = AsyncVectorEnv([partial(encoded_env, encoder)] * 2)
    try:
        envs.reset_async(seed=0)
        observation, _ = envs.reset_wait(timeout=60)
        np.testing.assert_allclose(observation["embedding"][0], expected, atol=1e-5)
        envs.step_async(envs.action_space.sample())
        assert envs.step_wait(timeout=60)[0] in envs.observation_space
    finally:
        envs.close(terminate=True)


@pytest.mark.parametrize(
    ("settings", "changes", "says"),
    [
        (
            {"modalities": ("depth", "proprio"), "contact_size": None},
            {},
            r"no 'contact', which the encoder reads.*modalities=\('depth', 'proprio', 'contact'\)",
        ),
        ({"image_size": 48}, {}, r"depth is 48 x 48 .* 32 x 32.*image_size=32"),
        ({"contact_size": 48}, {}, r"contact is 48 x 48 .* 32 x 32.*contact_size=32"),
        (
            {},
            {"images": {"depth": (1, 32, 32), "contact": (1, 32, 32)}},
            "contact has 2 channels, but the encoder takes 1: take an encoder for 2",
        ),
        (
            {},
            {"images": {"contact": (2, 24, 32)}},
            r"contact is 32 x 32 .* takes 24 x 32: .*contact_size=\(24, 32\)",
        ),
    ],
)
def test_an_environment_that_does_not_fit_says_what_to_change(settings, changes, says):
    with pytest.raises(ValueError, match=says):
        EncodeObservation(make_env(**settings), make_encoder(**changes))


def test_other_mistakes_say_what_is_allowed(encoder):
    with pytest.raises(ValueError, match=r"observations are Box.*encode before flattening"):
        EncodeObservation(FlattenObservation(make_env()), encoder)
    with pytest.raises(ValueError, match="observations are Box"):
        EncodeObservation(gymnasium.make("CartPole-v1"), encoder)
    for keep in ("proprio", ("state",), ("proprio", "proprio"), ("embedding",)):
        with pytest.raises(ValueError, match=r"keep=.*'contact', 'depth', 'proprio'"):
            EncodeObservation(make_env(), encoder, keep=keep)
    with pytest.raises(ValueError, match="one of same, numpy, torch"):
        EncodeObservation(make_env(), encoder, output="jax")
    with pytest.raises(ValueError, match="'nothing-like-it' is not a bundled encoder"):
        EncodeObservation(make_env(), "nothing-like-it")


@pytest.mark.parametrize("mode", ["vector_entry_point", "sync"])
def test_the_embedding_is_an_id_of_its_own(mode):
    """One box of the embedding and the proprioception, the same in a vector."""
    env = gymnasium.make("vtenv:VTInsertEmbedding-v0", connectors="usb")
    assert env.observation_space.shape == (256 + 12,) and env.spec.max_episode_steps == 100
    envs = gymnasium.make_vec("VTInsertEmbedding-v0", 2, vectorization_mode=mode, connectors="usb")
    assert envs.single_observation_space == env.observation_space
    one, _ = env.reset(seed=1)
    both, _ = envs.reset(seed=0)
    np.testing.assert_allclose(both[1], one, atol=1e-5)
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    np.testing.assert_allclose(again.reset(seed=1)[0], one, atol=1e-5)
    again.close()
    env.close()
    envs.close()


@pytest.mark.parametrize("keys", [("markers",), ("depth", "shear", "rgb"), tuple(IMAGE_MODALITIES)])
def test_any_images_of_the_environment_enter_an_encoder(keys):
    """Fingers and components are channels to an encoder, and frames are none of them."""
    sizes = {} if {"depth", "contact", "gel", "rgb"} <= set(keys) else dict.fromkeys(SIZES)
    plain = make_env(modalities=(*keys, "proprio"), **sizes)
    config = EncoderConfig.for_space(
        plain.observation_space, backbone="test_resnet", embedding_dim=8
    )
    assert config.keys == tuple(key for key in IMAGE_MODALITIES if key in keys)
    encoder = VisuotactileEncoder(config)
    observation, _ = plain.reset(seed=0)
    batch = {key: torch.from_numpy(observation[key][None]) for key in keys}
    expected = encoder.eval()(batch).detach().numpy()[0]
    env = EncodeObservation(plain, encoder)
    np.testing.assert_allclose(env.reset(seed=0)[0]["embedding"], expected, atol=1e-4)
    assert env.observation_space["embedding"].shape == (8 * len(keys),)
    env.close()
    stacked = FrameStackObservation(make_env(modalities=(*keys, "proprio"), **sizes), 3)
    env = EncodeObservation(stacked, encoder)
    embedding = env.reset(seed=0)[0]["embedding"]
    assert embedding.shape == (3, 8 * len(keys))
    np.testing.assert_allclose(embedding[-1], expected, atol=1e-4)
    env.close()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_an_encoding_waits_for_nothing_on_a_gpu():
    envs = gymnasium.make_vec(
        "VTInsert-v0",
        64,
        vectorization_mode="vector_entry_point",
        engine="warp",
        observations="torch",
        autoreset_mode=AutoresetMode.SAME_STEP,
        max_episode_steps=4,
    )
    envs = VectorEncodeObservation(envs, "resnet-pose", flat=True)
    envs.reset(seed=0)
    envs.unwrapped._elapsed[:] = np.arange(64) % 4
    actions = torch.zeros(64, 5, device="cuda:0")
    for _ in range(6):  # records the graphs
        envs.step(actions)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(6):
            observation, _, _, truncated, info = envs.step(actions)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert truncated.any() and torch.isfinite(observation).all()
    assert (info["final_obs"].abs().sum(dim=1) > 0).eq(truncated).all()
    envs.close()
