"""What the environment's settings accept, and what they say when they do not."""

from __future__ import annotations

import dataclasses
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtenv.tasks.insertion.config import (
    MODALITIES,
    REWARDS,
    SETTINGS,
    DepthNoiseConfig,
    InitialStateRanges,
    SceneConfig,
    VTInsertConfig,
)
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES
from vtenv.tasks.insertion.randomization import DomainRandomizationConfig

# (keyword argument, lowest, highest) of the numbers that `from_settings` takes.
NUMBERS = {
    "clearance_mm": (0.1, 2.0),
    "lead_in_mm": (0.0, 2.0),
    "connector_scale": (0.8, 1.2),
    "depth_noise_mm": (0.0, 50.0),
    "depth_dropout": (0.0, 1.0),
    "depth_quantization_mm": (0.0, 50.0),
}
SIZES = {"image_size": (8, 512), "contact_size": (8, 512)}
CHOICES = {"connector": ("random", *CONNECTOR_NAMES), "reward": REWARDS}

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


@settings(deadline=None)
@given(data=st.data(), name=st.sampled_from([*NUMBERS, *SIZES]))
def test_a_wrong_number_is_named_with_what_is_allowed(data, name):
    low, high = {**NUMBERS, **SIZES}[name]
    wrong = not_numbers | outside(low, high)
    if name in SIZES:
        # A whole number is meant, and rounding one would hide a mistake.
        wrong |= st.floats(low, high) | st.integers(max_value=low - 1)
    value = data.draw(wrong)
    with pytest.raises(ValueError) as error:
        VTInsertConfig.from_settings(modalities=MODALITIES, **{name: value})
    message = str(error.value)
    assert name in message
    assert f"{low:g}" in message
    assert f"{high:g}" in message


@pytest.mark.parametrize("name", [*NUMBERS, *SIZES])
@pytest.mark.parametrize("value", [False, "", [], 10**400], ids=["False", "''", "[]", "10**400"])
def test_what_python_takes_for_zero_or_overflows_on_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        VTInsertConfig.from_settings(modalities=MODALITIES, **{name: value})


@settings(deadline=None)
@given(data=st.data(), name=st.sampled_from(list(CHOICES)))
def test_a_wrong_choice_is_named_with_all_there_are(data, name):
    value = data.draw(
        st.one_of(st.none(), st.integers(), st.text(max_size=5), st.lists(st.text(max_size=2)))
    )
    if value in CHOICES[name]:
        return
    with pytest.raises(ValueError) as error:
        VTInsertConfig.from_settings(**{name: value})
    assert str(error.value).startswith(f"{name}={value!r}")
    assert all(choice in str(error.value) for choice in CHOICES[name])


@pytest.mark.parametrize(
    "value",
    [(), [], "", "vision", ("depth", "vision"), ("depth", "depth"), 5, None, [["depth"]], [None]],
    ids=repr,
)
def test_wrong_modalities_are_named_with_all_there_are(value):
    with pytest.raises((TypeError, ValueError)) as error:
        VTInsertConfig.from_settings(modalities=value)
    assert "modalities" in str(error.value)
    assert all(name in str(error.value) for name in MODALITIES)


@pytest.mark.parametrize("name", list(CHOICES))
def test_an_array_of_choices_is_refused_by_name(name):
    """NumPy's own complaint about an array's truth would not say which argument it is."""
    with pytest.raises(ValueError, match=name):
        VTInsertConfig.from_settings(**{name: np.array(CHOICES[name][:2])})


@pytest.mark.parametrize("value", [{}, (0, 1), "default"])
def test_initial_state_must_be_ranges(value):
    with pytest.raises(ValueError, match=r"initial_state=.*InitialStateRanges"):
        VTInsertConfig.from_settings(initial_state=value)


@settings(deadline=None)
@given(data=st.data())
def test_good_settings_are_kept(data):
    numbers = {name: data.draw(st.floats(*bounds)) for name, bounds in NUMBERS.items()}
    sizes = {name: data.draw(st.integers(*bounds)) for name, bounds in SIZES.items()}
    choices = {name: data.draw(st.sampled_from(given)) for name, given in CHOICES.items()}
    modalities = data.draw(st.permutations(MODALITIES))
    config = VTInsertConfig.from_settings(modalities=modalities, **numbers, **sizes, **choices)
    assert config.modalities == MODALITIES
    assert config.connector == choices["connector"]
    assert config.reward == choices["reward"]
    assert config.scene == SceneConfig(
        numbers["clearance_mm"],
        numbers["lead_in_mm"],
        sizes["image_size"],
        sizes["contact_size"],
        numbers["connector_scale"],
    )
    assert dataclasses.astuple(config.depth_noise) == (
        numbers["depth_noise_mm"],
        numbers["depth_dropout"],
        numbers["depth_quantization_mm"],
    )


def test_a_number_is_kept_as_a_float_and_an_integer_will_do():
    config = VTInsertConfig.from_settings(clearance_mm=1, lead_in_mm=0, depth_noise_mm=2)
    assert config == VTInsertConfig.from_settings(
        clearance_mm=1.0, lead_in_mm=0.0, depth_noise_mm=2.0
    )
    values = (config.scene.clearance_mm, config.scene.lead_in_mm, config.depth_noise.noise_mm)
    assert [type(value) for value in values] == [float] * 3


def test_defaults_are_those_of_the_dataclasses():
    assert VTInsertConfig.from_settings() == VTInsertConfig()
    config = VTInsertConfig()
    assert config.modalities == ("depth", "contact", "proprio")
    assert (config.connector, config.reward) == ("random", "dense")
    assert (config.scene.clearance_mm, config.depth_noise.noise_mm) == (0.4, 1.0)
    assert config.scene.image_size == config.scene.contact_size == 64
    assert (config.scene.connector_scale, config.domain_randomization) == (1.0, None)


@pytest.mark.parametrize("count", range(1, len(MODALITIES) + 1))
def test_modalities_come_in_one_order(count):
    for chosen in itertools.permutations(MODALITIES, count):
        config = VTInsertConfig.from_settings(modalities=chosen)
        assert config.modalities == tuple(sorted(chosen, key=MODALITIES.index))


@pytest.mark.parametrize("modality", MODALITIES)
def test_one_modality_may_be_a_string(modality):
    assert VTInsertConfig.from_settings(modalities=modality).modalities == (modality,)


def test_modalities_may_be_any_iterable():
    config = VTInsertConfig.from_settings(modalities=(name for name in ("gel", "depth")))
    assert config.modalities == ("depth", "gel")


def test_connectors_of_a_configuration():
    assert VTInsertConfig(connector="random").connectors == CONNECTOR_NAMES
    for name in CONNECTOR_NAMES:
        assert VTInsertConfig(connector=name).connectors == (name,)


@pytest.mark.parametrize("name", ["clearance", "images", "seed"])
def test_an_unknown_setting_is_named_with_all_there_are(name):
    with pytest.raises(TypeError) as error:
        VTInsertConfig.from_settings(**{name: 1})
    assert repr(name) in str(error.value)
    assert all(setting in str(error.value) for setting in SETTINGS)


def test_settings_lists_what_from_settings_takes():
    others = {"modalities", "initial_state", "domain_randomization"}
    assert set(SETTINGS) == {*NUMBERS, *SIZES, *CHOICES, *others}


@pytest.mark.parametrize(
    ("modalities", "name", "value", "missing"),
    [
        ("contact", "image_size", 64, "depth"),
        ("proprio", "depth_noise_mm", 0.0, "depth"),
        ("gel", "depth_dropout", 0.0, "depth"),
        ("state", "depth_quantization_mm", 0.0, "depth"),
        ("depth", "contact_size", 64, "contact or gel"),
    ],
)
def test_a_setting_of_a_sensor_not_asked_for_is_refused(modalities, name, value, missing):
    with pytest.raises(ValueError, match=rf"{name}={value}.*add {missing}"):
        VTInsertConfig.from_settings(modalities=modalities, **{name: value})


@pytest.mark.parametrize("modalities", ["contact", "gel"])
def test_contact_size_goes_with_either_touch_modality(modalities):
    config = VTInsertConfig.from_settings(modalities=modalities, contact_size=32)
    assert config.scene.contact_size == 32


@settings(deadline=None)
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


@settings(deadline=None)
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
        SceneConfig(),
        DepthNoiseConfig(),
        InitialStateRanges(),
        DomainRandomizationConfig(),
        VTInsertConfig(domain_randomization=DomainRandomizationConfig()),
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
