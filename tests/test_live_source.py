from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from representation.encoder_config import EncoderConfig
from representation.objectives.combine import OBJECTIVES
from representation.pretraining.config import PretrainConfig
from representation.pretraining.fit import fit_to_split
from representation.pretraining.live_config import LiveConfig
from representation.pretraining.live_source import LiveSource, live_source
from representation.pretraining.plan import new_plan
from vtenv.collection.experience import Experience
from vtenv.registry import make_task

SIZES = {"image_size": 16, "contact_size": 16}
CPU = torch.device("cpu")


@pytest.fixture
def make_source():
    """Sources of two small worlds, whose buffers hold 12 steps unless told otherwise."""
    made = []

    def make(keys=("action", "episode"), *, steps=12, **options) -> LiveSource:
        experience = Experience(2, num_threads=1, **SIZES)
        made.append(LiveSource(experience, 8, keys, steps=steps, batches_per_epoch=4, **options))
        return made[-1]

    yield make
    for source in made:
        source.close()


def test_every_objective_finds_what_it_reads(make_source):
    keys = dict.fromkeys(key for name in OBJECTIVES for key in PretrainConfig(objective=name).keys)
    source = make_source(tuple(keys))
    assert source.keys == tuple(keys)
    batches = list(source.epoch(0))
    assert len(batches) == source.batches_per_epoch == 4
    for batch in batches:
        assert set(batch) == set(keys)
        assert {len(value) for value in batch.values()} == {8}


def test_batches_are_rows_of_the_stream(make_source):
    keys = ("depth", "contact", "action", "pose", "next_depth", "next_pose")
    source = make_source(keys, seed=5, reuse=None)
    experience = Experience(2, num_threads=1, **SIZES)
    stream = [next_row for next_row in itertools.islice(experience.rows((5, 0, 1)), 12)]
    experience.close()
    poses = np.stack([row["pose"] for row in stream])  # (12, 2, 7)
    for batch in source.epoch(0):
        for i, pose in enumerate(batch["pose"].numpy()):
            (step,), (world,) = np.nonzero((poses == pose).all(axis=-1))
            now, later = stream[step], stream[step + 1]
            assert now["episode"][world] == later["episode"][world]
            np.testing.assert_array_equal(batch["contact"][i], now["contact"][world])
            np.testing.assert_array_equal(batch["action"][i], now["action"][world])
            np.testing.assert_allclose(batch["depth"][i], now["depth"][world], atol=6e-6)
            np.testing.assert_array_equal(batch["next_pose"][i], later["pose"][world])
            np.testing.assert_allclose(batch["next_depth"][i], later["depth"][world], atol=6e-6)


def drawn(source: LiveSource, epoch: int) -> list[torch.Tensor]:
    return [batch["action"] for batch in source.epoch(epoch)]


def test_an_epoch_goes_on_from_any_batch(make_source):
    source = make_source(reuse=None)
    rest = [batch["action"] for batch in source.epoch(1, first=2)]
    assert len(rest) == 2 and all(map(torch.equal, rest, drawn(source, 1)[2:]))


def test_the_same_seed_gives_the_same_batches(make_source):
    first, again, other = (drawn(make_source(seed=seed), 0) for seed in (1, 1, 2))
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], other[0])


def test_epochs_and_processes_draw_differently(make_source):
    source = make_source(reuse=None)
    first, second, again = (drawn(source, epoch) for epoch in (0, 1, 0))
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], second[0])
    share = drawn(make_source(reuse=None, rank=1, world_size=2), 0)
    assert [len(batch) for batch in share] == [4] * 4
    assert not torch.equal(first[0][:4], share[0])


def test_worlds_go_on_as_often_as_their_moments_are_drawn(make_source):
    source = make_source(reuse=2.0)
    source.fill()
    assert source.rendered == 24 and source.buffer.full and source.rate > 0
    list(source.epoch(0))
    # 4 batches of 8 are 32 draws, twice for each of 16 moments.
    assert source.rendered == 24 + 16
    list(source.epoch(1))
    assert source.rendered == 24 + 32
    frozen = make_source(reuse=None)
    list(frozen.epoch(0))
    assert frozen.rendered == 24


def test_what_the_encoder_reads_is_observed(tmp_path):
    images = {"depth": (1, 16, 16), "gel": (2, 16, 16)}
    encoder = EncoderConfig(backbone="test_resnet", images=images)
    config = PretrainConfig(encoder=encoder, objective="infonce")
    plan = new_plan(tmp_path / "run", config, LiveConfig(engine="cpu", worlds=2, pairs=256))
    assert plan.live.settings["modalities"] == ("depth", "contact", "proprio", "gel")
    source = live_source(plan.live, 4, config.keys, device=CPU, batches_per_epoch=1)
    source.buffer.append(next(source._experience.rows((0, 0))))
    assert source.buffer.read(np.arange(2), ["gel"])["gel"].shape == (2, 2, 16, 16)
    source.close()


def test_an_encoder_takes_the_markers_that_the_sensor_has(tmp_path):
    images = {"depth": (1, 16, 16), "markers": (4, 9, 7)}
    encoder = EncoderConfig(backbone="test_resnet", images=images)
    config = PretrainConfig(encoder=encoder, objective="infonce")
    live = LiveConfig("cpu", worlds=2, pairs=256, settings={"touch_sensor": "gelsight-mini"})
    plan = new_plan(tmp_path / "run", config, live)
    assert plan.config.encoder.images == {"depth": (1, 16, 16), "markers": (4, 7, 9)}
    sizes = {name for name in plan.live.settings if name.endswith("size")}
    assert sizes == {"image_size"} and make_task("VTInsert-v0", **plan.live.settings)


def test_its_rows_stand_in_for_a_split(make_source):
    source = make_source(("depth", "contact", "pose"))
    source.fill()
    config = fit_to_split(PretrainConfig(objective="pose"), source.buffer)
    poses = source.buffer.read(np.arange(len(source.buffer)), ["pose"])["pose"]
    np.testing.assert_allclose(
        config.objective_options["pose"]["mean"], poses.mean(axis=0), rtol=1e-4, atol=1e-4
    )
    assert config.encoder.images == {"depth": (1, 16, 16), "contact": (2, 16, 16)}


def test_few_pairs_are_of_few_worlds_with_whole_episodes():
    assert LiveConfig().plan == (128, 4096)
    assert LiveConfig(engine="cpu").plan == (128, 64)
    assert LiveConfig(pairs=57_000).plan == (129, 445)
    assert LiveConfig(pairs=5_700_000).plan == (1392, 4096)
    assert LiveConfig(pairs=1000, worlds=2).plan == (500, 2)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"engine": "gpu"}, "cpu or warp"),
        ({"worlds": 0}, "worlds=0"),
        ({"pairs": 100}, "at least 128"),
        ({"reuse": 0.0}, "positive"),
    ],
)
def test_what_cannot_be_rendered_is_said(change, expected):
    with pytest.raises(ValueError, match=expected):
        LiveConfig(**change)


def test_what_cannot_be_drawn_is_said(make_source):
    with pytest.raises(ValueError, match="no gel, force; it has depth"):
        make_source(("gel", "next_force")).fill()
    with pytest.raises(ValueError, match="multiple of 3"):
        make_source(world_size=3)


@pytest.mark.slow
def test_a_device_renders_for_itself():
    """On Warp's CPU device, as on a GPU: tensors from the simulator to the batch."""
    pytest.importorskip("mujoco_warp")
    live = LiveConfig(worlds=3, settings=SIZES)
    keys = PretrainConfig(objective="dynamics").keys
    source = live_source(live, 8, keys, device=CPU, batches_per_epoch=1)
    stream = source._experience.rows((0, 0))
    for row in itertools.islice(stream, 2):
        assert all(isinstance(value, torch.Tensor) for value in row.values())
        source.buffer.append(row)
    batch = source.buffer.gather(source.buffer.places(followed=True), keys)
    assert {key: value.dtype for key, value in batch.items()} == {
        "depth": torch.float32,
        "contact": torch.uint8,
        "action": torch.float32,
        "next_depth": torch.float32,
        "next_contact": torch.uint8,
    }
    assert batch["depth"].shape == (3, 1, 16, 16) and batch["depth"].min() > 0.1
    source.close()
