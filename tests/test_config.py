"""What the environment's settings accept, and what they say when they do not."""

from __future__ import annotations

import dataclasses
import itertools
import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import settings_of

from vtenv.modalities import Modality
from vtenv.tasks.insertion.config import (
    MODALITIES,
    REWARDS,
    InitialStateRanges,
    InsertionConfig,
)
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES, CONNECTORS
from vtenv.tasks.insertion.randomization import DomainRandomizationConfig

NUMBERS = {
    "clearance_mm": (0.03, 2.0),
    "lead_in_mm": (0.0, 2.0),
    "insertion_resistance": (0.0, 2.0),
    "hand_force_n": (1.0, 40.0),
    "connector_scale": (0.8, 1.2),
    "depth_noise_mm": (0.0, 50.0),
    "depth_dropout": (0.0, 1.0),
    "depth_quantization_mm": (0.0, 50.0),
}
SIZES = {
    "image_size": (8, 512),
    "contact_size": (8, 512),
    "taxel_size": (2, 64),
}
KEYS = tuple(MODALITIES)

not_numbers = st.one_of(
    st.booleans(),
    st.text(max_size=3),
    st.binary(max_size=1),
    st.lists(st.floats(), max_size=1),
    st.dictionaries(st.text(max_size=1), st.floats(), max_size=1),
    st.complex_numbers(),
    st.builds(object),
    st.sampled_from([float("nan"), float("inf"), -float("inf")]),
)


def outside(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(max_value=low, exclude_max=True) | st.floats(min_value=high, exclude_min=True)


@given(data=st.data(), name=st.sampled_from([*NUMBERS, *SIZES]))
def test_a_wrong_number_is_named_with_what_is_allowed(data, name):
    low, high = {**NUMBERS, **SIZES}[name]
    wrong = not_numbers | outside(low, high)
    if name in SIZES:
        # A whole number is meant, and rounding one would hide a mistake.
        wrong |= st.floats(low, high) | st.integers(max_value=low - 1)
    value = data.draw(wrong)
    with pytest.raises(ValueError) as error:
        settings_of(modalities=KEYS, **{name: value})
    message = str(error.value)
    assert name in message
    assert f"{low:g}" in message
    assert f"{high:g}" in message


@pytest.mark.parametrize("name", [*NUMBERS, *SIZES])
@pytest.mark.parametrize("value", [False, "", [], 10**400], ids=["False", "''", "[]", "10**400"])
def test_what_python_takes_for_zero_or_overflows_on_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        settings_of(modalities=KEYS, **{name: value})


@given(value=st.integers() | st.text(max_size=5) | st.lists(st.text(max_size=2), max_size=3))
def test_a_wrong_reward_is_named_with_all_there_are(value):
    if value in REWARDS:
        return
    with pytest.raises(ValueError) as error:
        settings_of(reward=value)
    assert str(error.value).startswith(f"reward={value!r}")
    assert all(choice in str(error.value) for choice in REWARDS)


@given(value=st.integers() | st.lists(st.text(max_size=2) | st.none(), min_size=1))
def test_wrong_connectors_are_named_with_all_there_are(value):
    if value in CONNECTOR_NAMES:
        return
    with pytest.raises(ValueError) as error:
        settings_of(connectors=value)
    assert all(name in str(error.value) for name in CONNECTOR_NAMES)


@pytest.mark.parametrize(
    "value",
    [(), [], "", "vision", ("depth", "vision"), ("depth", "depth"), 5, [["depth"]], [None]],
    ids=repr,
)
def test_wrong_modalities_are_named_with_all_there_are(value):
    with pytest.raises(ValueError) as error:
        settings_of(modalities=value)
    assert "modalities" in str(error.value)
    assert all(name in str(error.value) for name in MODALITIES)


def test_an_array_of_rewards_is_refused_by_name():
    """NumPy's own complaint about an array's truth would not say which argument it is."""
    with pytest.raises(ValueError, match="reward"):
        settings_of(reward=np.array(REWARDS))


@pytest.mark.parametrize("name", ["initial_state", "domain_randomization"])
@pytest.mark.parametrize("value", [{"socket": (0, 1)}, (0, 1), "default"])
def test_ranges_are_an_object_or_a_mapping_of_its_fields(name, value):
    with pytest.raises(ValueError, match=rf"{name}=.*or a mapping of"):
        settings_of(**{name: value})


@pytest.mark.parametrize("kind", [InitialStateRanges, DomainRandomizationConfig])
def test_ranges_survive_json_as_mappings(kind):
    field = {
        InitialStateRanges: "initial_state",
        DomainRandomizationConfig: "domain_randomization",
    }[kind]
    ranges = kind(**{kind.names()[0]: kind.limits(kind.names()[0])})
    written = json.loads(json.dumps(dataclasses.asdict(ranges)))
    assert getattr(settings_of(**{field: written}), field) == ranges


@given(data=st.data())
def test_good_settings_are_kept(data):
    numbers = {name: data.draw(st.floats(*bounds)) for name, bounds in NUMBERS.items()}
    sizes = {name: data.draw(st.integers(*bounds)) for name, bounds in SIZES.items()}
    reward = data.draw(st.sampled_from(REWARDS))
    names = data.draw(st.lists(st.sampled_from(CONNECTOR_NAMES), min_size=1, unique=True))
    modalities = data.draw(st.permutations(KEYS))
    config = settings_of(modalities=modalities, connectors=names, reward=reward, **numbers, **sizes)
    assert config.modalities == tuple(MODALITIES.values())
    assert config.connectors == tuple(CONNECTORS[name] for name in names)
    assert config.reward == reward
    assert {name: getattr(config, name) for name in numbers} == numbers
    assert {name: getattr(config, name) for name in sizes} == {
        name: (size, size) for name, size in sizes.items()
    }


def test_a_number_is_kept_as_a_float_and_an_integer_will_do():
    config = settings_of(clearance_mm=1, lead_in_mm=0, depth_noise_mm=2)
    assert config == settings_of(clearance_mm=1.0, lead_in_mm=0.0, depth_noise_mm=2.0)
    values = (config.clearance_mm, config.lead_in_mm, config.depth_noise_mm)
    assert [type(value) for value in values] == [float] * 3


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.uint8, np.array])
def test_numpy_scalars_are_numbers(kind):
    config = settings_of(clearance_mm=kind(1), depth_noise_mm=kind(2))
    assert (config.clearance_mm, config.depth_noise_mm) == (1.0, 2.0)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.array])
def test_numpys_integers_are_sizes(kind):
    assert settings_of(image_size=kind(48)).image_size == (48, 48)


def test_sizes_may_be_pairs_of_rows_and_columns():
    config = settings_of(modalities=KEYS, image_size=(48, 64), contact_size=[32, 24])
    assert (config.image_size, config.contact_size) == ((48, 64), (32, 24))
    for wrong in [(48,), (48, 64, 3), (48, 4), (48.0, 64), "48"]:
        with pytest.raises(ValueError, match=r"image_size=.*or a pair of rows and columns"):
            settings_of(image_size=wrong)


def test_a_reward_may_be_a_function():
    assert settings_of(reward=sum).reward is sum


def test_defaults_are_those_of_the_dataclass():
    config = settings_of()
    assert config == InsertionConfig()
    assert [modality.key for modality in config.modalities] == ["depth", "contact", "proprio"]
    assert [connector.name for connector in config.connectors] == list(CONNECTOR_NAMES)
    assert (config.reward, config.clearance_mm, config.depth_noise_mm) == ("dense", None, 1.0)
    assert config.image_size == config.contact_size == (64, 64)
    assert (config.connector_scale, config.domain_randomization) == (1.0, None)
    assert config.initial_state == InitialStateRanges()


def test_none_is_as_good_as_leaving_a_setting_out():
    names = {field.name for field in dataclasses.fields(InsertionConfig)}
    assert settings_of(**dict.fromkeys(names)) == InsertionConfig()


@pytest.mark.parametrize("count", range(1, 5))
def test_modalities_come_in_one_order(count):
    for chosen in itertools.permutations(KEYS, count):
        config = settings_of(modalities=chosen)
        expected = tuple(MODALITIES[key] for key in sorted(chosen, key=KEYS.index))
        assert config.modalities == expected


@pytest.mark.parametrize("modality", KEYS)
def test_one_modality_may_be_a_string(modality):
    assert settings_of(modalities=modality).modalities == (MODALITIES[modality],)


def test_modalities_may_be_any_iterable():
    config = settings_of(modalities=(name for name in ("gel", "depth")))
    assert config.modalities == (MODALITIES["depth"], MODALITIES["gel"])


def test_a_modality_of_ones_own_comes_last():
    own = Modality("speed", "Speed", "m/s", (3,), -1.0, 1.0)
    assert settings_of(modalities=(own, "depth")).modalities == (MODALITIES["depth"], own)


@pytest.mark.parametrize("name", CONNECTOR_NAMES)
def test_one_connector_may_be_a_string_or_an_object(name):
    connector = CONNECTORS[name]
    assert settings_of(connectors=name).connectors == (connector,)
    assert settings_of(connectors=connector).connectors == (connector,)
    assert settings_of(connectors=[connector]).connectors == (connector,)


@pytest.mark.parametrize("name", ["clearance", "images", "seed", "frameskip"])
def test_an_unknown_setting_is_named_in_the_words_of_python(name):
    """TorchRL leaves an argument out where the error says so in these words."""
    with pytest.raises(TypeError) as error:
        settings_of(**{name: 1})
    assert f"got an unexpected keyword argument {name!r}" in str(error.value)
    assert all(field.name in str(error.value) for field in dataclasses.fields(InsertionConfig))


@pytest.mark.parametrize(
    ("modalities", "name", "value", "missing"),
    [
        ("contact", "image_size", 64, "depth"),
        ("proprio", "depth_noise_mm", 0.0, "depth"),
        ("gel", "depth_dropout", 0.0, "depth"),
        ("state", "depth_quantization_mm", 0.0, "depth"),
        ("depth", "contact_size", 64, "contact or gel or rgb"),
        ("gel", "taxel_size", 8, "shear or markers"),
    ],
)
def test_a_setting_of_a_sensor_not_asked_for_is_refused(modalities, name, value, missing):
    with pytest.raises(ValueError, match=rf"{name}={value}.*add {missing}"):
        settings_of(modalities=modalities, **{name: value})


@pytest.mark.parametrize("modalities", ["contact", "gel"])
def test_contact_size_goes_with_either_touch_modality(modalities):
    config = settings_of(modalities=modalities, contact_size=32)
    assert config.contact_size == (32, 32)


@given(data=st.data(), name=st.sampled_from(InitialStateRanges.names()))
def test_a_wrong_range_is_named_with_its_limits(data, name):
    low, high = InitialStateRanges.limits(name)
    inside = st.floats(low, high)
    wrong_pair = st.one_of(
        st.tuples(outside(low, high), inside),
        st.tuples(inside, outside(low, high)),
        st.tuples(not_numbers, inside),
        st.tuples(inside, not_numbers),
        st.tuples(inside, inside)
        .filter(lambda pair: pair[0] != pair[1])
        .map(lambda pair: (max(pair), min(pair))),
        st.tuples(inside, inside, inside),
        st.tuples(inside),
        not_numbers,
        st.none(),
    )
    with pytest.raises(ValueError) as error:
        InitialStateRanges(**{name: data.draw(wrong_pair)})
    assert str(error.value).startswith(f"{name}=")
    assert f"{low:g} <= low <= high <= {high:g}" in str(error.value)


def test_a_range_that_overflows_is_refused():
    with pytest.raises(ValueError, match="hand_y_mm"):
        InitialStateRanges(hand_y_mm=(0, 10**400))


@given(data=st.data(), name=st.sampled_from(InitialStateRanges.names()))
def test_a_good_range_is_kept(data, name):
    pair = tuple(sorted(data.draw(st.tuples(*[st.floats(*InitialStateRanges.limits(name))] * 2))))
    for given_as in (pair, list(pair), np.array(pair)):
        ranges = InitialStateRanges(**{name: given_as})
        assert getattr(ranges, name) == pair
        assert all(type(bound) is float for bound in getattr(ranges, name))
        others = [other for other in InitialStateRanges.names() if other != name]
        default = InitialStateRanges()
        assert all(getattr(ranges, other) == getattr(default, other) for other in others)


def test_a_range_may_be_any_iterable():
    assert InitialStateRanges(hand_y_mm=iter((-1, 1))).hand_y_mm == (-1.0, 1.0)


def test_default_ranges_are_within_the_limits():
    for name in InitialStateRanges.names():
        low, high = getattr(InitialStateRanges(), name)
        lowest, highest = InitialStateRanges.limits(name)
        assert lowest <= low <= high <= highest


@pytest.mark.parametrize(
    "config",
    [
        InitialStateRanges(),
        DomainRandomizationConfig(),
        InsertionConfig(domain_randomization=DomainRandomizationConfig()),
    ],
    ids=lambda config: type(config).__name__,
)
def test_frozen_hashable_and_picklable(config):
    name = dataclasses.fields(config)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, name, getattr(config, name))
    equal = dataclasses.replace(config)
    assert equal is not config
    assert {config: 1}[equal] == 1
    assert pickle.loads(pickle.dumps(config)) == config


def test_ranges_given_as_lists_are_hashable():
    """A mutable range would make the grasp bank's cache key change under it."""
    ranges = InitialStateRanges(hand_y_mm=[-1, 1])
    assert hash(ranges) == hash(InitialStateRanges(hand_y_mm=(-1.0, 1.0)))
