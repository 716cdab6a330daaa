import dataclasses
import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy

from policies.actor import actor_of
from policies.deployable import DeployablePolicy
from policies.evaluation.conditions import CONDITIONS, SUITES, Condition, condition, made_with
from policies.evaluation.episodes import EpisodeRecord, episode_seeds, play
from policies.evaluation.evaluate import evaluate
from policies.evaluation.players import load_player, player_of
from policies.evaluation.statistics import wilson
from policies.evaluation.summary import ALL, by_connector, overview, summarise, to_markdown
from policies.features import policy_kwargs
from policies.films.side_by_side import choose_pairs
from policies.representations import make_representation
from policies.worlds import DEFAULT_TASK
from vtenv.modalities import IMAGE_MODALITIES
from vtenv.registry import make_task
from vtenv.tasks.insertion.config import InsertionConfig
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES
from vtenv.tasks.insertion.env import VTInsertEnv, VTInsertVectorEnv


def idle(_, simulation, __):
    return np.zeros((simulation.num_worlds, 5), np.float32)


EXPERT = load_player("expert")
IDLE = dataclasses.replace(EXPERT, name="idle", act=idle)


def record(episode=0, connector="usb", success=True, failure="", steps=30, peak_force=1.0):
    return EpisodeRecord(
        episode=episode,
        seed=100 + episode,
        connector=connector,
        success=success,
        failure=failure,
        steps=steps,
        progress=0.9 if success else 0.0,
        peak_force=peak_force,
        labels={"insertion_depth_mm": 10.0 if success else -2.0},
    )


@pytest.mark.parametrize(("successes", "episodes"), [(1, 3), (50, 100), (389, 400), (0, 7), (9, 9)])
def test_bounds_of_the_interval_are_rates_that_the_sample_just_does_not_refute(successes, episodes):
    z = NormalDist().inv_cdf(0.975)
    rate = successes / episodes
    low, high = wilson(successes, episodes)
    for bound in (low, high):
        if 0 < bound < 1:
            off = abs(rate - bound) / math.sqrt(bound * (1 - bound) / episodes)
            assert off == pytest.approx(z)
    assert low <= rate <= high
    assert (low == 0) is (successes == 0)
    assert (high == 1) is (successes == episodes)


def test_without_episodes_the_interval_says_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("arguments", [(3, 2), (-1, 2)])
def test_what_no_sample_can_be_is_refused(arguments):
    with pytest.raises(ValueError, match=r"\bk\b"):
        wilson(*arguments)


def test_seeds_share_episodes_out_among_the_connectors_that_they_draw():
    config = make_task(DEFAULT_TASK, modalities=("proprio",))
    seeds = episode_seeds(config, 10, "training", 50)
    assert seeds == sorted(set(seeds))
    assert seeds[0] >= 50
    env = VTInsertEnv(modalities=("proprio",))
    drawn = [env.reset(seed=seed)[1]["connector"] for seed in seeds]
    assert [drawn.count(name) for name in CONNECTOR_NAMES] == [3, 3, 2, 2]
    assert set(episode_seeds(config, 4, "training", 50)) <= set(seeds)
    usb = [seed for seed, name in zip(seeds, drawn, strict=True) if name == "usb"]
    assert episode_seeds(config, 2, "training", 50, ("usb",)) == usb
    alone = make_task(DEFAULT_TASK, modalities=("proprio",), connectors=["usb"])
    assert episode_seeds(alone, 3, "training", 50) == [50, 51, 52]
    with pytest.raises(ValueError, match="training has no 4 episodes from its seed 999996 on"):
        episode_seeds(config, 4, "training", 999_996)
    with pytest.raises(ValueError, match="has usb, and no aux"):
        episode_seeds(alone, 3, "training", 50, ("aux",))


def test_an_environment_is_made_with_connectors_that_are_not_its_own():
    assert made_with(("usb",), {"clearance_mm": 0.3}) == (("usb",), {"clearance_mm": 0.3})
    for name in ("generated-3", "mine:PLUG"):
        given = ("usb", name)
        assert made_with(given, {"action_delay": 0}) == (
            (),
            {"action_delay": 0, "connectors": list(given)},
        )


def test_episodes_are_those_of_the_single_environment():
    seeds = [7, 8, 9, 10, 11]
    envs = VTInsertVectorEnv(2, connectors=("usb",), modalities=("proprio",))
    records = sorted(play(envs, EXPERT.act, seeds), key=lambda r: r.episode)
    assert [r.seed for r in records] == seeds
    env = VTInsertEnv(connectors=("usb",), modalities=("proprio",))
    for played in records:
        _, info = env.reset(seed=played.seed)
        steps, peak, terminated = 0, info["contact_force"], False
        while not terminated:
            action = env.simulation.expert_action()
            *_, terminated, _, info = env.step(action[0].astype(np.float32))
            steps += 1
            peak = max(peak, info["contact_force"])
        assert (played.steps, played.failure) == (steps, "")
        assert (played.success, played.peak_force) == (info["is_success"], peak)
        assert played.labels["insertion_depth_mm"] == pytest.approx(1e3 * info["insertion_depth"])
        assert played.labels["lateral_mm"] == pytest.approx(1e3 * info["lateral_error"])
        assert 0.9 <= played.progress <= 1.0


def test_who_does_nothing_misses():
    for played in evaluate(IDLE, episodes=2):
        assert not played.success
        assert (played.failure, played.steps) == ("missed", 100)
        # One of four potentials is the insertion itself.
        assert played.progress < 0.75 and played.labels["insertion_depth_mm"] < 0


@pytest.mark.parametrize(
    ("depth_mm", "lateral_mm", "force", "cause"),
    [
        (0.0, 0.8, 5.0, "jammed"),
        (0.0, 0.8, 0.0, "missed"),
        (5.0, 0.2, 3.0, "partial"),
        (5.0, 9.0, 0.0, "missed"),
        (-20.0, 1.0, 0.0, "missed"),
    ],
)
def test_where_the_tip_is_when_time_is_over_names_the_failure(depth_mm, lateral_mm, force, cause):
    labels = {"insertion_depth_mm": depth_mm, "lateral_mm": lateral_mm, "contact_force_n": force}
    timeouts = make_task(DEFAULT_TASK).timeouts({n: np.array([v]) for n, v in labels.items()})
    assert next(name for name, holds in timeouts.items() if holds[0]) == cause


def test_worlds_must_reset_themselves_in_the_next_step():
    envs = VTInsertVectorEnv(1, modalities=("proprio",), autoreset_mode="SameStep")
    with pytest.raises(ValueError, match="NEXT_STEP"):
        next(play(envs, idle, [0]))


def test_every_policy_starts_in_the_same_states_however_many_worlds_there_are():
    starts = []
    for act, number in ((EXPERT.act, 1), (idle, 3)):
        seen = {}

        def watched(observation, simulation, started, act=act, seen=seen):
            state = simulation.state
            for world in np.flatnonzero(started):
                where = [state.socket_pos_w[world], state.plug_pos_w[world], state.hand[world]]
                seen.setdefault(np.concatenate(where).tobytes())
            return act(observation, simulation, started)

        player = dataclasses.replace(EXPERT, act=watched)
        records = evaluate(player, episodes=4, num_envs=number)
        starts.append(seen.keys())
        assert sorted(r.connector for r in records) == sorted(CONNECTOR_NAMES)
    # Worlds that are done go on with other episodes, which nobody looks at.
    assert len(starts[0] & starts[1]) == 4


def test_the_number_of_worlds_changes_nothing():
    assert evaluate(EXPERT, episodes=5, num_envs=1) == evaluate(EXPERT, episodes=5, num_envs=4)


def test_a_policy_with_a_memory_starts_each_episode_without_one():
    representation = make_representation("proprio")
    torch.manual_seed(0)
    policy = RecurrentActorCriticPolicy(
        representation.observation_space(),
        make_task(DEFAULT_TASK).action_space,
        lambda _: 1e-3,
        lstm_hidden_size=8,
        **policy_kwargs(representation),
    )
    torch.nn.init.normal_(policy.action_net.weight)
    player = player_of(DeployablePolicy(actor_of(policy), representation))
    envs = player.make(condition("default"), 1)
    together = list(play(envs, player.act, [1, 2]))
    (alone,) = play(envs, player.act, [2])
    assert dataclasses.replace(alone, episode=1) == together[1]


def test_a_track_is_a_condition():
    played = EXPERT.played(condition("track-contact")).config
    assert played.action_delay == 1 and played.clearance_mm is None
    with pytest.raises(ValueError, match="unknown track 'contract'; did you mean contact"):
        condition("track-contract")


@pytest.mark.parametrize("one", CONDITIONS.values(), ids=CONDITIONS)
def test_a_condition_is_allowed_for_whoever_sees_little_or_much(one):
    trained = {"image_size": 48, "clearance_mm": 0.6, "depth_noise_mm": 1.5}
    for modalities in (("depth", "contact", "proprio"), ("state",)):
        sizes = trained if "depth" in modalities else {"clearance_mm": 0.6}
        player = dataclasses.replace(EXPERT, modalities=modalities, settings=sizes)
        config = player.played(one).config
        assert config.image_size == ((48, 48) if "depth" in modalities else (64, 64))
        if one.settings is None:
            assert config.clearance_mm == 0.6
    assert one.name in (*SUITES["full"], "training")


def test_the_sizes_of_all_images_are_kept():
    images = tuple(IMAGE_MODALITIES)
    settings = {str(m.size_setting).partition(".")[0] for m in IMAGE_MODALITIES.values()}
    trained = {name: (12, 10) for name in settings} | {"touch_sensor": "gelsight-mini"}
    default = CONDITIONS["default"]
    assert default.environment(images, trained) == trained
    other = default.changed({"touch_sensor": "square-24mm"}, trained)
    assert other.environment(images, trained) == {**trained, "touch_sensor": "square-24mm"}


def test_conditions_beyond_training_are_beyond_the_default():
    default = InsertionConfig()
    wide = EXPERT.played(CONDITIONS["in-hand-wide"]).config.initial_state
    for name in ("in_hand_x_mm", "in_hand_z_mm", "in_hand_pitch_deg"):
        low, high = getattr(default.initial_state, name)
        assert getattr(wide, name) == (1.5 * low, 1.5 * high)
    seeing = dataclasses.replace(EXPERT, modalities=("depth",))
    noises = [seeing.played(CONDITIONS[f"depth-noise-{n}"]).config for n in (2, 4)]
    assert [config.depth_noise_mm for config in noises] == [2.0, 4.0]
    scales = [
        EXPERT.played(CONDITIONS[f"connectors-{s}"]).config.connector_scale for s in (0.9, 1.1)
    ]
    assert scales == [0.9, 1.1]


def test_what_is_not_allowed_is_said():
    with pytest.raises(ValueError, match="unknown condition 'dark'; "):
        evaluate(EXPERT, "dark")
    with pytest.raises(ValueError, match="episodes=0"):
        evaluate(EXPERT, episodes=0)
    with pytest.raises(ValueError, match="unknown engine 'gpu'"):
        evaluate(EXPERT, engine="gpu")
    with pytest.raises(ValueError, match="clearance_mm=9"):
        evaluate(EXPERT, Condition("wide", "a wide hole", {"clearance_mm": 9}))
    with pytest.raises(ValueError, match="neither a bundled policy"):
        load_player("no/such/folder")


def test_a_summary_is_that_of_its_episodes():
    records = [record(i, steps=20 + i, peak_force=float(i)) for i in range(5)]
    records += [record(5 + i, "pin", False, cause) for i, cause in enumerate(["jammed", "missed"])]
    records += [record(7, "pin", False, "jammed")]
    every = summarise(records)
    assert (every.episodes, every.successes, every.success) == (8, 5, 5 / 8)
    assert every.interval == wilson(5, 8)
    assert every.steps == 22
    assert every.progress == pytest.approx(0.9 * 5 / 8)
    assert every.to_dict()["insertion_depth_mm_mean"] == 5.5
    assert list(every.failures.items()) == [("jammed", 2), ("missed", 1)]
    parts = by_connector(records)
    assert list(parts) == [ALL, "usb", "pin"]
    assert (parts["pin"].steps, parts["usb"].failures) == (None, {})
    assert parts["pin"].to_dict()["steps_to_success_median"] is None
    assert overview({"default": parts})[1] == ["default", "62.5%", every.bounds, "100.0%", "0.0%"]
    page = to_markdown(
        "mine", {"default": parts}, {"default": "the default; here with track=loose"}
    )
    assert "Here: the default; here with track=loose." in page
    assert "| pin | 3 | 0.0% |" in page
    assert "jammed 2, missed 1" in page


def seeds_of(records, number):
    return [tuple(r.seed - 100 for r in pair) for pair in choose_pairs(records, number)]


def test_successes_are_paired_with_failures_of_the_same_connector():
    aux = record(0, "aux")
    usb = [record(1, "usb"), record(2, "usb", False, "jammed"), record(3, "usb", False, "missed")]
    assert seeds_of([aux, *usb], 2) == [(1, 2), (0, 3)]
    assert seeds_of([aux, *usb], 1) == [(1, 2), (0, 3)]  # 3 fills the half beside 0


def test_no_half_of_a_picture_is_empty_but_beside_a_single_episode():
    won = [record(number, connector) for number, connector in enumerate(("aux", "pin", "usb"))]
    assert seeds_of(won, 1) == [(0, 1), (2, 0)]
    assert seeds_of(won[:1], 1) == [(0,)]


@pytest.mark.slow
def test_the_warp_engine_plays_the_same_episodes():
    pytest.importorskip("mujoco_warp")
    there = evaluate(EXPERT, episodes=4, engine="warp", device="cpu")
    here = evaluate(EXPERT, episodes=4)
    assert [(r.seed, r.connector, r.success) for r in there] == [
        (r.seed, r.connector, r.success) for r in here
    ]
    for a, b in zip(there, here, strict=True):
        assert abs(a.steps - b.steps) <= 2
        deep = "insertion_depth_mm"
        assert a.labels[deep] == pytest.approx(b.labels[deep], abs=1.0)
